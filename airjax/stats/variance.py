"""Separate the spread between runs into chance of the test set and the rest, and measure how well runs are calibrated.

By hand: no library has the distribution-wise variance, or the calibration error of votes pooled over classes.

Jordan, "On the variance of neural network training with respect to test sets and distributions" (arXiv 2304.01910);
Jiang et al., "Assessing generalization via disagreement" (arXiv 2106.13799).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int32, Integer, Real, Shaped

from airjax.stats.distributions import percentile_interval
from airjax.stats.intervals import chi_squared_factors, clip_interval, t_quantile

RESAMPLES = 1_000  # of the runs, for intervals
HALVES = 100  # of the runs, for intervals of votes
COLUMNS = 500  # examples whose votes are counted at a time


class Variance(NamedTuple):
    """Variances of the accuracy between runs, of fractions, so in squares of them."""

    test_set: float  # on this test set
    distribution: float  # on the test distribution: an unbiased estimate, which may be negative
    standard_error: float  # of either, approximately
    distribution_interval: tuple[float, float]  # 95%, of the second, if accuracies are normal; its ends may be negative

    @property
    def distribution_sd(self) -> float:
        """Return its standard deviation, 0 where the estimate is negative."""
        return math.sqrt(max(0.0, self.distribution))


def run_variance(correct: Bool[np.ndarray, "r n"]) -> Variance:
    """Estimate the variance between runs from which of the examples each classifies correctly.

    If the runs erred independently from example to example, the variance of their mean would be the sum of the
    variances of the examples over n squared; what exceeds it is what a run has for all examples.

    Raises ValueError for fewer than two runs or two examples.
    """
    runs, examples = _require(correct)
    of_means = float(correct.mean(1).var(ddof=1))
    fractions = correct.mean(0)
    of_examples = float((fractions * (1 - fractions)).sum()) * runs / (runs - 1)
    distribution = examples / (examples - 1) * (of_means - of_examples / examples**2)
    # What the examples' own chance takes off is known far better than the variance between the runs.
    low, high = (
        distribution + examples / (examples - 1) * of_means * (factor - 1) for factor in chi_squared_factors(runs - 1)
    )
    return Variance(of_means, distribution, of_means * math.sqrt(2 / (runs - 1)), (low, high))


def count_votes(predictions: Integer[np.ndarray, "r n"], classes: int = 10) -> Int32[np.ndarray, "n {classes}"]:
    """Count the runs that vote for each class of each example.

    Raises ValueError for a prediction that is none of the classes.
    """
    _require_classes(predictions, classes, "prediction")
    return np.stack([(predictions == k).sum(0, dtype=np.int32) for k in range(classes)], axis=1)


class Reliability(NamedTuple):
    """Pairs of an example and a class, in bins by the fraction of runs that vote for the class on the example."""

    pairs: Integer[np.ndarray, " bins"]  # how many there are
    votes: Float[np.ndarray, " bins"]  # sum of their fractions
    right: Real[np.ndarray, " bins"]  # how many of them are an example and its own class

    @property
    def error(self) -> float:
        """Sum over the bins of |pairs that are right - votes|, over the number of examples: 0 to 2."""
        # Every run votes once on every example.
        return float(np.abs(self.right - self.votes).sum() / self.votes.sum())


def reliability(
    votes: Integer[np.ndarray, "n l"], labels: Integer[np.ndarray, " n"], num_bins: int | None = None
) -> Reliability:
    """Bin the runs' votes, and count which are right.

    Args:
        num_bins: of equal width; None are bins of equal count, half a percent of the pairs each, and one of the pairs
            that no run votes for.
    """
    _require_classes(labels, votes.shape[1], "label")
    runs, counts = int(votes[0].sum()), votes.ravel()
    right = (labels[:, None] == np.arange(votes.shape[1])).ravel()
    possible = np.arange(runs + 1)
    if num_bins is None:
        # Fractions of R runs tie: equal fractions are never in two bins.
        edges = np.unique(np.quantile(counts, np.arange(0, 1.0001, 0.005)))
        bin_of = np.where(possible == 0, 0, 1 + np.searchsorted(edges, possible, side="right"))
    else:
        bin_of = np.minimum(possible * num_bins // runs, num_bins - 1)
    bins, size = bin_of[counts], int(bin_of.max()) + 1
    return Reliability(
        np.bincount(bins, minlength=size),
        np.bincount(bins, counts / runs, size),
        np.bincount(bins, right, size),
    )


def calibration_error(
    predictions: Integer[np.ndarray, "r n"],
    labels: Integer[np.ndarray, " n"],
    num_bins: int | None = None,
    classes: int = 10,
) -> float:
    """Compute the class-aggregated calibration error (CACE) of runs' votes.

    All pairs of an example and a class are binned by the fraction of runs that vote for the class on the example.
    The error is the sum over the bins of |pairs that are right - votes|, over n. Few runs make it larger: compare at
    equal r. The bins are those of `reliability`.
    """
    _require(predictions)
    return reliability(count_votes(predictions, classes), labels, num_bins).error


def ensemble_accuracy(logits: Real[np.ndarray, "r n l"], labels: Integer[np.ndarray, " n"]) -> float:
    """Compute the fraction of examples that the mean of the logits classifies correctly."""
    return float((logits.mean(0).argmax(1) == labels).mean())


def disagreement(predictions: Integer[np.ndarray, "r n"]) -> float:
    """Compute the fraction of examples on which two runs' predictions differ, averaged over pairs of runs."""
    _require(predictions)
    return vote_disagreement(count_votes(predictions, int(predictions.max()) + 1))


