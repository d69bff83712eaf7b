"""Compare whole samples of runs by resampling them: permutation tests and bootstrap intervals."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Real

from airjax.stats.intervals import sample_sd

RESAMPLES = 9_999  # permutations, and resamples of a bootstrap
LARGEST_DRAW = 1_000_000  # values that a bootstrap holds at once
BATCH = 500  # permutations whose statistics are computed at once


class DistributionComparison(NamedTuple):
    """Whole distributions compared: p-values of the hypothesis that they are one, each test as it stands."""

    kolmogorov_smirnov: float  # largest distance of the distribution functions
    kolmogorov_smirnov_p: float  # by permutation
    mann_whitney: float  # probability that a run of b beats one of a; ties count half
    mann_whitney_p: float  # by permutation
    sd_ratio: float  # sd of b over sd of a
    sd_ratio_interval: tuple[float, float]  # 95%, bootstrap over runs
    brown_forsythe_p: (
        float  # equal spread; 1 where a sample has none, or both are of values equally far from the median
    )


def compare_distributions(
    a: Real[np.ndarray, " r"], b: Real[np.ndarray, " s"], seed: int = 0, resamples: int = RESAMPLES
) -> DistributionComparison:
    """Compare shape, order and spread of two samples of at least two values.

    By permutation, because the p-values of the formulas do not hold for accuracies, which often tie.
    """
    from scipy import stats

    pooled = np.concatenate([a, b])
    below = (pooled[:, None] <= np.unique(pooled)).astype(np.float64)
    doubled_ranks = 2 * stats.rankdata(pooled)[:, None]  # whole numbers, also of ties
    # Exact p-values of the formulas take a second, and are not used.
    spread = sample_sd(a) > 0 and sample_sd(b) > 0
    return DistributionComparison(
        float(stats.ks_2samp(a, b, method="asymp").statistic),  # pyright: ignore[reportAttributeAccessIssue]
        permutation_p(below, len(a), largest_magnitude, seed, resamples),
        float(stats.mannwhitneyu(b, a, method="asymptotic").statistic) / (len(a) * len(b)),
        permutation_p(doubled_ranks, len(a), largest_magnitude, seed, resamples),
        sample_sd(b) / sample_sd(a) if spread else math.nan,
        _sd_ratio_interval(a, b, seed, resamples) if spread else (math.nan, math.nan),
        # Two values are equally far from their median, whatever their spread; so are several, of a lattice.
        float(stats.levene(a, b, center="median").pvalue)
        if spread and min(len(a), len(b)) > 2 and (_distances_differ(a) or _distances_differ(b))
        else 1.0,
    )


def permutation_p(
    values: Real[np.ndarray, "runs c"],
    num_a: int,
    distance: Callable[[np.ndarray], np.ndarray],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> float:
    """Test whether two samples of runs are one: how often are random samples of their sizes as far apart?

    All ways to divide the runs are tried where there are at most `resamples`; else so many random ones, besides the
    observed one.

    Args:
        values: one row for each run; differences of whole numbers are exact, so that ties are ties.
        num_a: how many rows, from the first on, are the first sample.
        distance: of differences of means [...,C], times R S, to statistics [...] that are large where samples differ.
        seed: of the permutations.
        resamples: permutations.
    """
    from scipy.stats import permutation_test

    runs, num_b = np.arange(len(values)), len(values) - num_a

    def statistic(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        # One product of matrices for a batch, because gathering the runs of every permutation would copy them all.
        weights = np.full((*b.shape[:-1], len(values)), -num_b, values.dtype)
        np.put_along_axis(weights, b, num_a, axis)
        return distance(weights @ values)

    found = permutation_test(
        (runs[:num_a], runs[num_a:]),
        statistic,
        vectorized=True,
        n_resamples=resamples,
        batch=BATCH,
        alternative="greater",
        axis=-1,
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def largest_magnitude(differences: Real[np.ndarray, "*batch c"]) -> np.ndarray:
    """Take the largest magnitude of differences along the last axis."""
    return np.abs(differences).max(-1)


def percentile_interval(resampled: Float[np.ndarray, " _"]) -> tuple[float, float]:
    """Compute the range that holds the middle 95% of resampled statistics."""
    low, high = np.percentile(resampled, (2.5, 97.5))
    return float(low), float(high)


def _sd_ratio_interval(a: np.ndarray, b: np.ndarray, seed: int, resamples: int) -> tuple[float, float]:
    generator = np.random.default_rng(seed)
    first, second = (_resample_sd(values, generator, resamples) for values in (a, b))
    # A resample of one value alone has no spread, and no ratio.
    spread = first > 0
    return percentile_interval(second[spread] / first[spread])


def _resample_sd(values: np.ndarray, generator: np.random.Generator, resamples: int) -> np.ndarray:
    from scipy.stats import bootstrap

    batch = max(1, LARGEST_DRAW // len(values))
    found = bootstrap(
        (values,), _sample_sd_along, n_resamples=resamples, batch=batch, method="percentile", rng=generator
    )
    return found.bootstrap_distribution


def _distances_differ(values: np.ndarray) -> bool:
    distances = np.abs(values - np.median(values))
    return float(np.ptp(distances)) > 1e-9 * float(distances.max())  # more than rounding


def _sample_sd_along(values: np.ndarray, axis: int) -> np.ndarray:
    return np.std(values, axis=axis, ddof=1)
