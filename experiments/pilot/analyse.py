"""Measure how accurate mini is after several lengths of training, and how much its networks differ: a pilot."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from airjax.stats.intervals import chi_squared_factors
from experiments.cells import Cells, read_cells
from experiments.experiment import Analysis, Context, Experiment, part, plan_parts
from experiments.rows import Row, value_row
from experiments.verdict import NOT_COMPARABLE, Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def analyse(context: Context) -> Analysis:
    """Pool the ways to flip at each length: their means may differ, and their spread is taken to be the same."""
    cells = read_cells(context.folders, mixed=context.mixed)
    found = cells.by_epochs()
    rows, series = [], {"epochs": list(found), "sd": [], "accuracy": [], "fitted": []}
    for epochs, accuracies in found.items():
        mine = cells.having(epochs=epochs)
        sd, interval = pooled_sd([cell.accuracies for cell in mine])
        series["sd"].append(sd)
        series["accuracy"].append(float(accuracies.mean()))
        series["fitted"].append(_fitted(cells, epochs))
        rows.append(value_row(f"accuracy after {epochs:g} epochs", accuracies, None, context.scale))
        fitted = f"training accuracy in the last of {epochs:g} epochs, as augmented"
        rows.append(Row(fitted, series["fitted"][-1], None, len(accuracies), None, NOT_COMPARABLE))
        cell = f"standard deviation after {epochs:g} epochs"
        rows.append(Row(cell, sd, interval, len(accuracies), None, NOT_COMPARABLE, "points"))
    return Analysis(rows, series, cells.networks, cells.diverged, cells.content)


def pooled_sd(groups: list[Float[np.ndarray, " _"]]) -> tuple[float, Interval]:
    """Estimate the standard deviation that groups share, whose means differ, and its 95% interval by chi-squared."""
    freedom = sum(len(group) - 1 for group in groups)
    total = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
    variance = total / freedom
    low, high = (math.sqrt(variance * factor) for factor in chi_squared_factors(freedom))
    return math.sqrt(variance), (low, high)


def _fitted(cells: Cells, epochs: float) -> float:
    # Training accuracy in the last epoch, on images as augmented, in percent.
    curves = [cell.results.array("curves")[:, :, 1] for cell in cells.having(epochs=epochs)]
    return 100 * float(np.nanmean(np.concatenate(curves)[:, int(epochs) - 1]))


def draw(record: dict[str, Any]) -> "Figure":
    """Draw test and training accuracy against the length of training."""
    from airjax.report.drawing import COLORS, make_axes

    series = record["series"]
    figure, axes = make_axes(4.6, 2.8)
    for name, label, color in (("accuracy", "test images", COLORS[0]), ("fitted", "training images", COLORS[1])):
        axes.plot(series["epochs"], series[name], "o-", color=color, label=label)
    axes.set_xscale("log")
    axes.set_xticks(series["epochs"], [f"{epochs:g}" for epochs in series["epochs"]])
    axes.minorticks_off()
    axes.set_xlabel("epochs")
    axes.set_ylabel("accuracy, %")
    axes.legend()
    return figure


PILOT = Experiment(
    "pilot",
    "Pilot: mini at five lengths of training",
    "Not of the paper: what the plans of the CPU scale assume. Their networks are others.",
    plan_parts("pilot", (part("cpu-lengths.toml"),), ()),
    analyse,
    draw,
    scales=("cpu",),
)
