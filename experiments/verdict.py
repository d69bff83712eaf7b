"""Judge a number of ours against the paper's, by its interval. Pure functions of numbers that were fixed in advance."""

import math
from typing import Literal

Verdict = Literal[
    "agrees", "differs", "not resolved at this n", "not resolved in the paper", "not comparable at this scale"
]
Interval = tuple[float, float]

AGREES: Verdict = "agrees"
DIFFERS: Verdict = "differs"
NOT_RESOLVED: Verdict = "not resolved at this n"
NOT_IN_PAPER: Verdict = "not resolved in the paper"
NOT_COMPARABLE: Verdict = "not comparable at this scale"


def judge_value(interval: Interval | None, paper: float, margin: float) -> Verdict:
    """Compare a value with the paper's.

    "agrees": the whole interval lies within `margin` of the paper's value, as in a test of equivalence. "differs": it
    does not, and leaves the paper's value out. "not resolved at this n": it holds the paper's value, and more than the
    margin beside it; or there is no interval.

    Args:
        interval: 95% interval of ours; None where there are too few networks for one.
        paper: the paper's value, in the same unit, taken as exact: where it is known of how many networks it is, the
            interval is to be that of `widen`.
        margin: largest distance that counts as the same, in the same unit; set before anything is trained.

    Raises ValueError for a margin that is not positive, or an interval whose ends are not in order.
    """
    if not margin > 0:
        raise ValueError(f"the margin is {margin}, but it must be a positive number")
    if interval is None:
        return NOT_RESOLVED
    low, high = _ordered(interval)
    if paper - margin <= low and high <= paper + margin:
        return AGREES
    return NOT_RESOLVED if low <= paper <= high else DIFFERS


def widen(interval: Interval | None, ours: float, n: int, paper_n: int | None) -> Interval | None:
    """Widen our interval by the chance that is in the paper's number, to be judged by; what is printed stays ours.

    Variances add: if the paper's networks spread as ours do, it is by the square root of 1 + n / paper_n, about ours.

    Args:
        interval: 95% interval of ours; None where there are too few networks for one.
        ours: our number.
        n: networks that it is of.
        paper_n: networks that the paper's is of; None where that is not known, which leaves the interval as it is.
    """
    if interval is None or paper_n is None:
        return interval
    factor = math.sqrt(1 + n / paper_n)
    low, high = (ours + factor * (end - ours) for end in interval)
    return low, high


def judge_direction(interval: Interval | None, paper: float) -> Verdict:
    """Compare the sign of an effect with that of the paper's.

    "agrees": the whole interval lies on the paper's side of zero. "differs": it lies on the other side. Else, and
    without an interval, "not resolved at this n".

    Args:
        interval: 95% interval of our effect; None where there are too few networks for one.
        paper: the paper's effect, in any unit.

    Raises ValueError for an effect of zero, which has no sign.
    """
    if paper == 0 or math.isnan(paper):
        raise ValueError(f"the paper's effect is {paper}, which has no sign to compare with")
    if interval is None:
        return NOT_RESOLVED
    low, high = _ordered(interval)
    if low <= 0 <= high:
        return NOT_RESOLVED
    return AGREES if (low > 0) == (paper > 0) else DIFFERS


def judge_exact(ours: float, paper: float, tolerance: float = 0.0) -> Verdict:
    """Compare numbers that no chance is in: "agrees" to within rounding (the tolerance), else "differs"."""
    return AGREES if abs(ours - paper) <= tolerance else DIFFERS


def _ordered(interval: Interval) -> Interval:
    low, high = interval
    if not low <= high:
        raise ValueError(f"the interval is {low} to {high}, whose ends are not in order")
    return low, high
