"""How many epochs a method needs for a target accuracy: which lengths to train, and what follows from them.

In rounds, of which each is a sweep. The first trains a few networks at coarse lengths, 2, 4, 8, ... epochs, and finds
the two between which the mean accuracy, made monotone (isotonic regression), passes the target. The later rounds train
many networks close to where it does: a little shorter, there, and a little longer. So nearly all networks are spent
where they say something. The estimate is from those later rounds alone: accuracy as a straight line in log(epochs),
fitted by least squares over so short a piece of the curve that it hardly bends. Its interval is a bootstrap of the
seeds: networks of one seed at several lengths begin alike and see their examples in the same order, and are good or bad
together. A round's lengths depend on the rounds before, most of all on the
first, which is left out of the fit; tests/experiments/test_search.py has bias and coverage of the whole procedure.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

Points = Mapping[float, Float[np.ndarray, " _"]]  # accuracies in percent of the networks trained so many epochs
Seeds = Mapping[float, Int[np.ndarray, " _"]]  # theirs, in the same order

RESAMPLES = 2_000
STEP = 0.05  # epochs: lengths are multiples of it
LOOK = 2.0  # factor beyond the longest trained length up to which a crossing is looked for in the next round


class Round(NamedTuple):
    """One round of the search, after the coarse one: lengths around the estimate so far, as factors of it."""

    factors: tuple[float, ...]
    networks: int  # at each length


class Search(NamedTuple):
    """How to search."""

    target: float  # mean accuracy, in percent
    coarse: tuple[float, ...]  # epochs of the first round, ascending
    coarse_networks: int  # at each of them
    rounds: tuple[Round, ...]


class Crossing(NamedTuple):
    """Epochs to the target."""

    epochs: float | None  # None where no length reaches it
    resampled: Float[np.ndarray, " _"]  # of a bootstrap; NaN where a resample has no crossing
    networks: int  # that it follows from


def bracket(points: Points, target: float) -> float:
    """Estimate roughly where the mean accuracy passes the target, in epochs, from coarse lengths.

    Between two lengths it is interpolated in log(epochs); outside it is twice the longest, or half the shortest.
    """
    lengths = np.array(sorted(points))
    means = isotonic([float(np.mean(points[e])) for e in lengths], [len(points[e]) for e in lengths])
    if target > means[-1]:
        return float(lengths[-1] * LOOK)
    above = int(np.argmax(means >= target))
    if above == 0:
        return float(lengths[0] if target == means[0] else lengths[0] / LOOK)
    rise = (target - means[above - 1]) / (means[above] - means[above - 1])
    low, high = np.log(lengths[above - 1 : above + 1])
    return float(np.exp(low + rise * (high - low)))


def next_lengths(estimate: float, factors: Sequence[float]) -> tuple[float, ...]:
    """Return the lengths to train next, in epochs: ascending multiples of STEP, none twice."""
    lengths = {max(STEP, round(round(estimate * factor / STEP) * STEP, 2)) for factor in factors}
    return tuple(sorted(lengths))


def estimate_close(points: Points, target: float) -> float:
    """Estimate where the mean accuracy passes the target from lengths close to it: by the line, where there is one."""
    crossing = find_crossing(points, target, resamples=1).epochs
    return bracket(points, target) if crossing is None else crossing


def find_crossing(
    points: Points, target: float, seeds: Seeds | None = None, draw: int = 0, resamples: int = RESAMPLES
) -> Crossing:
    """Fit accuracies near the target by a line in log(epochs), and find where it passes the target.

    Args:
        points: accuracies by length.
        target: in percent.
        seeds: of the same networks. Those of one seed are resampled together. None: all are independent.
        draw: number of the bootstrap's random draws. Two methods of the same rounds have the same seeds resampled, so
            that a ratio of the two is of common ones.
        resamples: how many.

    Raises ValueError for fewer than two lengths, or not more networks than lengths.
    """
    if len(points) < 2:
        raise ValueError(f"need accuracies at 2 lengths of training or more, not {len(points)}")
    if sum(map(len, points.values())) <= len(points):
        raise ValueError("need two networks or more at some length of training: one has no spread")
    lengths = np.array(sorted(points))
    groups = [np.asarray(points[e], np.float64) for e in lengths]
    weights = np.array([len(group) for group in groups], np.float64)
    means = np.array([group.mean() for group in groups])
    moved = _resample(groups, None if seeds is None else [seeds[e] for e in lengths], draw, resamples)
    found = _solve(np.log(lengths), means[None], weights, target)[0]
    resampled = _solve(np.log(lengths), means + moved, weights, target)
    return Crossing(None if math.isnan(found) else float(found), resampled, int(weights.sum()))


def _resample(
    groups: Sequence[Float[np.ndarray, " _"]], seeds: Sequence[Int[np.ndarray, " _"]] | None, draw: int, resamples: int
) -> Float[np.ndarray, "{resamples} t"]:
    # How far the means of the lengths move in a bootstrap of the seeds.
    generator, moved = np.random.default_rng(draw), np.zeros((resamples, len(groups)))
    kinds = _kinds(groups, seeds)
    for count in sorted({len(places) for places in kinds}):
        # Seeds at equally many lengths are drawn from together; distances from the means of a few are too small.
        mine = {places: values for places, values in kinds.items() if len(places) == count}
        distances = np.concatenate([values - values.mean(0) for values in mine.values()])
        distances *= math.sqrt(len(distances) / max(1, len(distances) - len(mine)))
        for places, values in mine.items():
            chosen = generator.integers(len(distances), size=(resamples, len(values)))
            shares = [len(values) / len(groups[place]) for place in places]
            moved[:, places] += distances[chosen].mean(1) * shares
    return moved


def _kinds(
    groups: Sequence[Float[np.ndarray, " _"]], seeds: Sequence[Int[np.ndarray, " _"]] | None
) -> dict[tuple[int, ...], Float[np.ndarray, "s _"]]:
    # The accuracies [s,t] of seeds that have networks at the same t lengths, by the places of these; seeds ascend.
    if seeds is None:  # each network its own
        return {(place,): np.asarray(group)[:, None] for place, group in enumerate(groups)}
    networks: dict[int, dict[int, float]] = {}
    for place, (group, own) in enumerate(zip(groups, seeds, strict=True)):
        for value, seed in zip(group, own, strict=True):
            networks.setdefault(int(seed), {})[place] = float(value)
    kinds: dict[tuple[int, ...], list[list[float]]] = {}
    for seed in sorted(networks):
        places = tuple(sorted(networks[seed]))
        kinds.setdefault(places, []).append([networks[seed][place] for place in places])
    return {places: np.array(values) for places, values in kinds.items()}


def isotonic(values: Sequence[float], weights: Sequence[float]) -> Float[np.ndarray, " _"]:
    """Return the closest values, by weighted least squares, that never fall."""
    from scipy.optimize import isotonic_regression

    return np.asarray(isotonic_regression(np.asarray(values), weights=np.asarray(weights, np.float64)).x)


def _solve(
    x: Float[np.ndarray, " t"], means: Float[np.ndarray, "r t"], weights: Float[np.ndarray, " t"], target: float
) -> Float[np.ndarray, " r"]:
    # Epochs where the weighted line through the means passes the target; NaN where it does not rise.
    centre = np.average(x, weights=weights)
    level = (means * weights).sum(1) / weights.sum()
    slope = (means * weights * (x - centre)).sum(1) / (weights * (x - centre) ** 2).sum()
    # A line that hardly rises passes the target at lengths that nothing was trained for.
    passed = np.where(slope > 0, centre + (target - level) / np.where(slope > 0, slope, 1.0), np.nan)
    far = np.log(LOOK)
    inside = (passed > x.min() - far) & (passed < x.max() + far)
    return np.where(inside, np.exp(np.where(inside, passed, 0.0)), np.nan)
