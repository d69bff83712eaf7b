"""Two settings compared by their runs: are the means equivalent, are they different, are the distributions alike?

Values are in any one unit; margins are in the same. A difference is always "b minus a".
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from airjax.stats.intervals import clip_interval, standard_error

Verdict = Literal["equivalent", "different", "open"]

RESAMPLES = 9_999  # permutations, and resamples of a bootstrap
LARGEST_DRAW = 1_000_000  # values that a bootstrap holds at once


class Difference(NamedTuple):
    """The difference of two means, and Welch's test of it."""

    difference: float  # mean of b minus mean of a
    standard_error: float
    degrees_of_freedom: float  # Welch-Satterthwaite
    interval95: tuple[float, float]
    p: float  # two-sided: is the difference zero? 1 where neither sample has any spread to judge by


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
    verdict: Verdict


def mean_difference(a: np.ndarray, b: np.ndarray, *, whole: float = math.inf) -> Difference:
    """Welch's test of two samples, of shares of a whole if there is one: then the interval ends at plus or minus it.

    Raises ValueError for fewer than two runs of either, or one that is not finite."""
    from scipy.special import stdtr

    for name, values in (("first", a), ("second", b)):
        if len(values) < 2 or not np.isfinite(values).all():
            raise ValueError(f"the {name} sample needs at least 2 values, all finite; it has {len(values)}")
    error_a, error_b = standard_error(a), standard_error(b)
    difference, error = float(np.mean(b) - np.mean(a)), math.hypot(error_a, error_b)
    freedom = _degrees_of_freedom(error_a, error_b, len(a), len(b))
    p = float(2 * stdtr(freedom, -abs(difference) / error)) if error > 0 else 1.0
    return Difference(difference, error, freedom, _interval(difference, error, freedom, 0.95, whole), p)


def compare_means(
    a: np.ndarray, b: np.ndarray, margin: float, alpha: float = 0.05, *, whole: float = math.inf
) -> MeanComparison:
    """Two one-sided t-tests at a margin fixed in advance, and Welch's test of a difference.

    "equivalent": the (1 - 2 alpha) interval of the difference lies inside (-margin, margin). "different": it does not,
    and Welch's test rejects equal means. "open": these runs show neither. whole is that of `mean_difference`.

    Raises ValueError for fewer than two runs of either, a value that is not finite, or a margin that is not positive.
    """
    from scipy.special import stdtr

    _require_margin(margin)
    difference, error, freedom, interval95, difference_p = mean_difference(a, b, whole=whole)
    sd_a, sd_b = float(np.std(a, ddof=1)), float(np.std(b, ddof=1))
    # The larger p-value of the two one-sided tests is that of the margin nearer to the difference. Without any spread
    # there is nothing to judge by.
    equivalence_p = float(stdtr(freedom, (abs(difference) - margin) / error)) if error > 0 else 1.0
    verdict: Verdict = "equivalent" if equivalence_p < alpha else "different" if difference_p < alpha else "open"
    return MeanComparison(
        difference,
        error,
        freedom,
        _interval(difference, error, freedom, 0.90, whole),
        interval95,
        margin,
        equivalence_p,
        difference_p,
        equivalence_power(sd_a, sd_b, len(a), len(b), margin, alpha),
        runs_for_equivalence(sd_a, sd_b, margin, alpha),
        verdict,
    )


def equivalence_power(sd_a: float, sd_b: float, runs_a: int, runs_b: int, margin: float, alpha: float = 0.05) -> float:
    """Probability that equal means are shown equivalent at the margin, by the noncentral t distribution."""
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
    """The smallest number of runs of each setting that shows equal means equivalent with that probability."""
    _require_margin(margin)
    return _fewest_runs(lambda runs: equivalence_power(sd_a, sd_b, runs, runs, margin, alpha), power)


def welch_power(difference: float, sd_a: float, sd_b: float, runs_a: int, runs_b: int, alpha: float = 0.05) -> float:
    """Probability that Welch's two-sided test finds a true difference, by the noncentral t distribution."""
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
    """The smallest number of runs of each setting with which Welch's two-sided test finds that true difference.

    Args:
        difference: of the two means, in the unit of the standard deviations.
        alpha: level of the test.
        power: probability of finding it.

    Raises ValueError for a difference of zero, which no number of runs finds, or one that is not finite.
    """
    if not math.isfinite(difference) or difference == 0:
        raise ValueError(f"the difference is {difference}, but it must be a number other than zero")
    return _fewest_runs(lambda runs: welch_power(difference, sd_a, sd_b, runs, runs, alpha), power)


