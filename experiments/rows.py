"""The lines of an experiment's table: our number, its interval, n, the paper's number and a verdict."""

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from airjax.stats.equivalence import mean_difference, paired_difference
from airjax.stats.intervals import mean_interval
from experiments.verdict import (
    AGREES,
    NOT_COMPARABLE,
    NOT_IN_PAPER,
    Interval,
    Verdict,
    judge_direction,
    judge_exact,
    judge_value,
    widen,
)

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


def value_row(
    cell: str,
    accuracies: Float[np.ndarray, " _"],
    paper: float | None,
    scale: str,
    margin: float = ACCURACY_MARGIN,
    paper_n: int | None = None,
) -> Row:
    """Compare a mean accuracy, in percent, with the paper's. On a CPU's scale it is of another network: never.

    paper_n: networks that the paper's is of, where that is known.
    """
    interval, ours, n = mean_interval(accuracies, whole=100.0), float(accuracies.mean()), len(accuracies)
    judged = widen(interval, ours, n, paper_n) if _spreads(accuracies) else None
    return Row(cell, ours, interval, n, paper, value_verdict(judged, paper, margin, scale))


def difference_row(
    cell: str,
    first: Float[np.ndarray, " _"],
    second: Float[np.ndarray, " _"],
    paper: float | None,
    scale: str,
    margin: float = ACCURACY_MARGIN,
    paper_n: int | None = None,
    *,
    paired: bool = False,
    claimed: bool = True,
) -> Row:
    """Compare the difference of two mean accuracies, the second minus the first, with the paper's.

    On the paper's scale by its value, on a CPU's by its sign alone; where the paper has no number (None), whether it is
    above zero. The interval and p are Welch's, or of paired networks Student's. Networks of which either have no spread
    resolve nothing.

    paper_n: networks that each of the paper's means is of, the fewer where they differ, where that is known.
    paired: the same networks, or those of the same seeds, in the same order, twice.
    claimed: whether the paper's number is more than chance.
    """
    n = min(len(first), len(second))
    if n < 2:
        difference = float(second.mean() - first.mean())
        verdict = effect_verdict(None, paper, margin, scale, claimed=claimed)
        return Row(cell, difference, None, n, paper, verdict, "points")
    found = (paired_difference if paired else mean_difference)(first, second, whole=100.0)
    ours, interval = found.difference, found.interval95
    judged = interval if _spreads(first, second) and interval[0] < interval[1] else None
    verdict = effect_verdict(judged, paper, margin, scale, widen(judged, ours, n, paper_n), claimed=claimed)
    return Row(cell, ours, interval, n, paper, verdict, "points", p=found.p)


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
    paper_n: int | None = None,
    *,
    largest: float = math.inf,
    claimed: bool = True,
) -> Row:
    """Compare an effect, which is zero where there is none, from its bootstrap distribution.

    Where the paper has no number (None), it is asked whether the effect is above zero.

    The interval is the middle 95% of the distribution, p twice the fraction of it on the other side of zero; neither is
    known of a single network.

    paper_n: networks that the paper's is of, where that is known.
    largest: an effect that stands for all that are at least so large; where all resamples are, that is evidence.
    claimed: whether the paper's number is more than chance.
    """
    ours, interval, p, note = float(ours), None, None, ""
    if n > 1 and not math.isnan(ours):
        interval, p = percentiles(resampled, largest), bootstrap_p(resampled, largest)
    if interval is not None and max(ours, interval[1]) >= largest:
        note = f"{largest:,g}{unit} stands for any larger effect, and for no end"
    verdict = effect_verdict(interval, paper, margin, scale, widen(interval, ours, n, paper_n), claimed=claimed)
    return Row(cell, ours, interval, n, paper, verdict, unit, decimals, p, note)


def exact_row(cell: str, ours: float, paper: float, unit: str = "", decimals: int = 0, tolerance: float = 0.0) -> Row:
    """Compare numbers that no chance is in."""
    return Row(cell, float(ours), None, 0, paper, judge_exact(float(ours), paper, tolerance), unit, decimals)


def value_verdict(interval: Interval | None, paper: float | None, margin: float, scale: str) -> Verdict:
    """Judge a value: by the margin on the paper's scale; on a CPU's, and without a number, it is not comparable."""
    return NOT_COMPARABLE if scale == "cpu" or paper is None else judge_value(interval, paper, margin)


def effect_verdict(
    interval: Interval | None,
    paper: float | None,
    margin: float,
    scale: str,
    widened: Interval | None = None,
    *,
    claimed: bool = True,
) -> Verdict:
    """Judge an effect: by value and sign on the paper's scale, by its sign on a CPU's, and without a number as a gain.

    widened: what is judged on the paper's scale, with the chance that is in the paper's number; None: the interval.
    claimed: whether the paper's effect is more than chance: the sign of another one is none to agree with.
    """
    if paper is None:
        return judge_direction(interval, GAIN)
    if scale == "cpu":
        return judge_direction(interval, paper) if claimed else NOT_IN_PAPER
    judged = interval if widened is None else widened
    verdict = judge_value(judged, paper, margin)
    # No effect at all is within the margin of one that is smaller than it: the sign has to be the paper's, too.
    return judge_direction(judged, paper) if verdict == AGREES and claimed else verdict


def percentiles(resampled: Float[np.ndarray, " _"], largest: float = math.inf) -> Interval | None:
    """Return the middle 95% of a bootstrap distribution.

    None where one resample in twenty could not be estimated, or all are the same: networks without spread. But all may
    be the largest value, which stands for any larger one.
    """
    known = resampled[~np.isnan(resampled)]
    if len(known) < 0.95 * len(resampled) or not len(known):
        return None
    if np.ptp(known) == 0 and known[0] < largest:
        return None
    low, high = np.percentile(known, (2.5, 97.5))
    return float(low), float(high)


def bootstrap_p(resampled: Float[np.ndarray, " _"], largest: float = math.inf) -> float | None:
    """Compute a two-sided p-value of no effect from a bootstrap distribution; None where it is none."""
    known = resampled[~np.isnan(resampled)]
    if percentiles(resampled, largest) is None:
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


def _spreads(*samples: Float[np.ndarray, " _"]) -> bool:
    # Two networks that happen to be as accurate as each other say nothing about chance.
    return all(np.ptp(values) > 0 for values in samples)


def _end(value: float | None, missing: float) -> float:
    return missing if value is None else value
