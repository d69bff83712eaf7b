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
    half = t_quantile((1 + level) / 2, len(values)) * standard_error(values)
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


def sd_interval(values: Sequence[float] | Real[np.ndarray, " r"]) -> tuple[float, float]:
    """Compute the 95% interval of the standard deviation of two or more values: the chi-squared one, of normal values.

    By resampling few values instead, intervals are far too narrow, and lie too low.
    """
    low, high = chi_squared_factors(len(values) - 1)
    return sample_sd(values) * math.sqrt(low), sample_sd(values) * math.sqrt(high)


def chi_squared_factors(freedom: int) -> tuple[float, float]:
    """Return what a sample variance is multiplied by for the ends of its 95% interval."""
    from scipy.special import chdtri

    low, high = (freedom / float(chdtri(freedom, tail)) for tail in (0.025, 0.975))
    return low, high


def target_verdict(accuracies: Sequence[float], target: float, known_sd: float | None = None) -> TargetVerdict:
    """Judge whether a mean accuracy, in [0, 1], reaches the target.

    "confirmed": the one-sided lower 95% bound of the mean is at or above it. "mean": only the mean is. "within noise":
    the mean is below, but by less than chance explains (one-sided 5%). "no": it is below by more. One run, or runs that
    happen to be as accurate as each other, have no spread of their own: known_sd stands in for it. They confirm
    nothing, and without known_sd it is "no" at any shortfall.
    """
    if not accuracies:
        return "not evaluated"
    mean = float(np.mean(accuracies))
    if np.ptp(accuracies) > 0:
        margin = t_quantile(0.95, len(accuracies)) * standard_error(accuracies)
        if mean - margin >= target:
            return "confirmed"
    else:
        margin = 1.645 * (known_sd or 0.0) / math.sqrt(len(accuracies))
    if mean >= target:
        return "mean"
    return "within noise" if mean + margin >= target else "no"


def t_quantile(probability: float, count: int) -> float:
    """Return the quantile of Student's t for the mean of so many values."""
    from scipy.special import stdtrit

    return float(stdtrit(count - 1, probability))


def t_test(statistic: float, freedom: float) -> float:
    """Return the two-sided p-value of a statistic that is Student's t."""
    from scipy.special import stdtr

    return 2 * float(stdtr(freedom, -abs(statistic)))
