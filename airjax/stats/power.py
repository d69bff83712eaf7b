"""Compute how many runs a comparison of two means needs, and how likely it succeeds with a given number.

By hand on scipy's noncentral t distribution: the power classes of statsmodels pool the variances of the two samples,
which Welch's tests do not, and there is none for the equivalence of means.
"""

import math
from collections.abc import Callable

import numpy as np


def equivalence_power(sd_a: float, sd_b: float, runs_a: int, runs_b: int, margin: float, alpha: float = 0.05) -> float:
    """Compute the probability that equal means are shown equivalent at the margin, by the noncentral t distribution."""
    from scipy import stats

    error_a, error_b = sd_a / math.sqrt(runs_a), sd_b / math.sqrt(runs_b)
    error = math.hypot(error_a, error_b)
    if error == 0:
        return 1.0
    freedom = _degrees_of_freedom(error_a, error_b, runs_a, runs_b)
    critical = stats.t.ppf(1 - alpha, freedom)
    # Either test fails with the same probability, and at most one of them does.
    return max(0.0, 1 - 2 * float(stats.nct.sf(-critical, freedom, -margin / error)))


def runs_for_equivalence(sd_a: float, sd_b: float, margin: float, alpha: float = 0.05, power: float = 0.9) -> int:
    """Find the smallest number of runs of each setting that shows equal means equivalent with probability `power`."""
    require_margin(margin)
    return _fewest_runs(lambda runs: equivalence_power(sd_a, sd_b, runs, runs, margin, alpha), power)


def welch_power(difference: float, sd_a: float, sd_b: float, runs_a: int, runs_b: int, alpha: float = 0.05) -> float:
    """Compute the probability that Welch's two-sided test finds a true difference, by the noncentral t distribution."""
    from scipy import stats

    error_a, error_b = sd_a / math.sqrt(runs_a), sd_b / math.sqrt(runs_b)
    error = math.hypot(error_a, error_b)
    if error == 0:
        return 1.0 if difference else alpha
    freedom = _degrees_of_freedom(error_a, error_b, runs_a, runs_b)
    critical, shift = stats.t.ppf(1 - alpha / 2, freedom), abs(difference) / error
    # The tail on the wrong side; where it is too small for scipy, it comes as nan.
    wrong = np.nan_to_num(stats.nct.cdf(-critical, freedom, shift))
    return float(stats.nct.sf(critical, freedom, shift) + wrong)


def runs_to_resolve(difference: float, sd_a: float, sd_b: float, alpha: float = 0.05, power: float = 0.9) -> int:
    """Find the smallest number of runs of each setting with which Welch's two-sided test finds a true difference.

    Args:
        difference: of the two means, in the unit of the standard deviations.
        alpha: level of the test.
        power: probability of finding it.

    Raises ValueError for a difference of zero, which no number of runs finds, or one that is not finite.
    """
    if not math.isfinite(difference) or difference == 0:
        raise ValueError(f"the difference is {difference}, but it must be a number other than zero")
    return _fewest_runs(lambda runs: welch_power(difference, sd_a, sd_b, runs, runs, alpha), power)


def require_margin(margin: float) -> None:
    """Raise ValueError for a margin that is not a positive number."""
    if not (math.isfinite(margin) and margin > 0):
        raise ValueError(f"the margin is {margin}, but it must be a positive number")


def _fewest_runs(power_of: Callable[[int], float], power: float) -> int:
    # By doubling, then halving what is between.
    enough = 2
    while power_of(enough) < power:
        enough *= 2
    few = enough // 2
    while enough - few > 1:
        middle = (few + enough) // 2
        if power_of(middle) < power:
            few = middle
        else:
            enough = middle
    return enough


def _degrees_of_freedom(error_a: float, error_b: float, num_a: int, num_b: int) -> float:
    total = error_a**2 + error_b**2
    if total == 0:
        return float(num_a + num_b - 2)
    return total**2 / (error_a**4 / (num_a - 1) + error_b**4 / (num_b - 1))
