"""Sum up the networks of one setting in numbers, and what figures show of them. All fractions are in percent."""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer

from airjax.report.probabilities import softmax
from airjax.stats.equivalence import paired_difference
from airjax.stats.intervals import mean_interval, sd_interval
from airjax.stats.variance import (
    Variance,
    count_votes,
    ensemble_accuracy,
    half_votes,
    reliability,
    run_variance,
    vote_disagreement,
    vote_interval,
)
from airjax.sweep.store import Results, ResultsError

CLASSES = 10  # where the data set is not at hand: CIFAR-10's, or as many as were predicted
GROUP = 50  # networks whose logits are in memory at once
FEWEST = 4  # networks that halves of two can be drawn from

Interval = tuple[float, float] | None


class Estimate(NamedTuple):
    """A number with its 95% interval, where there are networks enough for one."""

    value: float
    interval: Interval


class Summary(NamedTuple):
    """One setting. None stands for what needs more networks, or labels that are unavailable."""

    networks: int  # finished, those that diverged among them
    diverged: int
    mean: Estimate  # accuracy
    sd: Estimate | None  # of the accuracies on this test set
    lowest: float
    highest: float
    gain: Estimate | None  # of accuracy by test-time augmentation, in points, where the plan keeps plain accuracies
    seconds: float | None  # median of the networks
    distribution_sd: Estimate | None  # on the test distribution: root of an estimate that may be negative, signed
    calibration: Estimate | None  # class-aggregated error of the votes; no percentage
    disagreement: Estimate | None  # test images on which two networks see different classes
    ensemble: float | None  # accuracy of all networks together
    ensemble_of: Literal["logits", "votes"]  # what they were put together from


class Details(NamedTuple):
    """What the figures of one setting show."""

    accuracies: np.ndarray  # [R], in percent
    votes: np.ndarray  # [M,K] networks that see the class in the test image
    class_accuracies: np.ndarray | None  # [R,K], NaN for a class without test images
    curves: np.ndarray | None  # [R,E,2] training loss, and training accuracy; NaN after a network's last epoch
    probabilities: np.ndarray | None  # [M,K] mean over the networks, where their logits were kept


def summarize(results: Results, labels: np.ndarray | None, num_classes: int | None = None) -> tuple[Summary, Details]:
    """Sum up one setting's finished networks, with the labels [M] of its test images, and how many classes there are,
    where these are available.

    Holds the predictions [R,M] of the setting at once, of the logits only those of a few networks. Raises ResultsError.
    """
    accuracies = np.array([100 * row["accuracy"] for row in results.rows])
    predictions = results.array("predictions")
    num_classes = num_classes or max(CLASSES, int(predictions.max()) + 1)
    votes = count_votes(predictions, num_classes)
    several, halves = len(accuracies) > 1, None
    if len(accuracies) >= FEWEST:
        halves = half_votes(predictions, num_classes)

    def of_votes(statistic: Callable[[np.ndarray], float], largest: float, factor: float = 1.0) -> Estimate | None:
        if not several:
            return None
        interval = None if halves is None else vote_interval(lambda v: factor * statistic(v), votes, halves, largest)
        return Estimate(factor * statistic(votes), interval)

    variance = calibration = class_accuracies = logits = ensemble = None
    if labels is not None:
        correct = predictions == labels
        variance = run_variance(correct) if several else None
        calibration = of_votes(lambda v: reliability(v, labels).error, 2.0)
        class_accuracies = accuracies_by_class(correct, labels, num_classes)
        logits = sum_logits(results)
        ensemble = 100 * ensemble_accuracy((votes if logits is None else logits)[None], labels)
    summary = Summary(
        networks=len(accuracies),
        diverged=sum(row["diverged"] for row in results.rows),
        mean=Estimate(float(accuracies.mean()), mean_interval(accuracies, whole=100.0)),
        sd=Estimate(float(accuracies.std(ddof=1)), sd_interval(accuracies)) if several else None,
        lowest=float(accuracies.min()),
        highest=float(accuracies.max()),
        gain=_gain(results),
        seconds=_median([row["seconds"] for row in results.rows if row["seconds"] is not None]),
        distribution_sd=variance and _distribution_sd(variance),
        calibration=calibration,
        disagreement=of_votes(vote_disagreement, 100.0, factor=100.0),
        ensemble=ensemble,
        ensemble_of="votes" if logits is None else "logits",
    )
    probabilities = None if logits is None else mean_probabilities(results)
    return summary, Details(accuracies, votes, class_accuracies, load_curves(results), probabilities)


def _gain(results: Results) -> Estimate | None:
    pairs = [(row["accuracy"], row["plain_accuracy"]) for row in results.rows if row.get("plain_accuracy") is not None]
    if not pairs:
        return None
    averaged, plain = 100 * np.array(pairs).T
    if len(pairs) < 2:
        return Estimate(float(averaged[0] - plain[0]), None)
    found = paired_difference(plain, averaged, whole=100.0)
    return Estimate(found.difference, found.interval95)


def sum_logits(results: Results) -> np.ndarray | None:
    """Sum the networks' logits [M,K], a few networks at a time; None where they were not kept.

    A network whose logits of an image are not all finite adds nothing to them.
    """
    total = None
    for start in range(0, len(results.rows), GROUP):
        try:
            part = results._replace(rows=results.rows[start : start + GROUP]).array("logits")
        except ResultsError:
            return None
        finite = np.isfinite(part).all(2, keepdims=True)
        added = np.where(finite, part, 0).sum(0, dtype=np.float64)
        total = added if total is None else total + added
    return total


def mean_probabilities(results: Results) -> np.ndarray:
    """Average the probabilities [M,K] of networks whose logits were kept, a few networks at a time.

    A network whose logits of an image are not all finite adds nothing to them. Raises ResultsError.
    """
    total = None
    for start in range(0, len(results.rows), GROUP):
        for logits in results._replace(rows=results.rows[start : start + GROUP]).array("logits"):
            added = np.nan_to_num(softmax(logits))
            total = added if total is None else total + added
    assert total is not None
    return total / len(results.rows)


def load_curves(results: Results) -> np.ndarray | None:
    """Load loss and accuracy in percent on the training examples [R,E,2]; None for sweeps of versions without them."""
    try:
        curves = results.array("curves").astype(np.float64)
    except ResultsError:
        return None
    # A diverged network's loss may be infinite, which no mean survives.
    curves[~np.isfinite(curves)] = np.nan
    return curves * (1, 100)


def accuracies_by_class(
    correct: Bool[np.ndarray, "r m"], labels: Integer[np.ndarray, " m"], num_classes: int
) -> Float[np.ndarray, "r l"]:
    """Return the accuracy of each network in each class, in percent; NaN for a class without test images."""
    columns = [correct[:, labels == k] for k in range(num_classes)]
    missing = np.full(len(correct), np.nan)
    return np.stack([100 * part.mean(1) if part.shape[1] else missing for part in columns], axis=1)


def _distribution_sd(variance: Variance) -> Estimate:
    low, high = map(_signed_root, variance.distribution_interval)
    return Estimate(_signed_root(variance.distribution), (low, high))


def _signed_root(variance: float) -> float:
    # Of a variance of fractions, in percentage points.
    return 100 * math.copysign(math.sqrt(abs(variance)), variance)


def _median(values: list[float]) -> float | None:
    return float(np.median(values)) if values else None
