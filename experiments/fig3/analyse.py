"""Train networks of three sizes for several lengths: error against epochs and against operations, Figure 3."""

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float

from airjax.stats.intervals import mean_interval
from experiments.cells import Cells, read_cells
from experiments.experiment import Analysis, Context, Experiment, Resolution, part, plan_parts
from experiments.known import pilot_sd
from experiments.rows import Row, difference_row, value_row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Of each size the recipe's own epochs, the published accuracy in percent, and the networks that this is of.
PAPER = {"94": (9.9, 94.01, 1000), "95": (15.0, 95.01, 200), "96": (40.0, 96.05, 200)}
RUNS = 12  # networks of each cell at CPU scale
PARTS = ("small", "medium", "large")  # in the order of PAPER


class Curve(NamedTuple):
    """One size of network, by length of training."""

    name: str
    lengths: list[float]  # epochs, ascending
    flops: list[float]  # of a training
    accuracies: list[Float[np.ndarray, " _"]]  # in percent


def read_curve(cells: Cells, name: str) -> Curve:
    """Sort one part's networks by their length of training."""
    mine = sorted((cell for cell in cells.cells if cell.folder.name == name), key=lambda cell: cell.fields["epochs"])
    lengths = [float(cell.fields["epochs"]) for cell in mine]
    return Curve(name, lengths, [cell.recipe.flops for cell in mine], [cell.accuracies for cell in mine])


def analyse(context: Context) -> Analysis:
    """Compare the sizes with each other, and the shortest training of each with the longest."""
    cells = read_cells(context.folders, mixed=context.mixed)
    curves = [read_curve(cells, name) for name in PARTS]
    rows = _direction_rows(curves) if context.scale == "cpu" else _value_rows(curves, context.scale)
    series = [
        {
            "name": curve.name,
            "epochs": curve.lengths,
            "flops": curve.flops,
            "error": [float(100 - values.mean()) for values in curve.accuracies],
            "interval": [mean_interval(100 - values, whole=100.0) for values in curve.accuracies],
        }
        for curve in curves
    ]
    return Analysis(rows, {"curves": series}, cells.networks, cells.diverged, cells.content)


def _value_rows(curves: list[Curve], scale: str) -> list[Row]:
    rows = []
    for curve, (recipe, (epochs, accuracy, networks)) in zip(curves, PAPER.items(), strict=True):
        ours = curve.accuracies[curve.lengths.index(epochs)]
        rows.append(value_row(f"{recipe}, {epochs:g} epochs", ours, accuracy, scale, paper_n=networks))
    return rows


def _direction_rows(curves: list[Curve]) -> list[Row]:
    # The paper's are of its own lengths, and only their signs are compared.
    rows = []
    for curve in curves:
        for number in range(1, len(curve.lengths)):
            cell = f"{curve.name}: {curve.lengths[number]:g} epochs minus {curve.lengths[number - 1]:g}"
            rows.append(difference_row(cell, curve.accuracies[number - 1], curve.accuracies[number], None, "cpu"))
    for first, second in itertools.pairwise(curves):
        cell = f"{second.name} minus {first.name}, {first.lengths[-1]:g} epochs"
        rows.append(difference_row(cell, first.accuracies[-1], second.accuracies[-1], None, "cpu"))
    return [row._replace(note="the paper's sign: above 0") for row in rows]


def draw(record: dict[str, Any]) -> "Figure":
    """Draw the errors against epochs and against operations, in logarithms."""
    from airjax.report.drawing import COLORS, make_grid

    figure, grid = make_grid(7.4, 3.0, 1, 2)
    for axes, scale, label in zip(grid[0], ("epochs", "flops"), ("epochs", "FLOPs of a training"), strict=True):
        for curve, color in zip(record["series"]["curves"], COLORS, strict=False):
            error = np.array(curve["error"])
            axes.plot(curve[scale], error, "o-", color=color, markersize=4, label=curve["name"])
            low, high = np.array(curve["interval"]).T
            axes.vlines(curve[scale], low, high, color=color, linewidth=1)
        axes.set_xscale("log")
        axes.set_xlabel(label)
    ticks = record["series"]["curves"][0]["epochs"]
    grid[0, 0].set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    grid[0, 0].minorticks_off()
    grid[0, 0].set_ylabel("test error, %")
    grid[0, 0].legend()
    return figure


def plan_resolutions() -> tuple[Resolution, ...]:
    """Say which differences the plans of the CPU scale are made to find."""
    return (
        Resolution("4 and 8 epochs of one size", 3.0, pilot_sd(4.0), RUNS),
        Resolution("16 and 32 epochs of one size, or two sizes after 32", 1.7, pilot_sd(32.0), RUNS),
    )


FIG3 = Experiment(
    "fig3",
    "Figure 3, error against epochs and operations",
    "Networks of all three sizes err less the longer they train, and at its own length each larger one errs less than "
    "the smaller: 94.01, 95.01 and 96.05% after 9.9, 15 and 40 epochs.",
    plan_parts(
        "fig3",
        tuple(part(f"cpu-{name}.toml") for name in PARTS),
        tuple(part(f"paper-{name}.toml") for name in PARTS),
    ),
    analyse,
    draw,
    resolutions=plan_resolutions,
)
