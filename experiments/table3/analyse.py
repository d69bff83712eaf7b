"""Compare three ways to flip on ImageNet, with heavy and light crops, on two test crops: Table 3."""

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from airjax.stats.intervals import mean_interval
from experiments.experiment import Analysis, Context, Experiment, Scale, no_parts
from experiments.rows import Row, difference_row, value_row
from experiments.table3.paper import FLIPS, MINUTES, TABLE3, Setting, View
from experiments.trainings import CellAccuracies, Training, read_trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Ten classes, or those of any other tree, at 64 to 128 pixels: half of the channels, a rate that is
# 1.6 times as large for each example, the ramp and the two test crops at half of their resolution.
CPU_TREE = (1850, 500)  # images
CPU_CHANGES: dict[str, Any] = {
    **{"widths": (32, 64, 128, 256), "batch_size": 64, "learning_rate": 0.05, "ramp_first": 64, "ramp_last": 96},
    "test_sizes": (128, 96),
    "precision": "float32",  # or what --precision says: not what happens to be faster on the machine
}
CPU_SEEDS, PAPER_SEEDS = 10, 4  # networks of a cell; the author trained four side by side
SHORT = Setting("heavy", 16), Setting("light", 16)
LONG = Setting("light", 20), Setting("heavy", 88)
RECIPES = {16: "imagenet-resnet18-16", 20: "imagenet-resnet18-20", 88: "imagenet-resnet18-88"}


def settings_of(scale: Scale) -> tuple[Setting, ...]:
    """Return the rows of the table that a scale has."""
    return SHORT if scale == "cpu" else SHORT + LONG


def flips_of(setting: Setting) -> tuple[str, ...]:
    """Return the ways to flip that the paper has of a row."""
    return FLIPS[1:] if setting.epochs == 20 else FLIPS


def training_of(scale: Scale, setting: Setting, flip: str) -> Training:
    """Return the networks of a cell."""
    name, recipe = f"{setting.crop}-{setting.epochs}-{flip}", RECIPES[setting.epochs]
    changes = {"crop": setting.crop, "flip": flip}
    if scale == "cpu":
        return Training(name, recipe, CPU_CHANGES | changes, CPU_SEEDS, CPU_TREE)
    # Nobody has published the time of 20 epochs: as many times that of an epoch of 16.
    minutes = MINUTES.get(setting.epochs, MINUTES[16] * setting.epochs / 16)
    return Training(name, recipe, changes, PAPER_SEEDS, seconds=60 * minutes)


def trainings(scale: Scale) -> tuple[Training, ...]:
    """List the cells of a scale."""
    return tuple(training_of(scale, one, flip) for one in settings_of(scale) for flip in flips_of(one))


def analyse(context: Context) -> Analysis:
    """Estimate the table's accuracies and the differences between the ways to flip."""
    out = context.folders[0].parent
    found = read_trained(trainings(context.scale), out, mixed=context.mixed)
    cells = {
        (setting, flip): found[training_of(context.scale, setting, flip).name]
        for setting in settings_of(context.scale)
        for flip in flips_of(setting)
    }
    panels = [(setting, view) for setting, view in TABLE3 if setting in settings_of(context.scale)]
    rows = [row for setting, view in panels for row in _differences(cells, setting, view, context.scale)]
    rows += [row for setting, view in panels for row in _accuracies(cells, setting, view, context.scale)]
    series = [_panel(cells, setting, view) for setting, view in panels]
    networks = sum(len(found[0].plain) for found in cells.values())
    return Analysis(rows, {"panels": series}, networks, 0, {"a tree of images": "unknown"})


def _accuracies_of(cells: dict[Any, list[CellAccuracies]], setting: Setting, flip: str, view: View) -> np.ndarray:
    # At CPU scale both crops are smaller; the larger one stays the first.
    found = cells[setting, flip][0 if view.size == 256 else 1]
    return found.tta if view.tta else found.plain


def _name(setting: Setting, view: View) -> str:
    test = "7/8 of the shorter side" if view.size == 256 else "the whole shorter side"
    return f"{setting.crop} crop, {setting.epochs} epochs, tested on {test}{', mirrored views' if view.tta else ''}"


def _differences(cells: dict[Any, list[CellAccuracies]], setting: Setting, view: View, scale: str) -> Iterator[Row]:
    paper: dict[str, float | None] = dict(zip(FLIPS, TABLE3[setting, view], strict=True))
    flips = flips_of(setting)
    for first, second in itertools.pairwise(flips):
        a, b = (_accuracies_of(cells, setting, flip, view) for flip in (first, second))
        before, after = paper[first], paper[second]
        if before is not None and after is not None:
            cell, claimed = f"{second} minus {first}, {_name(setting, view)}", setting.crop == "light"
            # With heavy crops the claim is that the three do not differ: their digits have signs, but stand for none.
            yield difference_row(cell, a, b, after - before, scale, claimed=claimed)


def _accuracies(cells: dict[Any, list[CellAccuracies]], setting: Setting, view: View, scale: str) -> Iterator[Row]:
    paper: dict[str, float | None] = dict(zip(FLIPS, TABLE3[setting, view], strict=True))
    for flip in flips_of(setting):
        yield value_row(
            f"{flip}, {_name(setting, view)}", _accuracies_of(cells, setting, flip, view), paper[flip], scale
        )


def _panel(cells: dict[Any, list[CellAccuracies]], setting: Setting, view: View) -> dict[str, Any]:
    by_flip = {flip: _accuracies_of(cells, setting, flip, view) for flip in flips_of(setting)}
    means = {flip: [float(values.mean()), *_ends(values)] for flip, values in by_flip.items()}
    return {"name": _name(setting, view), "accuracies": means}


def _ends(values: np.ndarray) -> list[float]:
    # Of the 95% interval of a mean; of one network, none: the value itself.
    interval = mean_interval(values, whole=100.0)
    return [float(end) for end in interval] if interval else 2 * [float(values.mean())]


def draw(record: dict[str, Any]) -> "Figure":
    """Draw the accuracy of each way to flip with its interval, a panel for each row of the table."""
    from airjax.report.drawing import COLORS, make_grid

    panels = record["series"]["panels"]
    figure, grid = make_grid(7.4, 2.1 * -(-len(panels) // 2), -(-len(panels) // 2), 2)
    for axes, panel in zip(grid.ravel(), panels, strict=False):
        for place, (flip, (mean, low, high)) in enumerate(panel["accuracies"].items()):
            color = COLORS[FLIPS.index(flip)]
            axes.errorbar([mean], [place], xerr=[[mean - low], [high - mean]], fmt="o", color=color, capsize=3)
        axes.set_yticks(range(len(panel["accuracies"])), list(panel["accuracies"]))
        axes.set_ylim(-0.5, len(panel["accuracies"]) - 0.5)
        axes.set_title(panel["name"].replace(", tested", ",\ntested").replace(", mirrored", ",\nmirrored"), fontsize=8)
        axes.set_xlabel("accuracy, %")
    for axes in grid.ravel()[len(panels) :]:
        axes.set_axis_off()
    return figure


TABLE3_EXPERIMENT = Experiment(
    "table3",
    "Table 3, flips on ImageNet",
    "With light crops alternating flip beats random flip, and random flip beats none; with heavy crops, which rarely "
    "show the same part of an image twice, the three do not differ by much.",
    no_parts,
    analyse,
    draw,
    trainings=trainings,
)
