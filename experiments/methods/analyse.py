"""Measure how many steps and operations every method takes to a fixed accuracy, at mini scale."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from airjax.recipes.published import get_recipe
from airjax.recipes.recipe import Recipe
from experiments.cells import Cells, read_cells
from experiments.experiment import Analysis, Context, Experiment, Part, Resolution, Scale
from experiments.known import pilot_sd
from experiments.methods.methods import FAMILIES, METHODS, Method, base_of
from experiments.rounds import follow_rounds
from experiments.rows import Row, effect_row, percentiles
from experiments.search import (
    Crossing,
    Points,
    Round,
    Search,
    Seeds,
    bracket,
    estimate_close,
    find_crossing,
    next_lengths,
)
from experiments.verdict import NOT_COMPARABLE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEARCH = Search(50.0, (1.5, 3.0, 6.0, 12.0), 2, (Round((0.85, 1.0, 1.2), 4), Round((0.92, 1.0, 1.08), 10)))
FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the recipe's learning rate, which is of another size of network
MARGIN = 3.0  # percent of the operations
COARSE = "round-0"
STEPS = (100, 200, 400, 800)  # that the figure marks


class Chosen(NamedTuple):
    """What is known of a method before a round."""

    learning_rate: float
    epochs: float  # to the target, as estimated


def parts(scale: Scale, out: Path) -> Iterator[Part]:
    """Yield the rounds of the search, a part for each recipe: each round follows from the results of those before it.

    The first one also chooses each method's learning rate, because the recipes' are for larger networks.
    """
    del scale

    def follow(number: int, one: Round, cells: Cells) -> list[Part]:
        lengths: dict[Method, list[tuple[float, float]]] = {}
        for method in METHODS:
            rate, epochs = choose(cells, method)
            lengths[method] = [(rate, length) for length in next_lengths(epochs, one.factors)]
        return _round(out, number, lengths, one.networks)

    coarse = {
        method: [(rate, epochs) for rate in learning_rates(method) for epochs in SEARCH.coarse] for method in METHODS
    }
    yield from follow_rounds(SEARCH, out, _round(out, 0, coarse, SEARCH.coarse_networks), follow)


def learning_rates(method: Method) -> list[float]:
    """Return the rates that are tried, ascending."""
    return [round(factor * recipe_of(method, 1.0).value_of("learning_rate"), 6) for factor in FACTORS]


def recipe_of(method: Method, epochs: float) -> Recipe:
    """Return a method's recipe for a training of this length."""
    family = FAMILIES[method.family]
    return get_recipe(family.recipe).override(**family.changes, **method.changes(epochs))


def choose(cells: Cells, method: Method) -> Chosen:
    """Choose the learning rate that takes the fewest epochs to the target, and estimate these.

    Of rates that are as good by that (past the target at the shortest length, or at none) it is the most accurate at
    the end that tells. After the first round there is one rate, and its lengths are close to the target.
    """
    rates = rates_in(cells, method)
    if len(rates) == 1:
        return Chosen(rates[0], estimate_close(points_of(cells, method, rates[0]), SEARCH.target))

    def by_epochs(chosen: Chosen) -> tuple[float, float]:
        points = points_of(cells, method, chosen.learning_rate)
        telling = min(points) if chosen.epochs <= min(points) else max(points)
        return chosen.epochs, -float(points[telling].mean())

    return min((Chosen(rate, bracket(points_of(cells, method, rate), SEARCH.target)) for rate in rates), key=by_epochs)


def rates_in(cells: Cells, method: Method) -> list[float]:
    """Return the learning rates of a method's networks, ascending."""
    return sorted({cell.fields["learning_rate"] for cell in _cells_of(cells, method).cells})


def points_of(cells: Cells, method: Method, learning_rate: float) -> Points:
    """Return a method's accuracies at a learning rate by its lengths of training, in epochs."""
    return _cells_of(cells, method).by_epochs(learning_rate=learning_rate)


