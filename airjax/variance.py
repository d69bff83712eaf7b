"""How much of the spread between runs is chance of the test set, and how well many runs together are calibrated.

Jordan, "On the variance of neural network training with respect to test sets and distributions" (arXiv 2304.01910);
Jiang et al., "Assessing generalization via disagreement" (arXiv 2106.13799).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

RESAMPLES = 1_000  # of the runs, for intervals


class Variance(NamedTuple):
    """Variances of the accuracy between runs, in squared shares."""

    test_set: float  # on this test set
    distribution: float  # on a test set without end: an unbiased estimate, which may be negative
    standard_error: float  # of either, approximately

    @property
    def distribution_sd(self) -> float:
        """Its standard deviation, 0 where the estimate is negative."""
        return math.sqrt(max(0.0, self.distribution))


def run_variance(correct: np.ndarray) -> Variance:
    """Variance between runs from correctness [R,N] bool.

    If the runs erred independently from example to example, the variance of their mean would be the sum of the
    variances of the examples over N squared; what exceeds it is what a run has for all examples.

    Raises ValueError for fewer than two runs or two examples.
    """
    runs, examples = _require(correct)
    of_means = float(correct.mean(1).var(ddof=1))
    of_examples = float(correct.astype(np.float32).var(0, ddof=1, dtype=np.float64).sum())
    distribution = examples / (examples - 1) * (of_means - of_examples / examples**2)
    return Variance(of_means, distribution, of_means * math.sqrt(2 / (runs - 1)))


def calibration_error(
    predictions: np.ndarray, labels: np.ndarray, num_bins: int | None = None, classes: int = 10
) -> float:
    """Class-aggregated calibration error of runs' votes: predictions [R,N] int, labels [N] int.

    All pairs of an example and a class are put into bins by the share of runs that vote for the class on the example.
    The error is the sum over the bins of |pairs that are right - votes|, over N. Few runs make it larger: compare at
    equal R.

    Args:
        num_bins: of equal width; None are bins of equal count, half a percent of the pairs each, and one of the pairs
            that no run votes for.
    """
    runs, examples = _require(predictions)
    votes = np.stack([(predictions == k).mean(0) for k in range(classes)], axis=1).ravel()
    right = (labels[:, None] == np.arange(classes)).ravel()
    if num_bins is None:
        # Shares of R runs tie: equal shares are never in two bins.
        edges = np.unique(np.quantile(votes, np.arange(0, 1.0001, 0.005)))
        bins = np.where(votes == 0, 0, 1 + np.searchsorted(edges, votes, side="right"))
    else:
        # Counted in votes, not in rounded shares.
        bins = np.minimum(np.rint(votes * runs).astype(int) * num_bins // runs, num_bins - 1)
    return float(np.abs(np.bincount(bins, right) - np.bincount(bins, votes)).sum() / examples)


def ensemble_accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Share of the examples that the mean of the logits [R,N,K] classifies right."""
    return float((logits.mean(0).argmax(1) == labels).mean())


def disagreement(predictions: np.ndarray) -> float:
    """Share of the examples on which two different runs of predictions [R,N] see different classes, on average."""
    runs, _ = _require(predictions)
    same = sum((predictions == k).sum(0).astype(np.float64) ** 2 for k in np.unique(predictions))
    # Of R^2 ordered pairs, R are a run and itself.
    return float((1 - (np.asarray(same) - runs) / (runs * (runs - 1))).mean())


def run_interval(statistic: Callable[[np.ndarray], float], values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95% interval of a statistic of runs [R,...], by resampling the runs.

    A run that is drawn twice agrees with itself: for statistics about pairs of runs the interval is a little too low.
    """
    generator = np.random.default_rng(seed)
    drawn = [statistic(values[generator.integers(0, len(values), len(values))]) for _ in range(RESAMPLES)]
    low, high = np.percentile(drawn, (2.5, 97.5))
    return float(low), float(high)


def _require(values: np.ndarray) -> tuple[int, int]:
    if values.ndim != 2 or min(values.shape) < 2:
        raise ValueError(f"need at least 2 runs of at least 2 examples, [R,N], not {values.shape}")
    return values.shape[0], values.shape[1]
