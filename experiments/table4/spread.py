"""How runs spread: on the test set, on its distribution, and whether two sets of runs spread alike."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float

from airjax.stats.variance import run_variance

RESAMPLES = 1_000

Statistic = Callable[[Bool[np.ndarray, "r m"]], float]


def test_set_sd(correct: Bool[np.ndarray, "r m"]) -> float:
    """Compute the standard deviation of the accuracies, in percentage points."""
    return 100 * float(np.sqrt(correct.mean(1).var(ddof=1)))


def distribution_sd(correct: Bool[np.ndarray, "r m"]) -> float:
    """Estimate the standard deviation on the test distribution, in percentage points; signed, as the variance is."""
    variance = run_variance(correct).distribution
    return 100 * float(np.sign(variance) * np.sqrt(abs(variance)))


def bootstrap_difference(
    statistic: Statistic,
    first: Bool[np.ndarray, "r m"],
    second: Bool[np.ndarray, "s m"],
    *,
    paired: bool,
    resamples: int = RESAMPLES,
) -> Float[np.ndarray, " {resamples}"]:
    """Resample the runs of both, the same ones where they are paired, and return the differences of a statistic."""
    generator, found = np.random.default_rng(0), np.empty(resamples)
    for number in range(resamples):
        chosen = generator.integers(0, len(first), len(first))
        other = chosen if paired else generator.integers(0, len(second), len(second))
        found[number] = statistic(second[other]) - statistic(first[chosen])
    return found
