"""Compute how many epochs a better method saves: Jordan 2024, section 5.2."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Real


class ErrorCurve(NamedTuple):
    """Test error after e epochs as a + b e^c, c < 0: what remains, and what training longer takes away."""

    a: float
    b: float
    c: float

    def epochs_for(self, error: float) -> float:
        """Epochs to an error; infinite at or below a, which no training reaches."""
        return float("inf") if error <= self.a else ((error - self.a) / self.b) ** (1 / self.c)


def fit_errors(epochs: Real[np.ndarray, " t"], errors: Real[np.ndarray, " t"]) -> ErrorCurve:
    """Fit at least four errors, in any unit, by least squares. Raises ValueError where they do not fall with epochs."""
    from scipy.optimize import curve_fit

    epochs, errors = np.asarray(epochs, np.float64), np.asarray(errors, np.float64)
    if len(epochs) < 4 or len(epochs) != len(errors):
        raise ValueError(f"need the errors of at least 4 lengths of training, not {len(epochs)} and {len(errors)}")
    if not (np.diff(errors[np.argsort(epochs)]) < 0).all():
        raise ValueError("the errors do not fall as training grows longer, so no curve is fitted")
    start = (errors.min() * 0.98, (errors.max() - errors.min()) * epochs.min(), -1.0)
    limits = ((-np.inf, 0, -np.inf), (np.inf, np.inf, 0))
    found, _ = curve_fit(lambda e, a, b, c: a + b * e**c, epochs, errors, start, bounds=limits, xtol=1e-14, ftol=1e-14)
    return ErrorCurve(*map(float, found))


def effective_speedup(curve: ErrorCurve, epochs: float, error: float) -> float:
    """Compute how much longer the curve's method would train for an error that another method reaches after `epochs`.

    0.27 is 27% longer; infinite where no training of the curve's method gets there.
    """
    return curve.epochs_for(error) / epochs - 1


def relative_speedup(curve: ErrorCurve, own: float, error: float) -> float:
    """Compute by the curve alone how much longer its method would train for another method's error than for its own.

    Both after the same training. Exactly 0 for equal errors, though no curve goes through every point that it is fitted
    to; infinite where no training of the curve's method gets to the other's error, and NaN where none gets to its own.
    """
    before = curve.epochs_for(own)
    return curve.epochs_for(error) / before - 1 if math.isfinite(before) else math.nan
