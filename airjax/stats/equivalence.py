"""Compare the mean accuracies of two samples of runs: are they equivalent, are they different?

Values are in any one unit; margins are in the same. A difference is always "b minus a".
"""

import math
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Real

from airjax.stats.distributions import DistributionComparison, compare_distributions
from airjax.stats.intervals import clip_interval, sample_sd, sd_interval, standard_error, t_quantile, t_test
from airjax.stats.power import equivalence_power, require_margin, runs_for_equivalence, runs_to_resolve, welch_power
from airjax.utils.extras import import_extra

# With the names that airjax.equivalence has always had.
__all__ = [
    "DistributionComparison",
    "EquivalenceVerdict",
    "MeanComparison",
    "MeanDifference",
    "compare_distributions",
    "compare_means",
    "equivalence_power",
    "holm",
    "mean_difference",
    "paired_difference",
    "runs_for_equivalence",
    "runs_to_resolve",
    "sd_interval",
    "welch_power",
]

EquivalenceVerdict = Literal["equivalent", "different", "open"]


class MeanDifference(NamedTuple):
    """The difference of two means, and a t-test of it: Welch's, or Student's of pairs."""

    difference: float  # mean of b minus mean of a
    standard_error: float
    degrees_of_freedom: float  # Welch-Satterthwaite's; of pairs, one less than there are
    interval95: tuple[float, float]
    p: float  # two-sided: is the difference zero? 1 where there is no spread to judge by


class MeanComparison(NamedTuple):
    """The difference of two means, and what it proves at the margin."""

    difference: float  # mean of b minus mean of a
    standard_error: float
    degrees_of_freedom: float  # Welch-Satterthwaite
    interval90: tuple[float, float]  # what the two one-sided tests compare with the margin
    interval95: tuple[float, float]
    margin: float
    equivalence_p: float  # the larger of the two one-sided tests: is |difference| < margin?
    difference_p: float  # Welch's two-sided test: is the difference zero?
    power: float  # probability of "equivalent" with this many runs, these spreads, and equal means
    runs_needed: int  # of each, for a power of 0.9
    verdict: EquivalenceVerdict


def mean_difference(a: Real[np.ndarray, " r"], b: Real[np.ndarray, " s"], *, whole: float = math.inf) -> MeanDifference:
    """Test the difference of the means of two samples by Welch's t-test.

    Args:
        a: values, in any unit.
        b: values, in the same.
        whole: largest value that there is, such as 100 for percentages; the interval ends at plus or minus it.

    Raises ValueError for fewer than two runs of either, or one that is not finite, and MissingExtraError without
    statsmodels.
    """
    for name, values in (("first", a), ("second", b)):
        if len(values) < 2 or not np.isfinite(values).all():
            raise ValueError(f"the {name} sample needs at least 2 values, all finite; it has {len(values)}")
    difference = float(np.mean(b) - np.mean(a))
    if not _spread(a, b):
        return MeanDifference(difference, 0.0, float(len(a) + len(b) - 2), (difference, difference), 1.0)
    welch = _welch(a, b)
    _, p, freedom = welch.ttest_ind(usevar="unequal")
    error = float(welch.std_meandiff_separatevar)
    return MeanDifference(difference, error, float(freedom), _interval(welch, 0.95, whole), float(p))


def paired_difference(
    a: Real[np.ndarray, " r"], b: Real[np.ndarray, " s"], *, whole: float = math.inf
) -> MeanDifference:
    """Test the mean of b minus a by Student's t-test, where values at the same place are of the same network.

    What networks have in common, such as how good each is, is no chance in their differences: for test-time
    augmentation on and off, Welch's interval is several times as wide.

    Args:
        a: values, in any unit.
        b: values of the same networks, in the same order and unit.
        whole: largest value that there is, such as 100 for percentages; the interval ends at plus or minus it.

    Raises ValueError for fewer than two networks, samples of other lengths, or a value that is not finite.
    """
    gains = np.asarray(b, np.float64) - np.asarray(a, np.float64) if len(a) == len(b) else None
    if gains is None or len(gains) < 2 or not np.isfinite(gains).all():
        raise ValueError(f"need two finite values of at least 2 networks, not {len(a)} and {len(b)} values")
    difference, error, freedom = float(gains.mean()), standard_error(gains), len(gains) - 1
    if error == 0:
        return MeanDifference(difference, 0.0, float(freedom), (difference, difference), 1.0)
    half = t_quantile(0.975, len(gains)) * error
    interval = clip_interval((difference - half, difference + half), -whole, whole)
    return MeanDifference(difference, error, float(freedom), interval, t_test(difference / error, freedom))


def compare_means(
    a: Real[np.ndarray, " r"], b: Real[np.ndarray, " s"], margin: float, alpha: float = 0.05, *, whole: float = math.inf
) -> MeanComparison:
    """Test whether two means are equivalent (two one-sided t-tests at a margin fixed in advance), or else different.

    "equivalent": the (1 - 2 alpha) interval of the difference lies inside (-margin, margin). "different": it does not,
    and Welch's test rejects equal means. "open": these runs show neither. a, b and whole as in `mean_difference`.

    Raises ValueError for fewer than two runs of either, a value that is not finite, or a margin that is not positive;
    MissingExtraError without statsmodels.
    """
    require_margin(margin)
    difference, error, freedom, interval95, difference_p = mean_difference(a, b, whole=whole)
    equivalence_p, interval90 = 1.0, interval95
    if _spread(a, b):
        welch = _welch(a, b)
        equivalence_p = float(welch.ttost_ind(-margin, margin, usevar="unequal")[0])
        interval90 = _interval(welch, 0.90, whole)
    verdict: EquivalenceVerdict = (
        "equivalent" if equivalence_p < alpha else "different" if difference_p < alpha else "open"
    )
    sd_a, sd_b = sample_sd(a), sample_sd(b)
    return MeanComparison(
        difference,
        error,
        freedom,
        interval90,
        interval95,
        margin,
        equivalence_p,
        difference_p,
        equivalence_power(sd_a, sd_b, len(a), len(b), margin, alpha),
        runs_for_equivalence(sd_a, sd_b, margin, alpha),
        verdict,
    )


def holm(p_values: dict[str, float]) -> dict[str, float]:
    """Adjust p-values so that, with all hypotheses true, any of them is rejected at most that often.

    Raises MissingExtraError without statsmodels.
    """
    multitest = import_extra("statsmodels.stats.multitest", "report", "Holm's adjustment")
    adjusted = multitest.multipletests(list(p_values.values()), method="holm")[1]
    return dict(zip(p_values, map(float, adjusted), strict=True))


def _welch(a: np.ndarray, b: np.ndarray) -> Any:
    # Of statsmodels, since scipy.stats warns of equal values in one sample, and has no test of equivalence.
    weightstats = import_extra("statsmodels.stats.weightstats", "report", "Welch's test")
    return weightstats.CompareMeans(weightstats.DescrStatsW(b), weightstats.DescrStatsW(a))


def _spread(a: np.ndarray, b: np.ndarray) -> bool:
    # Without any there is nothing to judge by: the libraries divide by zero, or by the rounding of the mean.
    return sample_sd(a) > 0 or sample_sd(b) > 0


def _interval(welch: Any, level: float, whole: float) -> tuple[float, float]:
    low, high = welch.tconfint_diff(1 - level, usevar="unequal")
    return clip_interval((float(low), float(high)), -whole, whole)
