"""What a published method is known to reach."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """What a recipe is meant to reach, and known to reach unchanged: on CIFAR-10, or the data set in its name."""

    summary: str
    target: float | None  # test accuracy that it is meant to reach, in [0, 1]
    expected_accuracy: float | None  # mean over seeds, in [0, 1]; None if nobody has measured it
    expected_sd: float | None  # standard deviation over seeds, in [0, 1]; None if unknown
    evidence: str  # where the two numbers come from
