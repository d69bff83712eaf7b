"""Compare sampling with replacement and reshuffling, random and alternating flip: Table 1."""

from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.cells import read_cells
from experiments.experiment import Analysis, Context, Experiment, Resolution, part, plan_parts
from experiments.known import pilot_sd
from experiments.rows import Row, difference_row, value_row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDERS = {"replacement": "with replacement", "reshuffle": "reshuffled"}
FLIPS = ("random", "alternating")
PAPER = {
    ("replacement", "random"): 93.40,
    ("replacement", "alternating"): 93.48,
    ("reshuffle", "random"): 93.92,
    ("reshuffle", "alternating"): 94.01,
}
RUNS = 150  # networks of each cell at CPU scale


def analyse(context: Context) -> Analysis:
    """Estimate the four cells, and the effect of each factor over both values of the other."""
    cells, scale = read_cells(context.folders, mixed=context.mixed), context.scale
    found = {(order, flip): cells.accuracies(order=order, flip=flip) for order, flip in PAPER}
    rows = [value_row(f"{ORDERS[cell[0]]}, {cell[1]} flip", found[cell], PAPER[cell], scale) for cell in PAPER]
    rows += [
        _effect("reshuffling, over both flips", found, 0, scale),
        _effect("alternating flip, over both orders", found, 1, scale),
    ]
    rows.append(
        difference_row(
            "alternating flip, reshuffled",
            found["reshuffle", "random"],
            found["reshuffle", "alternating"],
            PAPER["reshuffle", "alternating"] - PAPER["reshuffle", "random"],
            scale,
        )
    )
    return Analysis(rows, {}, cells.networks, cells.diverged, cells.content)


def _effect(cell: str, found: dict[tuple[str, str], np.ndarray], factor: int, scale: str) -> Row:
    # A network's distance from the mean of its pair of cells keeps the other factor out of the spread.
    values, other = (tuple(ORDERS), FLIPS) if factor == 0 else (FLIPS, tuple(ORDERS))
    sides: tuple[list[np.ndarray], list[np.ndarray]] = [], []
    for level in other:
        pair = [found[(value, level) if factor == 0 else (level, value)] for value in values]
        centre = (pair[0].mean() + pair[1].mean()) / 2
        for side, accuracies in zip(sides, pair, strict=True):
            side.append(accuracies - centre)
    paper = [np.mean([PAPER[key] for key in PAPER if key[factor] == value]) for value in values]
    first, second = (np.concatenate(side) for side in sides)
    return difference_row(cell, first, second, float(paper[1] - paper[0]), scale)


def draw(record: dict[str, Any]) -> "Figure":
    """Draw the four means with their intervals."""
    from airjax.report.drawing import COLORS, make_axes

    figure, axes = make_axes(5.0, 2.6)
    rows = record["rows"][: len(PAPER)]
    for number, flip in enumerate(FLIPS):
        mine = [row for row, key in zip(rows, PAPER, strict=True) if key[1] == flip]
        means = np.array([row["ours"] for row in mine])
        reach = np.array([[m - row["interval"][0], row["interval"][1] - m] for m, row in zip(means, mine, strict=True)])
        places = np.arange(len(mine)) + 0.08 * (number - 0.5)
        axes.errorbar(places, means, reach.T, fmt="o", color=COLORS[number], capsize=3, label=f"{flip} flip")
    axes.set_xticks(range(len(ORDERS)), list(ORDERS.values()))
    axes.set_xlim(-0.5, len(ORDERS) - 0.5)
    axes.set_ylabel("test accuracy, %")
    axes.legend()
    return figure


def plan_resolutions() -> tuple[Resolution, ...]:
    """Say which differences the plans of the CPU scale are made to find."""
    return (
        Resolution("two cells", 0.6, pilot_sd(8.0), RUNS),
        Resolution("random and alternating flip, over both orders", 0.4, pilot_sd(8.0), 2 * RUNS),
        Resolution("with replacement and reshuffled, over both flips", 0.4, pilot_sd(8.0), 2 * RUNS),
    )


TABLE1 = Experiment(
    "table1",
    "Table 1, order of the examples and flip",
    "Reshuffling the examples in every epoch beats sampling them with replacement by half a point, and alternating "
    "flip beats random flip by 0.08 to 0.09 points under both.",
    plan_parts("table1", (part("cpu-cells.toml"),), (part("paper-cells.toml"),)),
    analyse,
    draw,
    resolutions=plan_resolutions,
)
