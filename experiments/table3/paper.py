"""What the paper reports in Table 3, and what FFCV does of the time that its trainings take."""

from typing import NamedTuple

FLIPS: tuple[str, ...] = ("none", "random", "alternating-hash")
MINUTES = {16: 35.0, 88: 187.3}  # of FFCV's training on an A100, by epochs


class Setting(NamedTuple):
    """A row of the table, without its test crop."""

    crop: str  # of training images
    epochs: int


class View(NamedTuple):
    """How a network is tested."""

    size: int  # pixels of the test crop: 256 of 7/8 of the shorter side, 192 of the whole
    tta: bool  # with mirrored views


# Accuracy in percent without flip, with random and with alternating flip; None where the paper has no number.
Accuracies = tuple[float | None, float, float]
TABLE3: dict[tuple[Setting, View], Accuracies] = {
    (Setting("heavy", 16), View(256, False)): (66.78, 66.54, 66.58),
    (Setting("heavy", 16), View(192, False)): (64.43, 64.62, 64.63),
    (Setting("light", 16), View(256, False)): (59.02, 61.84, 62.19),
    (Setting("light", 16), View(192, False)): (61.79, 64.50, 64.93),
    (Setting("heavy", 16), View(256, True)): (67.52, 67.65, 67.60),
    (Setting("heavy", 16), View(192, True)): (65.36, 65.48, 65.51),
    (Setting("light", 16), View(256, True)): (61.08, 62.89, 63.08),
    (Setting("light", 16), View(192, True)): (63.91, 65.63, 65.87),
    (Setting("light", 20), View(192, True)): (None, 65.80, 66.02),
    (Setting("heavy", 88), View(256, True)): (72.34, 72.45, 72.46),
}
