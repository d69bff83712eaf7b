"""Intervals of mean accuracies, and whether a target is met.

By scipy.special, not scipy.stats, which takes a training's command line over a second longer to import.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Real

TargetVerdict = Literal["confirmed", "mean", "within noise", "no", "not evaluated"]


def mean_interval(
    values: Sequence[float] | Real[np.ndarray, " r"], *, whole: float, level: float = 0.95
) -> tuple[float, float] | None:
    """Compute Student's two-sided confidence interval of a mean of fractions (whole=1.0) or percentages (100.0).

    It ends at 0 and at the whole. None for fewer than two values.
    """
    if len(values) < 2:
        return None
    half = _t_quantile((1 + level) / 2, len(values)) * standard_error(values)
    mean = float(np.mean(values))
    return clip_interval((mean - half, mean + half), 0.0, whole)


def clip_interval(interval: tuple[float, float], smallest: float, largest: float) -> tuple[float, float]:
    """Cut an interval to where its value can be; it covers the truth as often without the rest."""
    low, high = (min(max(end, smallest), largest) for end in interval)
    return low, high


def standard_error(values: Sequence[float] | Real[np.ndarray, " r"]) -> float:
    """Compute the standard error of the mean of at least two values."""
    return sample_sd(values) / math.sqrt(len(values))


def sample_sd(values: Sequence[float] | Real[np.ndarray, " r"]) -> float:
    """Compute the standard deviation of two or more values, ddof 1: exactly 0 for equal ones, whose mean is rounded."""
    return float(np.std(values, ddof=1)) if np.ptp(values) > 0 else 0.0


def target_verdict(accuracies: Sequence[float], target: float, known_sd: float | None = None) -> TargetVerdict:
    """Judge whether a mean accuracy, in [0, 1], reaches the target.

    "confirmed": the one-sided lower 95% bound of the mean is at or above it. "mean": only the mean is. "within noise":
    the mean is below, but by less than chance explains (one-sided 5%). "no": it is below by more. One run has no spread
    of its own: known_sd stands in for it, and without that it is "no" at any shortfall.
    """
    if not accuracies:
        return "not evaluated"
    mean = float(np.mean(accuracies))
    if len(accuracies) > 1:
        margin = _t_quantile(0.95, len(accuracies)) * standard_error(accuracies)
        if mean - margin >= target:
            return "confirmed"
    else:
        margin = 1.645 * (known_sd or 0.0)
    if mean >= target:
        return "mean"
    return "within noise" if mean + margin >= target else "no"


def _t_quantile(probability: float, count: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(count - 1, probability))