def vote_disagreement(votes: Integer[np.ndarray, "n l"]) -> float:
    """Compute the disagreement from the runs' votes."""
    runs = int(votes[0].sum())
    same = (votes.astype(np.float64) ** 2).sum(1)
    # Of R^2 ordered pairs, R are a run and itself.
    return float((1 - (same - runs) / (runs * (runs - 1))).mean())


def run_interval(
    statistic: Callable[[np.ndarray], float], values: Shaped[np.ndarray, "r ..."], seed: int = 0
) -> tuple[float, float]:
    """Compute the 95% interval of a statistic of runs, by resampling at least two runs.

    A run that is drawn twice agrees with itself: for statistics about pairs of runs the interval is a little too low.
    """
    from scipy.stats import bootstrap

    def of_runs(runs: np.ndarray) -> float:
        return statistic(values[runs])

    runs, generator = np.arange(len(values)), np.random.default_rng(seed)
    found = bootstrap((runs,), of_runs, vectorized=False, n_resamples=RESAMPLES, method="percentile", rng=generator)
    return percentile_interval(found.bootstrap_distribution)


def vote_interval(
    statistic: Callable[[np.ndarray], float],
    votes: Integer[np.ndarray, "n l"],
    halves: Integer[np.ndarray, "half n l"],
    largest: float,
) -> tuple[float, float]:
    """Compute the 95% interval of a statistic of the runs' votes, from the votes of random halves of them.

    It ends at 0 and at the largest value that the statistic can have.

    A half without replacement differs from the whole as much as the whole from another draw of as many runs, and has
    no run twice (Shao and Wu, "A general theory for jackknife variance estimation", 1989). It needs halves of two runs.
    By hand, because scipy resamples with replacement only.
    """
    runs, half = int(votes[0].sum()), int(halves[0, 0].sum())
    found = np.array([statistic(part) for part in halves])
    reach = t_quantile(0.975, runs) * found.std(ddof=1) * math.sqrt(half / (runs - half))
    value = statistic(votes)
    return clip_interval((float(value - reach), float(value + reach)), 0.0, largest)


def half_votes(
    predictions: Integer[np.ndarray, "r n"], classes: int = 10, seed: int = 0, *, columns: int = COLUMNS
) -> Int32[np.ndarray, "half n {classes}"]:
    """Count the votes of random halves of the runs, HALVES of them.

    Raises ValueError for a prediction that is none of the classes.
    """
    runs, examples = _require(predictions)
    _require_classes(predictions, classes, "prediction")
    order = np.random.default_rng(seed).permuted(np.tile(np.arange(runs), (HALVES, 1)), axis=1)
    chosen = (order < runs // 2).astype(np.float32)
    votes = np.empty((HALVES, examples, classes), np.int32)
    # A product of matrices for each class and some of the examples, because an array of all votes would be large.
    for start in range(0, examples, columns):
        part = predictions[:, start : start + columns]
        for k in range(classes):
            votes[:, start : start + columns, k] = chosen @ (part == k).astype(np.float32)
    return votes


def _require_classes(values: np.ndarray, classes: int, what: str) -> None:
    if values.size and int(values.max()) >= classes:
        raise ValueError(f"a {what} is class {int(values.max())} of 0 to {classes - 1}: say how many classes there are")


def _require(values: np.ndarray) -> tuple[int, int]:
    if values.ndim != 2 or min(values.shape) < 2:
        raise ValueError(f"need at least 2 runs of at least 2 examples, [R,N], not {values.shape}")
    return values.shape[0], values.shape[1]
