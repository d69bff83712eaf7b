"""One comparison of two arrays, and the one table of tolerances."""

import math
from typing import Any, NamedTuple

import numpy as np


class Tolerance(NamedTuple):
    """How far airjax may be from PyTorch: atol + rtol * (largest magnitude of PyTorch's array)."""

    rtol: float
    atol: float
    reason: str


EXACT = "the same numbers are moved or compared, nothing is rounded"
FLOAT64 = "both compute in float64 and differ in the order of their sums"

# float32 rows of these checks are not in the table: their tolerance is ROUNDING_FACTOR times PyTorch's own rounding.
TOLERANCES: dict[str, Tolerance] = {
    "normalize": Tolerance(1e-15, 0.0, "float64; XLA divides by a constant by multiplying with its reciprocal"),
    "augmentation": Tolerance(0.0, 0.0, EXACT),
    "resize": Tolerance(1e-14, 0.0, FLOAT64 + ", and in that of the weights"),
    "curriculum": Tolerance(0.0, 0.0, EXACT),
    "draws": Tolerance(0.0, 0.0, EXACT),
    "schedule": Tolerance(1e-14, 0.0, "a few float64 operations per factor"),
    "whitening": Tolerance(1e-11, 0.0, "float64; the smallest eigenvalue is ten thousand times below the largest"),
    "dirac": Tolerance(0.0, 0.0, EXACT),
    "initial-law": Tolerance(0.0, 0.0, "critical value of the Kolmogorov-Smirnov statistic, computed for the draws"),
    "layers": Tolerance(1e-12, 0.0, FLOAT64),
    "cancellation": Tolerance(0.0, 2e-4, "16 last bits of a mean of 100 in float32, over a standard deviation of 1"),
    "intermediates": Tolerance(1e-12, 0.0, FLOAT64 + ", through the whole network"),
    "loss": Tolerance(1e-13, 0.0, FLOAT64),
    "gradients": Tolerance(1e-12, 0.0, FLOAT64 + ", forwards and backwards"),
    "running-statistics": Tolerance(1e-12, 0.0, FLOAT64),
    "image-sizes": Tolerance(1e-12, 0.0, FLOAT64 + ", through the whole network and back"),
    "optimizer": Tolerance(1e-12, 0.0, FLOAT64 + ", over all steps; the gradients are given, so nothing is amplified"),
    "freeze": Tolerance(0.0, 0.0, "a frozen parameter does not move by one bit"),
    "lookahead": Tolerance(1e-13, 0.0, FLOAT64 + ", over all syncs"),
    "batches": Tolerance(1e-15, 0.0, "float64; XLA divides by a constant by multiplying with its reciprocal"),
    "selection": Tolerance(0.0, 0.0, EXACT),
    "proxy": Tolerance(1e-11, 0.0, FLOAT64 + "; each step amplifies the differences of the steps before"),
    "tail": Tolerance(1e-13, 0.0, FLOAT64 + ", over all averages"),
    "trajectory": Tolerance(1e-10, 0.0, FLOAT64 + "; each step amplifies the differences of the steps before"),
    "tta": Tolerance(1e-12, 0.0, FLOAT64 + ", through the whole network and the views' mean"),
    "boxes": Tolerance(0.0, 0.0, EXACT),
    "area": Tolerance(0.0, 0.501, "half a level, by which bytes are rounded, and float32 sums"),
    "ramp": Tolerance(1e-14, 0.0, "a few float64 operations per rate; sizes are whole numbers"),
    "stream-step": Tolerance(1e-10, 0.0, FLOAT64 + "; each step amplifies the differences of the steps before"),
    "training": Tolerance(
        0.0, 1e-3, "fraction of test images with another prediction; an exact tie may fall either way"
    ),
}

# PyTorch's own rounding is the distance between its float32 and its float64 result. The largest of many rounding errors
# is a noisy yardstick: two correct implementations differ by up to a few times of it, a wrong formula by many orders.
ROUNDING_FACTOR = 4.0
# Over several steps the errors grow along chance directions, so the yardstick is noisier.
DRIFT_FACTOR = 10.0
# A fraction of the largest magnitude. Where PyTorch's two results are further apart, it is not rounding that sets them
# apart, and they measure nothing.
ROUNDING_LIMIT = 1e-2
# Where PyTorch happens to round nothing, the other framework may still round the last bits.
ROUNDING_FLOOR = 8 * float(np.finfo(np.float32).eps)


class Comparison(NamedTuple):
    """How far one array of airjax is from PyTorch's."""

    check: str
    recipe: str
    precision: str
    name: str  # of the array
    absolute: float  # largest absolute difference; infinite where shapes differ or a number is missing
    relative: float  # the same, over the largest magnitude of PyTorch's array
    allowed: float  # the largest absolute difference that passes

    @property
    def passed(self) -> bool:
        """Say whether the difference is within tolerance."""
        # Where PyTorch's array holds an infinity, it is also what is allowed.
        return math.isfinite(self.absolute) and self.absolute <= self.allowed


class Place(NamedTuple):
    """Where a comparison stands: the first columns of its row."""

    check: str
    recipe: str
    precision: str


def compare(place: Place, name: str, ours: Any, theirs: Any, rounded: Any = None) -> Comparison:
    """Compare airjax's array with PyTorch's.

    With rounded, PyTorch's float32 result, theirs is its float64 result and the tolerance is derived from the two.
    """
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    scale = float(np.abs(theirs).max(initial=0.0))
    if rounded is None:
        tolerance = TOLERANCES[place.check]
        allowed = tolerance.atol + tolerance.rtol * scale
    else:
        rounding = float(np.abs(np.asarray(rounded, np.float64) - theirs).max(initial=0.0))
        allowed = min(ROUNDING_FACTOR * rounding, ROUNDING_LIMIT * scale) + ROUNDING_FLOOR * scale
    if ours.shape != theirs.shape:
        return Comparison(*place, f"{name} {ours.shape} {theirs.shape}", math.inf, math.inf, allowed)
    difference = float(np.abs(ours - theirs).max(initial=0.0))
    if not math.isfinite(difference):
        difference = math.inf
    return Comparison(*place, name, difference, difference / scale if scale > 0 else difference, allowed)


def measured(place: Place, name: str, value: float, allowed: float) -> Comparison:
    """A comparison whose distance and tolerance are computed by the check itself."""
    return Comparison(*place, name, value, value, allowed)


class Row(NamedTuple):
    """The worst of a check's comparisons: one line of the suite."""

    check: str
    recipe: str
    precision: str
    arrays: int  # comparisons made
    worst: str  # name of the array nearest to, or furthest beyond, its tolerance
    absolute: float
    relative: float
    allowed: float
    passed: bool  # all of them


def summarize(comparisons: list[Comparison]) -> list[Row]:
    """Return one row for each check, recipe and precision, in order of first appearance."""
    groups: dict[Place, list[Comparison]] = {}
    for comparison in comparisons:
        groups.setdefault(Place(*comparison[:3]), []).append(comparison)
    rows = []
    for place, group in groups.items():
        worst = max(group, key=_closeness)
        rows.append(Row(*place, len(group), *worst[3:], passed=all(c.passed for c in group)))
    return rows


def _closeness(comparison: Comparison) -> float:
    if comparison.absolute == 0:
        return 0.0
    if not math.isfinite(comparison.absolute) or not comparison.allowed > 0:
        return math.inf
    return comparison.absolute / comparison.allowed