class DistributionComparison(NamedTuple):
    """Whole distributions compared: p-values of the hypothesis that they are one, each test as it stands."""

    kolmogorov_smirnov: float  # largest distance of the distribution functions
    kolmogorov_smirnov_p: float  # by permutation
    mann_whitney: float  # probability that a run of b beats one of a; ties count half
    mann_whitney_p: float  # by permutation
    sd_ratio: float  # sd of b over sd of a
    sd_ratio_interval: tuple[float, float]  # 95%, bootstrap over runs
    brown_forsythe_p: float  # equal spread


def compare_distributions(
    a: np.ndarray, b: np.ndarray, seed: int = 0, resamples: int = RESAMPLES
) -> DistributionComparison:
    """Shape, order and spread of two samples of at least two values. By permutation, because accuracies often tie."""
    from scipy import stats

    pooled = np.concatenate([a, b])
    weights = permutations(len(a), len(b), seed, resamples)
    distances = np.abs(weights @ (pooled[:, None] <= np.unique(pooled))).max(1)
    # With ranks from 0 to 1, the difference of the mean ranks is that probability's distance from one half.
    ranks = stats.rankdata(pooled) / len(pooled)
    shifts = weights @ ranks
    spread = np.std(a, ddof=1) > 0 and np.std(b, ddof=1) > 0
    return DistributionComparison(
        float(distances[0]),
        permutation_p(distances),
        float(0.5 + shifts[0]),
        permutation_p(np.abs(shifts)),
        float(np.std(b, ddof=1) / np.std(a, ddof=1)) if spread else math.nan,
        _sd_ratio_interval(a, b, seed, resamples) if spread else (math.nan, math.nan),
        float(stats.levene(a, b, center="median").pvalue) if spread else 1.0,
    )


def permutations(num_a: int, num_b: int, seed: int = 0, resamples: int = RESAMPLES) -> np.ndarray:
    """Weights [resamples+1, num_a+num_b] float32 that turn rows into differences of means, b minus a.

    Row 0 leaves the runs where they are; in the others they are dealt to a and b anew.
    """
    row = np.concatenate([np.full(num_a, -1 / num_a), np.full(num_b, 1 / num_b)]).astype(np.float32)
    dealt = np.random.default_rng(seed).permuted(np.tile(row, (resamples, 1)), axis=1)
    return np.concatenate([row[None], dealt])


def permutation_p(values: np.ndarray) -> float:
    """Share of the rows whose statistic is at least that of row 0, which counts itself."""
    slack = 1e-6 * abs(float(values[0])) + 1e-12  # equal statistics that were rounded differently are equal
    return float((values >= values[0] - slack).mean())


def holm(p_values: dict[str, float]) -> dict[str, float]:
    """p-values adjusted so that, with all hypotheses true, any of them is rejected at most that often."""
    adjusted, largest = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def bootstrap_interval(values: np.ndarray, statistic: Literal["mean", "std"], seed: int = 0) -> tuple[float, float]:
    """95% interval of the mean or the standard deviation, by resampling the values."""
    generator, size = np.random.default_rng(seed), max(1, LARGEST_DRAW // len(values))
    resampled = []
    for start in range(0, RESAMPLES, size):
        drawn = generator.choice(values, (min(size, RESAMPLES - start), len(values)))
        resampled.append(drawn.mean(1) if statistic == "mean" else drawn.std(1, ddof=1))
    return _percentiles(np.concatenate(resampled))


def _sd_ratio_interval(a: np.ndarray, b: np.ndarray, seed: int, resamples: int) -> tuple[float, float]:
    generator = np.random.default_rng(seed)
    first, second = (generator.choice(values, (resamples, len(values))).std(1, ddof=1) for values in (a, b))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = second / first
    return _percentiles(ratios[np.isfinite(ratios)])


def _percentiles(values: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


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


def _interval(difference: float, error: float, freedom: float, level: float, whole: float) -> tuple[float, float]:
    from scipy.special import stdtrit

    half = float(stdtrit(freedom, (1 + level) / 2)) * error
    return clip_interval((difference - half, difference + half), -whole, whole)


def _degrees_of_freedom(error_a: float, error_b: float, num_a: int, num_b: int) -> float:
    total = error_a**2 + error_b**2
    if total == 0:
        return float(num_a + num_b - 2)
    return total**2 / (error_a**4 / (num_a - 1) + error_b**4 / (num_b - 1))


def _require_margin(margin: float) -> None:
    if not (math.isfinite(margin) and margin > 0):
        raise ValueError(f"the margin is {margin}, but it must be a positive number")
