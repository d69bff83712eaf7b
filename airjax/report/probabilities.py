"""Turn logits into probabilities, and judge how right these are."""

import numpy as np
from jaxtyping import Float, Integer, Real

from airjax.stats.variance import Reliability

BINS = 10  # of the reliability diagram


def softmax(logits: Real[np.ndarray, "*m l"]) -> Float[np.ndarray, "*m l"]:
    """Compute the probabilities of logits, in double precision; NaN where a logit is not finite."""
    exact = logits.astype(np.float64)
    with np.errstate(invalid="ignore"):
        exponentials = np.exp(exact - exact.max(-1, keepdims=True))
        return exponentials / exponentials.sum(-1, keepdims=True)


def mean_probability(logits: Real[np.ndarray, "r m l"]) -> Float[np.ndarray, "m l"]:
    """Average the probabilities over the networks, one network at a time in memory."""
    total = np.zeros(logits.shape[1:])
    for of_network in logits:
        total += softmax(of_network)
    return total / len(logits)


def confidence_reliability(logits: Real[np.ndarray, "r m l"], labels: Integer[np.ndarray, " m"]) -> Reliability:
    """Bin the probability of the class that each network sees in an image, and count how often it is right."""
    pairs, confidences, right = np.zeros(BINS, int), np.zeros(BINS), np.zeros(BINS)
    for of_network in logits:
        probabilities = softmax(of_network)
        confidence, correct = probabilities.max(1), probabilities.argmax(1) == labels
        bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
        pairs += np.bincount(bins, minlength=BINS)
        confidences += np.bincount(bins, confidence, BINS)
        right += np.bincount(bins, correct, BINS)
    return Reliability(pairs, confidences, right)


def expected_calibration_error(found: Reliability) -> float:
    """Compute the mean gap between confidence and accuracy over bins, weighted by their cases (Guo et al. 2017)."""
    return float(np.abs(found.right - found.votes).sum() / found.pairs.sum())
