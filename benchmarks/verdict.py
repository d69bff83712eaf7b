"""Seconds of two implementations that were measured in turn: how much faster is one, and is that more than chance?"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

SpeedVerdict = Literal["faster", "slower", "open"]

SIGNIFICANCE = 0.05
RESAMPLES = 9_999
LEAST_ROUNDS = 6  # the whole range of five rounds holds a median with less than 95%, and no test of them has p < 0.05


class TimeComparison(NamedTuple):
    """The time of a in terms of that of b."""

    ratio: float  # median of a over median of b
    interval95: tuple[float, float] | None  # of the ratio, by resampling the rounds; of fewer than six there is none
    p: float  # Wilcoxon's signed-rank test of the rounds' ratios, two-sided
    verdict: SpeedVerdict  # of a


def spread(seconds: Sequence[float]) -> dict[str, Any]:
    """Median, quartiles and minimum of at least one time, and the times themselves."""
    low, middle, high = np.percentile(seconds, (25, 50, 75))
    return {
        "median": float(middle),
        "quartiles": [float(low), float(high)],
        "minimum": float(min(seconds)),
        "seconds": list(seconds),
    }


def compare(a: Sequence[float], b: Sequence[float]) -> TimeComparison:
    """Compare times that are paired by their round.

    At least six rounds are needed for an interval, and for a verdict other than "open". Raises ValueError for times
    that do not pair.
    """
    from scipy.stats import bootstrap, wilcoxon

    if len(a) != len(b) or not len(a):
        raise ValueError(f"{len(a)} and {len(b)} times are no pairs; every round needs one of each implementation")
    ratios = np.log(np.asarray(a) / np.asarray(b))
    p = float(np.asarray(wilcoxon(ratios))[1]) if ratios.any() else 1.0
    ratio = float(np.median(a) / np.median(b))
    interval = None
    if len(a) >= LEAST_ROUNDS:
        generator = np.random.default_rng(0)
        found = bootstrap((a, b), _median_ratio, n_resamples=RESAMPLES, paired=True, method="percentile", rng=generator)
        low, high = found.confidence_interval
        interval = float(low), float(high)
    verdict: SpeedVerdict = "open" if p >= SIGNIFICANCE else "faster" if np.median(ratios) < 0 else "slower"
    return TimeComparison(ratio, interval, p, verdict)


def compare_with_best(seconds: Mapping[str, Sequence[float]], others: Iterable[str]) -> dict[str, Any]:
    """Return what a record says of airjax and the fastest of the others; nothing where airjax or they are missing.

    Args:
        seconds: of the rounds of each implementation, by its name.
        others: names of those that airjax may be compared with.
    """
    medians = {name: float(np.median(seconds[name])) for name in others if name in seconds}
    if "airjax" not in seconds or not medians:
        return {}
    best = min(medians, key=lambda name: medians[name])
    found = {"airjax": float(np.median(seconds["airjax"])), "torch": medians[best], "best_torch": best}
    return found | compare(seconds["airjax"], seconds[best])._asdict()


def _median_ratio(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
    return np.median(a, axis=axis) / np.median(b, axis=axis)