def _cells_of(cells: Cells, method: Method) -> Cells:
    mine = Cells(tuple(cell for cell in cells.cells if cell.folder.name.endswith(f"-{method.family}")))
    return Cells(mine.having(**method.told_by()))


def analyse(context: Context) -> Analysis:
    """Estimate each method's steps and operations to the target, from the rounds after the first."""
    every = read_cells(context.folders, mixed=context.mixed)
    first, close = (
        Cells(tuple(cell for cell in every.cells if cell.folder.name.startswith(COARSE) == coarse))
        for coarse in (True, False)
    )
    found = {
        method: find_crossing(_points_close(close, method), SEARCH.target, _seeds_close(close, method))
        for method in METHODS
    }
    rows = [_rate_row(close, method, found[method].networks) for method in METHODS]
    rows += [row for method in METHODS for row in _cost_rows(method, found[method])]
    bases = {method: base_of(method) for method in METHODS}
    rows += [_saved_row(method, base, found) for method, base in bases.items() if base is not None]
    series = [_series_of(first, close, method, found[method]) for method in METHODS]
    data = {"target": SEARCH.target, "methods": series}
    return Analysis(rows, data, every.networks, every.diverged, every.content)


def _points_close(close: Cells, method: Method) -> Points:
    (rate,) = rates_in(close, method)  # the one that the first round chose
    return points_of(close, method, rate)


def _seeds_close(close: Cells, method: Method) -> Seeds:
    (rate,) = rates_in(close, method)
    return _cells_of(close, method).seeds_by_epochs(learning_rate=rate)


def _rate_row(close: Cells, method: Method, networks: int) -> Row:
    # As a multiple of the recipe's own: at an end of those tried, the best may lie beyond.
    (rate,) = rates_in(close, method)
    factor = FACTORS[learning_rates(method).index(rate)]
    note = "" if min(FACTORS) < factor < max(FACTORS) else "an end of those tried"
    cell = f"best learning rate, {method.name}"
    return Row(cell, factor, None, networks, None, NOT_COMPARABLE, "of the recipe's", 2, note=note)


def _cost_rows(method: Method, crossing: Crossing) -> Iterator[Row]:
    low_high = percentiles(crossing.resampled)
    for what, cost, unit, decimals in (("steps", _steps, "steps", 0), ("operations", _gigaflops, "GFLOP", 0)):
        ours = None if crossing.epochs is None else cost(method, crossing.epochs)
        interval = None if low_high is None else (cost(method, low_high[0]), cost(method, low_high[1]))
        cell = f"{what} to {SEARCH.target:g}%, {method.name}"
        yield Row(cell, ours, interval, crossing.networks, None, NOT_COMPARABLE, unit, decimals)


def _steps(method: Method, epochs: float) -> float:
    return epochs * recipe_of(method, 1.0).steps_per_epoch


def _gigaflops(method: Method, epochs: float) -> float:
    # Proportional to the length: of a curriculum every size has its third of it.
    return recipe_of(method, 30.0).training_flops / 30.0 * epochs / 1e9


def _saved_row(method: Method, base: Method, found: dict[Method, Crossing]) -> Row:
    cost, of_base = (_gigaflops(one, 1.0) for one in (method, base))
    after, before = found[method], found[base]
    resampled = 100 * (1 - cost * after.resampled / (of_base * before.resampled))
    ours = np.nan
    if after.epochs is not None and before.epochs is not None:
        ours = 100 * (1 - cost * after.epochs / (of_base * before.epochs))
    cell, n = f"operations saved by {method.name} over {base.name}", min(after.networks, before.networks)
    return effect_row(cell, ours, resampled, n, None, "cpu", MARGIN, "%", 1)


