"""Which training examples made a network see a test example as it does: linear datamodels.

Ilyas et al., "Datamodels: predicting predictions from training data" (arXiv 2202.00622). Networks are trained on random
subsets of the training examples. A linear model of each test example then predicts a network's output from which
examples it was trained on, and a training example's weight is what its presence adds to the output. Where the paper
fits by lasso to hundreds of thousands of networks, ridge regression is better determined with a few thousand: all
test examples share one eigendecomposition, and leaving one network out costs nothing.

By hand: scikit-learn's RidgeCV finds the same models, to 15 digits, in 2 to 9 times the processor time and 1.4 to 2.1
times the memory (1,000 and 2,000 networks of 5,000 and 50,000 training examples; `python -m benchmarks.ridge`). A
penalty for each test example (`alpha_per_target`) took 3 to 10 times the time, and predicted about as well or worse.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Integer, Real

PENALTIES = tuple(np.logspace(0, 6, 25))  # candidates, in units of the variance of one inclusion

Presence = Bool[np.ndarray, "r n"] | Real[np.ndarray, "r n"]  # which of n training examples each of r networks saw


class Datamodels(NamedTuple):
    """Linear models of m test examples, whose inputs are which of n training examples a network saw."""

    weights: Float[np.ndarray, "n m"]  # what an example's presence adds to the output
    intercepts: Float[np.ndarray, " m"]  # the output without any
    penalty: float  # chosen by leaving one network out
    left_out_correlation: Float[np.ndarray, " m"]  # `left_out_correlations` of the fit


def inclusion(subsets: Integer[np.ndarray, "r _"], num_examples: int) -> Bool[np.ndarray, "r {num_examples}"]:
    """Mark which of the training examples each of r networks saw, from their indices."""
    seen = np.zeros((len(subsets), num_examples), bool)
    np.put_along_axis(seen, np.asarray(subsets, np.int64), True, axis=1)
    return seen


def margins(logits: Float[np.ndarray, "r m l"], labels: Integer[np.ndarray, " m"]) -> Float[np.ndarray, "r m"]:
    """Subtract the largest other logit from the correct one."""
    logits = np.asarray(logits, np.float32)
    correct = np.arange(logits.shape[2]) == np.asarray(labels)[:, None]
    others = np.where(correct, -np.inf, logits).max(2)
    return (logits * correct).sum(2) - others


def fit_datamodels(
    seen: Presence, outputs: Float[np.ndarray, "r m"], penalties: tuple[float, ...] = PENALTIES
) -> Datamodels:
    """Fit a ridge regression of outputs on which training examples each network saw.

    The penalty is the one of the candidates with the smallest squared error, summed over all test examples, when each
    network is predicted from the others.

    Raises ValueError for fewer than 3 networks, for networks that all saw the same examples, and for outputs that are
    not finite.
    """
    seen, outputs = np.asarray(seen, np.float64), np.asarray(outputs, np.float64)
    count = len(seen)
    if seen.ndim != 2 or outputs.ndim != 2 or count != len(outputs) or count < 3:
        raise ValueError(
            f"need 3 networks or more: presence [R,N] and outputs [R,M], not {seen.shape}, {outputs.shape}"
        )
    if not np.isfinite(outputs).all():
        raise ValueError("an output is not finite; leave diverged networks out")
    centre, level = seen.mean(0), outputs.mean(0)
    x, y = seen - centre, outputs - level
    spread = float(x.var(0).mean())
    if spread == 0:
        raise ValueError("all networks saw the same training examples, so their differences come from elsewhere")
    # With the centred x = U S V', ridge predicts U d(penalty) U' y, and R-by-R matrices are all that it takes.
    values, vectors = np.linalg.eigh(x @ x.T)
    values = np.maximum(values, 0)
    projected = vectors.T @ y
    best = None
    for penalty in penalties:
        shrinkage = values / (values + penalty * spread)
        residuals = y - vectors @ (shrinkage[:, None] * projected)
        # The mean counts as a predictor, too: 1/R.
        leverage = (vectors**2) @ shrinkage + 1 / count
        left_out = residuals / (1 - leverage)[:, None]
        error = float((left_out**2).sum())
        if best is None or error < best[0]:
            best = error, float(penalty), left_out
    assert best is not None
    _, penalty, left_out = best
    weights = x.T @ (vectors @ (projected / (values + penalty * spread)[:, None]))
    return Datamodels(weights, level - centre @ weights, penalty, left_out_correlations(outputs - left_out, outputs))


def predict_outputs(models: Datamodels, seen: Presence) -> Float[np.ndarray, "r m"]:
    """Predict the outputs of networks from the training examples that they saw."""
    return np.asarray(seen, np.float64) @ models.weights + models.intercepts


def left_out_correlations(
    predicted: Float[np.ndarray, "r m"], outputs: Float[np.ndarray, "r m"]
) -> Float[np.ndarray, " m"]:
    """Correlate outputs [R,M] with predictions of each network from all others, relative to the mean of those others.

    That mean is the lower, the higher the output that it leaves out: predictions that are nothing but the mean would
    have a correlation of -1. With it taken off, predictions of noise have one of about 0.
    """
    count = len(outputs)
    others = (outputs.sum(0) - outputs) / (count - 1)
    return column_correlations(predicted - others, outputs)


def column_correlations(
    predicted: Float[np.ndarray, "r m"], actual: Float[np.ndarray, "r m"]
) -> Float[np.ndarray, " m"]:
    """Compute Pearson's correlation of each column of two arrays; 0 where a column is constant."""
    x, y = predicted - predicted.mean(0), actual - actual.mean(0)
    product = np.sqrt((x**2).sum(0) * (y**2).sum(0))
    return np.divide((x * y).sum(0), product, out=np.zeros(x.shape[1]), where=product > 0)


def strongest(
    models: Datamodels, test_example: int, count: int
) -> tuple[Int[np.ndarray, " {count}"], Int[np.ndarray, " {count}"]]:
    """Find the training examples that help a test example most, and that hurt it most: indices, strongest first."""
    order = np.argsort(models.weights[:, test_example])
    return order[::-1][:count], order[:count]
