"""Compare two settings example by example: are the same test examples hard for both?

By hand: libraries compare samples of numbers, not how often each of many test examples is classified correctly.
"""

from typing import NamedTuple

import numpy as np

from airjax.stats.distributions import RESAMPLES, permutation_p

SPLITS = 200  # random halvings over which the distances are averaged


class Agreement(NamedTuple):
    """How far apart two settings are in how often they get each example right, against what chance alone gives.

    A fraction of n runs is noisy, so the yardstick is the same distance between two halves of one setting's runs.
    """

    examples: int
    across: float  # root mean square over the examples, half of a against half of b, in [0, 1]
    within: float  # the same, half against half of one setting
    across_correlation: float  # over the examples, half of a against half of b
    within_correlation: float
    p: float  # by permutation of all runs: mean square distance if a and b were one setting


def compare_examples(
    correct_a: np.ndarray, correct_b: np.ndarray, seed: int = 0, resamples: int = RESAMPLES, splits: int = SPLITS
) -> Agreement:
    """Compare correctness [runs,N] bool over the same N examples. Raises ValueError for fewer than 4 runs of either."""
    if min(len(correct_a), len(correct_b)) < 4 or correct_a.shape[1:] != correct_b.shape[1:]:
        raise ValueError(f"need 4 runs of each over the same examples, not {correct_a.shape} and {correct_b.shape}")
    a, b = correct_a.astype(np.float32), correct_b.astype(np.float32)
    generator = np.random.default_rng(seed)
    distances, correlations = [], []
    for _ in range(splits):
        half = min(len(a), len(b)) // 2
        (a1, a2), (b1, b2) = (
            (values[chosen[:half]].mean(0), values[chosen[half : 2 * half]].mean(0))
            for values, chosen in ((a, generator.permutation(len(a))), (b, generator.permutation(len(b))))
        )
        pairs = ((a1, b1), (a2, b2), (a1, a2), (b1, b2))
        distances.append([np.sqrt(np.mean((x - y) ** 2)) for x, y in pairs])
        correlations.append([_correlation(x, y) for x, y in pairs])
    distance, correlation = np.mean(distances, 0), np.mean(correlations, 0)
    return Agreement(
        correct_a.shape[1],
        float(distance[:2].mean()),
        float(distance[2:].mean()),
        float(correlation[:2].mean()),
        float(correlation[2:].mean()),
        permutation_p(np.concatenate([a, b]), len(a), _mean_square, seed, resamples),
    )


def _mean_square(differences: np.ndarray) -> np.ndarray:
    return np.mean(differences**2, axis=-1)


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    # 1 where every run gets every example alike: nothing disagrees.
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return float(np.array_equal(x, y))
    return float(np.corrcoef(x, y)[0, 1])
