"""The lines of an experiment's table: our number, its interval, n, the paper's number and a verdict."""

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from airjax.stats.equivalence import mean_difference
from airjax.stats.intervals import mean_interval
from experiments.verdict import NOT_COMPARABLE, Interval, Verdict, judge_direction, judge_exact, judge_value

GAIN = 1.0  # any number of the sign of a gain
ACCURACY_MARGIN = 0.05  # percentage points: what counts as the same accuracy (docs/parity.md's margin of development)


class Row(NamedTuple):
    """One line."""

    cell: str
    ours: float | None  # None where nothing could be estimated
    interval: Interval | None  # 95%
    n: int  # networks
    paper: float | None  # None where the paper has no number
    verdict: Verdict
    unit: str = "%"
    decimals: int = 2
    p: float | None = None  # two-sided, that an effect is zero
    note: str = ""


def value_row(cell: str, accuracies: Float[np.ndarray, " _"], paper: float | None, scale: str) -> Row:
    """Compare a mean accuracy, in percent, with the paper's. On a CPU's scale it is of another network: never."""
    interval = mean_interval(accuracies, whole=100.0)
    verdict = value_verdict(interval, paper, ACCURACY_MARGIN, scale)
    return Row(cell, float(accuracies.mean()), interval, len(accuracies), paper, verdict)


def difference_row(
    cell: str,
    first: Float[np.ndarray, " _"],
    second: Float[np.ndarray, " _"],
    paper: float | None,
    scale: str,
) -> Row:
    """Compare the difference of two mean accuracies, the second minus the first, with the paper's.

    On the paper's scale by its value, on a CPU's by its sign alone; where the paper has no number (None), whether it is
    above zero. The interval and p are Welch's.
    """
    n = min(len(first), len(second))
    if n < 2:
        difference = float(second.mean() - first.mean())
        return Row(cell, difference, None, n, paper, effect_verdict(None, paper, ACCURACY_MARGIN, scale), "points")
    found = mean_difference(first, second, whole=100.0)
    verdict = effect_verdict(found.interval95, paper, ACCURACY_MARGIN, scale)
    return Row(cell, found.difference, found.interval95, n, paper, verdict, "points", p=found.p)


def effect_row(
    cell: str,
    ours: float,
    resampled: Float[np.ndarray, " _"],
    n: int,
    paper: float | None,
    scale: str,
    margin: float,
    unit: str = "",
    decimals: int = 2,
) -> Row:
    """Compare an effect, which is zero where there is none, from its bootstrap distribution.

    Where the paper has no number (None), it is asked whether the effect is above zero.

    The interval is the middle 95% of the distribution, p twice the fraction of it on the other side of zero.
    """
    interval = percentiles(resampled)
    verdict = effect_verdict(interval, paper, margin, scale)
    return Row(cell, float(ours), interval, n, paper, verdict, unit, decimals, bootstrap_p(resampled))


def exact_row(cell: str, ours: float, paper: float, unit: str = "", decimals: int = 0, tolerance: float = 0.0) -> Row:
    """Compare numbers that no chance is in."""
    return Row(cell, float(ours), None, 0, paper, judge_exact(float(ours), paper, tolerance), unit, decimals)


def value_verdict(interval: Interval | None, paper: float | None, margin: float, scale: str) -> Verdict:
    """Judge a value: by the margin on the paper's scale; on a CPU's, and without a number, it is not comparable."""
    return NOT_COMPARABLE if scale == "cpu" or paper is None else judge_value(interval, paper, margin)


def effect_verdict(interval: Interval | None, paper: float | None, margin: float, scale: str) -> Verdict:
    """Judge an effect: by its value on the paper's scale, by its sign on a CPU's, and without a number as a gain."""
    if paper is None:
        return judge_direction(interval, GAIN)
    return judge_direction(interval, paper) if scale == "cpu" else judge_value(interval, paper, margin)


def percentiles(resampled: Float[np.ndarray, " _"]) -> Interval | None:
    """Return the middle 95% of a bootstrap distribution; None where one resample in twenty could not be estimated."""
    known = resampled[~np.isnan(resampled)]
    if len(known) < 0.95 * len(resampled) or not len(known):
        return None
    low, high = np.percentile(known, (2.5, 97.5))
    return float(low), float(high)


def bootstrap_p(resampled: Float[np.ndarray, " _"]) -> float | None:
    """Compute a two-sided p-value of no effect from a bootstrap distribution; None where it is none."""
    known = resampled[~np.isnan(resampled)]
    if percentiles(resampled) is None:
        return None
    # With one added, since no finite number of resamples shows that a probability is zero.
    below, above = (1 + (known <= 0).sum()) / (1 + len(known)), (1 + (known >= 0).sum()) / (1 + len(known))
    return float(min(1.0, 2 * min(below, above)))


def row_from(values: dict[str, Any]) -> Row:
    """Read a row back from a line of the results."""
    interval: list[float | None] | None = values["interval"]
    # JSON has no infinity: an end that is missing is one.
    ends = None if interval is None else (_end(interval[0], -math.inf), _end(interval[1], math.inf))
    return Row(**{**values, "interval": ends})


def _end(value: float | None, missing: float) -> float:
    return missing if value is None else value
