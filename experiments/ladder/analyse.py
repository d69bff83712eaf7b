"""Measure what each feature saves, in epochs to a target accuracy: the ladder of sections 3.1 to 3.6, and Figure 4."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from experiments.cells import Cells, read_cells
from experiments.experiment import Analysis, Context, Experiment, Part, Resolution, Scale
from experiments.known import pilot_sd
from experiments.ladder.features import (
    ADDED,
    ALL,
    FEATURES,
    LADDER,
    REMOVED,
    WHITENED,
    Method,
    changes_of,
    fields_of,
    methods,
    rung,
)
from experiments.rounds import follow_rounds
from experiments.rows import Row, effect_row, percentiles, value_verdict
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

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RECIPES: dict[Scale, str] = {"cpu": "mini", "paper": "94"}
SEARCHES: dict[Scale, Search] = {
    "cpu": Search(50.0, (3.0, 6.0, 12.0, 24.0), 2, (Round((0.85, 1.0, 1.2), 4), Round((0.92, 1.0, 1.08), 10))),
    "paper": Search(94.0, (8.0, 16.0, 32.0, 64.0), 2, (Round((0.9, 1.0, 1.1), 10), Round((0.95, 1.0, 1.05), 40))),
}
EPOCHS_MARGIN = 0.03  # of the paper's epochs: what counts as the same number
SAVED_MARGIN = 3.0  # percent of the epochs
COARSE = "round-0"


def parts(scale: Scale, out: Path) -> Iterator[Part]:
    """Yield the rounds of the search: each follows from the results of those before it, which have to be complete."""
    search = SEARCHES[scale]

    def follow(number: int, one: Round, cells: Cells) -> list[Part]:
        estimate = bracket if number == 1 else estimate_close
        found = {method: estimate(points_of(cells, method), search.target) for method in methods()}
        lengths = {method: next_lengths(epochs, one.factors) for method, epochs in found.items()}
        return [_round(scale, out, number, lengths, one.networks)]

    coarse = dict.fromkeys(methods(), search.coarse)
    yield from follow_rounds(search, out, [_round(scale, out, 0, coarse, search.coarse_networks)], follow)


def points_of(cells: Cells, method: Method) -> Points:
    """Return a method's accuracies by its lengths of training, in epochs."""
    return cells.by_epochs(**fields_of(method))


def seeds_of(cells: Cells, method: Method) -> Seeds:
    """Return the seeds of a method's networks, in the same order."""
    return cells.seeds_by_epochs(**fields_of(method))


def analyse(context: Context) -> Analysis:
    """Estimate each method's epochs to the target from the rounds after the first, and what each feature saves."""
    scale, search = context.scale, SEARCHES[context.scale]
    every = read_cells(context.folders, mixed=context.mixed)
    close = Cells(tuple(cell for cell in every.cells if cell.folder.name != COARSE))
    found = {
        method: find_crossing(points_of(close, method), search.target, seeds_of(close, method)) for method in methods()
    }
    rows = [_saved_row(name, found, with_it, without, paper, scale) for name, with_it, without, paper in _comparisons()]
    rows += [_epochs_row(name, found[method], paper, scale) for name, method, paper in _methods_by_name()]
    series = {
        name: {"epochs": found[method].epochs, "interval": percentiles(found[method].resampled), "paper": paper}
        for name, method, paper in _methods_by_name()
    }
    data = {"target": search.target, "epochs": series}
    return Analysis(rows, data, every.networks, every.diverged, every.content)


def _round(scale: Scale, out: Path, number: int, lengths: dict[Method, tuple[float, ...]], networks: int) -> Part:
    cases = [changes_of(method) | {"epochs": epochs} for method, several in lengths.items() for epochs in several]
    seeds = list(range(1000 * number, 1000 * number + networks))  # no network is in two rounds
    content = {"recipe": RECIPES[scale], "data": "cifar10", "seeds": seeds, "cases": cases}
    return Part(f"round-{number}", out / f"round-{number}.toml", content=content)


def _methods_by_name() -> list[tuple[str, Method, float]]:
    steps = [
        (f"ladder, {'+ ' if step else ''}{name}", rung(step), paper)
        for step, (name, paper) in enumerate(LADDER.items())
    ]
    removed = [(f"all but {name}", ALL - {name}, paper) for name, paper in REMOVED.items()]
    return [
        *steps,
        *removed,
        *((f"whitened baseline + {name}", WHITENED | {name}, paper) for name, paper in ADDED.items()),
    ]