def _series_of(first: Cells, close: Cells, method: Method, crossing: Crossing) -> dict[str, Any]:
    (rate,) = rates_in(close, method)
    curve = points_of(first, method, rate)
    return {
        "name": method.name,
        "family": method.family,
        "learning_rate": rate,
        "steps": [_steps(method, epochs) for epochs in curve],
        "gigaflops": [_gigaflops(method, epochs) for epochs in curve],
        "accuracy": [float(values.mean()) for values in curve.values()],
        "epochs": crossing.epochs,
        "interval": percentiles(crossing.resampled),
        "steps_to_target": None if crossing.epochs is None else _steps(method, crossing.epochs),
        "gigaflops_to_target": None if crossing.epochs is None else _gigaflops(method, crossing.epochs),
    }


def _round(out: Path, number: int, lengths: dict[Method, list[tuple[float, float]]], networks: int) -> list[Part]:
    found = []
    seeds = list(range(1000 * number, 1000 * number + networks))  # no network is in two rounds
    for name, family in FAMILIES.items():
        cases = [
            method.changes(epochs) | {"learning_rate": rate}
            for method, several in lengths.items()
            for rate, epochs in several
            if method.family == name
        ]
        content = {"recipe": family.recipe, "data": "cifar10", "seeds": seeds, "cases": cases}
        content |= {"set": family.changes} if family.changes else {}
        part = f"round-{number}-{name}"
        found.append(Part(part, out / f"{part}.toml", content=content))
    return found


def draw(record: dict[str, Any]) -> "Figure":
    """Draw accuracy against steps, and the steps and operations to the target with their intervals."""
    from airjax.report.drawing import COLORS, GREY, make_grid

    methods, target = record["series"]["methods"], record["series"]["target"]
    families = list(dict.fromkeys(one["family"] for one in methods))
    figure, grid = make_grid(11.0, 4.2, 1, 3)
    curves, steps, operations = grid[0]
    curves.get_gridspec().set_width_ratios((1.5, 1.0, 1.0))
    for one in methods:
        if one["name"] != one["family"]:
            continue
        color = COLORS[families.index(one["family"])]
        curves.plot(one["steps"], one["accuracy"], "o-", color=color, markersize=4, label=one["name"])
    curves.axhline(target, color=GREY, linewidth=0.7)
    curves.set_xscale("log")
    curves.set_xticks(STEPS, [str(count) for count in STEPS])
    curves.minorticks_off()
    curves.set_xlabel("steps")
    curves.set_ylabel("test accuracy, %")
    curves.legend(fontsize=8, loc="lower right")
    for axes, cost, label in ((steps, "steps_to_target", "steps"), (operations, "gigaflops_to_target", "GFLOP")):
        for place, one in enumerate(methods):
            if one[cost] is None:
                continue
            color = COLORS[families.index(one["family"])]
            axes.plot(one[cost], place, "o", color=color, markersize=4)
            if one["interval"] is not None:
                ends = np.array(one["interval"]) * one[cost] / one["epochs"]
                axes.plot(ends, [place, place], color=color, linewidth=1)
        axes.set_yticks(range(len(methods)), [one["name"] for one in methods] if axes is steps else [])
        axes.set_ylim(len(methods) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.set_xlabel(f"{label} to {target:g}%")
    return figure


CLOSE = sum(one.networks * len(one.factors) for one in SEARCH.rounds)  # networks of a method near the target


def plan_resolutions() -> tuple[Resolution, ...]:
    """Say which differences the plans are made to find."""
    return (Resolution("mean accuracies of two methods near the target: 6% of the epochs", 1.2, pilot_sd(8.0), CLOSE),)


METHODS_EXPERIMENT = Experiment(
    "methods",
    "Steps and operations to a fixed accuracy, of every method",
    "Muon takes fewer steps than SGD, smaller images at first take fewer operations, and what each ingredient saves "
    "says which belong into a recipe of our own. The paper has no numbers for these.",
    parts,
    analyse,
    draw,
    scales=("cpu",),
    resolutions=plan_resolutions,
)
