"""Compare the settings of a sweep: differences of their mean accuracies, and the epochs that one saves."""

import itertools
import json
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from airjax.stats.equivalence import MeanDifference, holm, mean_difference
from airjax.stats.intervals import sample_sd
from airjax.stats.power import runs_to_resolve
from airjax.stats.speedup import effective_speedup, fit_errors

ALL_PAIRS = 4  # settings up to which every one is compared with every other
NO_DIFFERENCE = 1e-9  # percentage points: what rounding makes of equal means


class Contrast(NamedTuple):
    """Two settings, by their indices: the second minus the first."""

    first: int
    second: int
    welch: MeanDifference  # in percentage points
    p: float  # Welch's, adjusted for being one of many (Holm)
    runs_needed: int | None  # of each, to find a true difference of that size with 90%; None where there is none
    runs_missing: int | None  # of each


class Speedup(NamedTuple):
    """What alternating flip saves at one length of training."""

    epochs: float
    random_error: float  # test error, %
    alternating_error: float
    speedup: float  # 0.27: random flip would have to train 27% longer


def compare_settings(accuracies: Sequence[Float[np.ndarray, " _"]], tests: Sequence[Hashable]) -> list[Contrast]:
    """Compare settings that share a test set by Welch's tests: all pairs of up to four, else each with the first.

    Args:
        accuracies: of each setting, one for each run, in percent. A setting with fewer than two networks is compared
            with none.
        tests: for each setting, what names its test set.
    """
    found = []
    for test in dict.fromkeys(tests):
        indices = [i for i, values in enumerate(accuracies) if tests[i] == test and len(values) > 1]
        pairs = list(itertools.combinations(indices, 2))
        if len(indices) > ALL_PAIRS:
            pairs = [pair for pair in pairs if pair[0] == indices[0]]
        found += [(i, j, mean_difference(accuracies[i], accuracies[j], whole=100.0)) for i, j in pairs]
    adjusted = holm({f"{i} {j}": welch.p for i, j, welch in found})
    return [
        Contrast(i, j, welch, adjusted[f"{i} {j}"], *_runs(accuracies[i], accuracies[j], welch.difference))
        for i, j, welch in found
    ]


def find_speedups(recipes: Sequence[dict[str, Any]], errors: Sequence[float]) -> list[list[Speedup]]:
    """Find the effective speedup of alternating over random flip, for settings that differ in epochs and flip alone.

    Args:
        recipes: for each setting the fields of its recipe, and whatever else tells settings apart.
        errors: for each setting its mean test error, %.

    Returns a list for each group of such settings; a group to which no error curve can be fitted is left out.
    """
    groups: dict[str, dict[str, dict[float, float]]] = {}
    for recipe, error in zip(recipes, errors, strict=True):
        rest = {name: value for name, value in recipe.items() if name not in {"epochs", "flip"}}
        group = groups.setdefault(json.dumps(rest, sort_keys=True), {})
        group.setdefault(recipe["flip"], {})[recipe["epochs"]] = error
    found = []
    for group in groups.values():
        random, alternating = group.get("random", {}), group.get("alternating", {})
        shared = sorted(set(random) & set(alternating))
        try:
            curve = fit_errors(np.array(list(random)), np.array(list(random.values())))
        except (ValueError, RuntimeError):  # too few, not falling, or no fit found
            continue
        steps = [Speedup(e, random[e], alternating[e], effective_speedup(curve, e, alternating[e])) for e in shared]
        found += [steps] if steps else []
    return found


def _runs(a: np.ndarray, b: np.ndarray, difference: float) -> tuple[int | None, int | None]:
    if abs(difference) < NO_DIFFERENCE:
        return None, None
    needed = runs_to_resolve(difference, sample_sd(a), sample_sd(b))
    return needed, max(0, needed - min(len(a), len(b)))