def _comparisons() -> Iterator[tuple[str, Method, Method, float]]:
    # What is compared, with and without the feature, and the percentage of epochs that the paper says it saves.
    reported = list(LADDER.values())
    for step, feature in enumerate(FEATURES, start=1):
        saved = 100 * (1 - reported[step] / reported[step - 1])
        yield f"{feature}, added in the ladder", rung(step), rung(step - 1), saved
    for feature, epochs in REMOVED.items():
        yield f"{feature}, in the whole method", ALL, ALL - {feature}, 100 * (1 - reported[-1] / epochs)
    for feature, epochs in ADDED.items():
        saved = 100 * (1 - epochs / LADDER["whitening"])
        yield f"{feature}, to the whitened baseline", WHITENED | {feature}, WHITENED, saved


def _saved_row(
    name: str, found: dict[Method, Crossing], with_it: Method, without: Method, paper: float, scale: Scale
) -> Row:
    after, before = found[with_it], found[without]
    resampled = _saved(after.resampled, before.resampled)
    ours = np.nan if after.epochs is None or before.epochs is None else float(_saved(after.epochs, before.epochs))
    cell, n = f"epochs saved by {name}", min(after.networks, before.networks)
    return effect_row(cell, ours, resampled, n, paper, scale, SAVED_MARGIN, "%", 1)


def _saved(after: Any, before: Any) -> Float[np.ndarray, "..."]:
    return 100 * (1 - np.asarray(after) / np.asarray(before))


def _epochs_row(name: str, crossing: Crossing, paper: float, scale: Scale) -> Row:
    interval = percentiles(crossing.resampled)
    verdict = value_verdict(interval, paper, EPOCHS_MARGIN * paper, scale)
    return Row(f"epochs, {name}", crossing.epochs, interval, crossing.networks, paper, verdict, "epochs")


def draw(record: dict[str, Any]) -> "Figure":
    """Draw the epochs to the target of every method beside the paper's, relative to the whole method."""
    from airjax.report.drawing import COLORS, GREY, make_grid

    figure, grid = make_grid(9.4, 3.9, 1, 2)
    epochs = record["series"]["epochs"]
    shown = [name for name in epochs if name.startswith("ladder")], [name for name in epochs if "ladder" not in name]
    whole = epochs[shown[0][-1]]
    for axes, names in zip(grid[0], shown, strict=True):
        for number, name in enumerate(names):
            one = epochs[name]
            axes.plot(one["paper"] / whole["paper"], number, "|", color=GREY, markersize=12, markeredgewidth=2)
            if one["epochs"] is None or whole["epochs"] is None:
                continue
            axes.plot(one["epochs"] / whole["epochs"], number, "o", color=COLORS[0], markersize=4)
            if one["interval"] is not None:
                axes.plot(np.array(one["interval"]) / whole["epochs"], [number] * 2, color=COLORS[0], linewidth=1)
        axes.set_yticks(range(len(names)), [name.removeprefix("ladder, ") for name in names])
        axes.invert_yaxis()
        axes.set_xlabel("epochs, over the whole method's")
    grid[0, 0].set_title("one after another")
    grid[0, 1].set_title("one removed or added")
    figure.supxlabel("point: ours, with its interval; bar: the paper's", fontsize=8)
    return figure


CLOSE = sum(one.networks * len(one.factors) for one in SEARCHES["cpu"].rounds)  # networks near each target


def plan_resolutions() -> tuple[Resolution, ...]:
    """Say which differences the plans of the CPU scale are made to find."""
    return (Resolution("mean accuracies of two methods near the target: 6% of the epochs", 1.2, pilot_sd(8.0), CLOSE),)


LADDER_EXPERIMENT = Experiment(
    "ladder",
    "The ladder (sections 3.1 to 3.6) and Figure 4",
    "Whitening, dirac initialisation, scaled biases, lookahead, multi-crop evaluation and alternating flip take the "
    "epochs to 94% from 45 to 9.9; each also saves epochs by itself, removed from the whole method or added to the "
    "whitened baseline.",
    parts,
    analyse,
    draw,
    resolutions=plan_resolutions,
)
