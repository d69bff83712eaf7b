"""Count which of the 2N inputs (each image, and its mirror image) the epochs of a run show: Figure 1. No training."""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool

import airjax
from airjax.stats.intervals import mean_interval
from experiments.experiment import Analysis, Context, Experiment, no_parts
from experiments.rows import Row, exact_row
from experiments.verdict import judge_value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EPOCHS, SHOWN, SEED = 8, 24, 0
MARGIN = 0.01  # of the images: what counts as the same fraction
FLIPS = {"random": "random flip", "alternating": "alternating flip"}


def is_mirrored(flip: str, seed: int = SEED) -> Bool[np.ndarray, "e n"]:
    """Draw which images of recipe 94's 50,000 an epoch shows mirrored, as its training does."""
    recipe = airjax.get_recipe("94").override(flip=flip, epochs=float(EPOCHS))
    draws = airjax.sample_draws(recipe, airjax.make_key(seed))
    return np.asarray(draws.mirrors) ^ np.asarray(draws.flips)


def count_seen(mirrored: Bool[np.ndarray, "e n"]) -> np.ndarray:
    """Count for each image [n] which of its two inputs some epoch shows: 1 or 2."""
    return mirrored.any(0).astype(int) + (~mirrored).any(0)


def analyse(context: Context) -> Analysis:
    """Compare the numbers of different inputs with what the paper derives. The same at every scale."""
    random, alternating = (is_mirrored(flip) for flip in FLIPS)
    repeats = (alternating[2::2] == alternating[0]).mean(), (alternating[1::2] != alternating[0]).mean()
    rows = [
        _fraction_row("inputs in two epochs of random flip", count_seen(random[:2]), 1.5),
        exact_row("inputs in two epochs of alternating flip", count_seen(alternating[:2]).mean(), 2, "N", 2),
        _fraction_row("inputs in four epochs of random flip", count_seen(random[:4]), 1.875),
        exact_row("images that epochs 3, 5, 7 show as epoch 1 did, alternating", 100 * repeats[0], 100, "%"),
        exact_row("images that epochs 2, 4, 6, 8 show the other way, alternating", 100 * repeats[1], 100, "%"),
    ]
    pairs = zip(FLIPS, (random, alternating), strict=True)
    shown = {name: mirrored[:, :SHOWN].astype(int).tolist() for name, mirrored in pairs}
    return Analysis(rows, {"mirrored": shown}, 0, 0, {})


def draw(record: dict[str, Any]) -> "Figure":
    """Draw which way round each epoch shows some images, and mark the inputs that no epoch before has shown."""
    from airjax.report.drawing import COLORS, make_grid

    figure, grid = make_grid(7.4, 2.5, 1, 2)
    for axes, (flip, title) in zip(grid[0], FLIPS.items(), strict=True):
        mirrored = np.array(record["series"]["mirrored"][flip], bool)
        for way, color in ((False, COLORS[0]), (True, COLORS[1])):
            epoch, image = np.nonzero(mirrored == way)
            first = np.array([not (mirrored[:e, i] == way).any() for e, i in zip(epoch, image, strict=True)])
            for new, alpha in ((True, 1.0), (False, 0.25)):
                chosen = first == new
                axes.scatter(image[chosen] + 1, epoch[chosen] + 1, marker="s", s=18, color=color, alpha=alpha, lw=0)
        axes.set_title(f"{title}: {100 * _fraction_seen(mirrored[:2]):.0f}% shown after two epochs")
        axes.set_yticks(range(1, EPOCHS + 1))
        axes.invert_yaxis()
        axes.set_xlabel("training image")
    grid[0, 0].set_ylabel("epoch")
    figure.supxlabel("blue: as it is; orange: mirrored; faint: an input that an earlier epoch has shown", fontsize=8)
    return figure


def _fraction_seen(mirrored: Bool[np.ndarray, "e n"]) -> float:
    return float(count_seen(mirrored).mean() / 2)


def _fraction_row(cell: str, seen: np.ndarray, paper: float) -> Row:
    # Chance is in it, though no training: the interval is over the images.
    interval = mean_interval(seen, whole=2.0)
    return Row(cell, float(seen.mean()), interval, 0, paper, judge_value(interval, paper, MARGIN), "N", 3)


FIG1 = Experiment(
    "fig1",
    "Figure 1, which inputs the epochs show",
    "Two epochs of random flip show 1.5N of the 2N inputs on average, two of alternating flip show all of them; from "
    "then on alternating flip repeats the two epochs in turn.",
    no_parts,
    analyse,
    draw,
    scales=("cpu",),
)
