"""Train on CIFAR-10 and CIFAR-100 with and without cutout, airbench's network and ResNet-18: Table 5."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.cells import Cell, Cells, load_data_of, read_cells
from experiments.experiment import Analysis, Context, Experiment, Scale, part, plan_parts
from experiments.rows import Row, difference_row, value_row
from experiments.verdict import AGREES, DIFFERS, NOT_COMPARABLE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Accuracy in percent by network, data set and whether there is cutout.
PAPER = {
    ("resnet", "cifar10", False): 95.55,
    ("resnet", "cifar10", True): 96.01,
    ("airbench", "cifar10", False): 95.61,
    ("airbench", "cifar10", True): 96.05,
    ("resnet", "cifar100", False): 77.54,
    ("resnet", "cifar100", True): 78.04,
    ("airbench", "cifar100", False): 79.27,
    ("airbench", "cifar100", True): 79.76,
    ("airbench", "svhn", False): 97.38,
    ("airbench", "svhn", True): 97.64,
    ("airbench", "cinic10", False): 87.78,
    ("airbench", "cinic10", True): 88.22,
}
# Parts whose networks are trained for one epoch: that they learn is all that is asked.
STARTS = {"airbench-start": "96-paper, one epoch of CIFAR-100", "resnet-start": "resnet18-80, one epoch of CIFAR-100"}
# What is trained in full: networks and data sets, each without and with cutout.
PAIRS: dict[Scale, tuple[tuple[str, str], ...]] = {
    "cpu": (("mini", "cifar10"), ("mini", "cifar100")),
    "paper": tuple(dict.fromkeys(key[:2] for key in PAPER)),
}


def analyse(context: Context) -> Analysis:
    """Estimate the table's cells, what cutout adds, and on a CPU's scale whether the large networks begin to learn."""
    cells, scale = read_cells(context.folders, mixed=context.mixed), context.scale
    found = {
        (network, data, cutout): _of(cells, network, data, cutout)
        for network, data in PAIRS[scale]
        for cutout in (False, True)
    }
    rows = list(_cutout_rows(found, scale)) + list(_accuracy_rows(found, scale))
    for cell in cells.cells:
        if cell.folder.name in STARTS:
            rows += _start_rows(cell, len(load_data_of(cell, context.data_dir).classes))
    series = [
        {"network": network, "data": data, "cutout": cutout, "accuracies": values.tolist()}
        for (network, data, cutout), values in found.items()
    ]
    return Analysis(rows, {"cells": series}, cells.networks, cells.diverged, cells.content)


def _of(cells: Cells, network: str, data: str, cutout: bool) -> np.ndarray:
    mine = Cells(tuple(cell for cell in cells.cells if cell.folder.name == f"{network}-{data}"))
    return np.concatenate([cell.accuracies for cell in mine.having(data=data) if bool(cell.fields["cutout"]) == cutout])


def _paper(network: str, data: str, cutout: bool) -> float:
    return PAPER["airbench" if network == "mini" else network, data, cutout]


def _cutout_rows(found: dict[tuple[str, str, bool], np.ndarray], scale: Scale) -> Iterator[Row]:
    for network, data in dict.fromkeys(key[:2] for key in found):
        effect = _paper(network, data, True) - _paper(network, data, False)
        pair = found[network, data, False], found[network, data, True]
        yield difference_row(f"cutout minus none, {network}, {data}", *pair, effect, scale)


def _accuracy_rows(found: dict[tuple[str, str, bool], np.ndarray], scale: Scale) -> Iterator[Row]:
    for (network, data, cutout), values in found.items():
        cell = f"{network}, {data}, {'' if cutout else 'no '}cutout"
        yield value_row(cell, values, _paper(network, data, cutout), scale)


def _start_rows(cell: Cell, classes: int) -> Iterator[Row]:
    # Before the first step the loss is about that of a uniform guess.
    name, guess, n = STARTS[cell.folder.name], math.log(classes), len(cell.results.rows)
    loss = float(np.mean(cell.results.array("curves")[:, 0, 0]))
    last = float(np.mean([row["last_loss"] for row in cell.results.rows]))
    falls = AGREES if last < loss < guess else DIFFERS
    note = f"falls below {guess:.3f}, a uniform guess's"
    yield Row(f"mean loss, {name}", loss, None, n, None, falls, "", 3, note=note)
    yield Row(f"loss of the last step, {name}", last, None, n, None, falls, "", 3, note="falls below the mean")
    accuracy = float(cell.accuracies.mean())
    note = f"chance is {100 / classes:g}%"
    yield Row(f"test accuracy, {name}", accuracy, None, n, None, NOT_COMPARABLE, note=note)


def draw(record: dict[str, Any]) -> "Figure":
    """Draw each network's accuracy, by data set, without and with cutout."""
    from airjax.report.drawing import COLORS, GREY, make_grid

    cells = record["series"]["cells"]
    sets = list(dict.fromkeys(cell["data"] for cell in cells))
    figure, grid = make_grid(7.4, 2.8, 1, len(sets))
    for axes, data in zip(grid[0], sets, strict=True):
        mine = [cell for cell in cells if cell["data"] == data]
        for number, cell in enumerate(mine):
            values = np.array(cell["accuracies"])
            axes.plot(np.full(len(values), number), values, ".", color=GREY, markersize=4)
            axes.plot(number, values.mean(), "D", color=COLORS[int(cell["cutout"])], markersize=6)
        names = [f"{cell['network']}\n{'cutout' if cell['cutout'] else 'none'}" for cell in mine]
        axes.set_xticks(range(len(mine)), names)
        axes.set_xlim(-0.5, len(mine) - 0.5)
        axes.set_title(data)
    grid[0, 0].set_ylabel("test accuracy, %")
    return figure


TABLE5 = Experiment(
    "table5",
    "Table 5, other data sets and ResNet-18",
    "Without another hyperparameter, airbench's 96 is as accurate as ResNet-18 on CIFAR-10 and 1.7 points more "
    "accurate on CIFAR-100; cutout adds 0.4 to 0.5 points.",
    plan_parts(
        "table5",
        tuple(part(f"cpu-{name}.toml") for name in ("mini-cifar10", "mini-cifar100", *STARTS)),
        tuple(part(f"paper-{network}-{data}.toml") for network, data in PAIRS["paper"]),
    ),
    analyse,
    draw,
)
