"""Compare three ways to flip at four lengths of training, and what alternating flip saves: Tables 2 and 6, Figure 5."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float

from airjax.stats.speedup import effective_speedup, fit_errors, relative_speedup
from experiments.cells import Cells, read_cells
from experiments.experiment import Analysis, Context, Experiment, Resolution, part, plan_parts
from experiments.known import pilot_sd
from experiments.rows import Row, difference_row, effect_row, value_row
from experiments.table2.paper import ACCURACIES, EPOCHS, FLIPS, SPEEDUPS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESAMPLES = 1_000  # of the networks, for the intervals of speedups
LARGEST = 10.0  # a speedup at or beyond which none is told from another: of 1,000%
SPEEDUP_MARGIN = 3.0  # percent of the training: what counts as the same speedup
LEVEL = 2  # of test-time augmentation, where there is one
CPU_NETWORK = "mini"
CPU_PARTS = ("shortest", "none", "middle", "long", "longest", "cutout", "cutout-middle", "cutout-long")
# Networks of each cell at CPU scale: after 8 epochs, those that the claim rests on and the others; 16; 32; 64.
SHORTEST, SHORT, MIDDLE, LONG, LONGEST = 300, 60, 20, 32, 12

Accuracies = list[Float[np.ndarray, " _"]]  # in percent, for each length of training


class Panel(NamedTuple):
    """One recipe with or without cutout and test-time augmentation."""

    recipe: str
    cutout: bool
    augmented: bool
    lengths: list[float]  # epochs, ascending
    by_flip: dict[str, Accuracies]
    paired: list[bool]  # for each length: whether the ways to flip have networks of the same seeds, in the same order

    @property
    def name(self) -> str:
        """What tells it from the others."""
        return f"{self.recipe}, {'' if self.cutout else 'no '}cutout, {'' if self.augmented else 'no '}TTA"


def read_panels(cells: Cells, scale: str) -> Iterator[Panel]:
    """Sort the networks into panels. Raises ResultsError where one is missing."""
    for recipe, cutout, augmented in SPEEDUPS:
        if recipe == "96" and scale == "cpu":
            continue
        fixed = {"convs_per_block": 3 if recipe == "96" else 2, "tta_level": LEVEL if augmented else 0}
        wanted = cells.having(**fixed)
        lengths = sorted({cell.fields["epochs"] for cell in wanted if bool(cell.fields["cutout"]) == cutout})
        mine = Cells(tuple(cell for cell in wanted if bool(cell.fields["cutout"]) == cutout))
        flips = FLIPS if recipe == "94" else FLIPS[1:]
        by_flip = {flip: [mine.accuracies(flip=flip, epochs=epochs) for epochs in lengths] for flip in flips}
        seeds = [[mine.seeds(flip=flip, epochs=epochs).tolist() for flip in flips] for epochs in lengths]
        paired = [all(one == several[0] for one in several) for several in seeds]
        yield Panel(CPU_NETWORK if scale == "cpu" else recipe, cutout, augmented, lengths, by_flip, paired)


def analyse(context: Context) -> Analysis:
    """Estimate Table 6's accuracies, their differences, and Table 2's speedups."""
    cells = read_cells(context.folders, mixed=context.mixed)
    panels = list(read_panels(cells, context.scale))
    rows = [row for panel in panels for row in _difference_rows(panel, context.scale)]
    rows += [row for panel in panels for row in _speedup_rows(panel, context.scale)]
    rows += [row for panel in panels for row in _accuracy_rows(panel, context.scale)]
    series = [
        {"name": panel.name, "epochs": panel.lengths}
        | {flip: [float(100 - values.mean()) for values in several] for flip, several in panel.by_flip.items()}
        for panel in panels
    ]
    return Analysis(rows, {"errors": series}, cells.networks, cells.diverged, cells.content)


def find_speedups(
    lengths: list[float],
    random: Accuracies,
    alternating: Accuracies,
    resamples: int = RESAMPLES,
    at: list[float] | None = None,
    *,
    relative: bool = False,
    paired: list[bool] | None = None,
) -> tuple[Float[np.ndarray, " u"], Float[np.ndarray, "{resamples} u"]]:
    """Find the effective speedup in percent at each length, and its bootstrap distribution over the networks.

    At most LARGEST. NaN where no error curve fits, as where the errors do not fall; and in a bootstrap of networks
    without any spread, a single one among them.

    Args:
        lengths: epochs of the first method, whose curve is fitted.
        random: its networks' accuracies.
        alternating: those of the second method's.
        resamples: how many.
        at: lengths of the second method, if relative all of them among the first's; None: the same ones.
        relative: for where the sign is judged: over the epochs that the curve has for the first method's own error. It
            goes through no point exactly, so that by the paper's formula, over the epochs trained, a method without
            any effect has a speedup that is not 0.
        paired: for each length of the second method: whether its networks are of the same seeds as the first's at this
            length, in the same order, so that both are resampled together. None: none are.
    """
    generator, at = np.random.default_rng(0), lengths if at is None else at

    def draw(one: np.ndarray) -> np.ndarray:
        return generator.integers(len(one), size=(resamples, len(one)))

    def resample(groups: Accuracies, drawn: list[np.ndarray]) -> np.ndarray:
        return np.stack([resample_means(one, chosen) for one, chosen in zip(groups, drawn, strict=True)], axis=1)

    def resample_means(one: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        # Resampled means of a few networks are too close to their mean: by the root of (n - 1) / n.
        return one.mean() + (one[chosen].mean(1) - one.mean()) * math.sqrt(len(one) / max(1, len(one) - 1))

    def speedups(random: np.ndarray, alternating: np.ndarray) -> np.ndarray:
        try:
            curve = fit_errors(np.array(lengths), random)
        except (ValueError, RuntimeError):
            return np.full(len(at), np.nan)
        if relative:
            own = [random[lengths.index(epochs)] for epochs in at]
            found = [relative_speedup(curve, *pair) for pair in zip(own, alternating, strict=True)]
        else:
            found = [effective_speedup(curve, *pair) for pair in zip(at, alternating, strict=True)]
        return 100 * np.minimum(found, LARGEST)

    drawn = [draw(one) for one in random]
    together = [False] * len(at) if paired is None else paired
    others = [
        drawn[lengths.index(epochs)] if common else draw(one)
        for one, epochs, common in zip(alternating, at, together, strict=True)
    ]
    pairs = zip(100 - resample(random, drawn), 100 - resample(alternating, others), strict=True)
    first, second = (100 - np.array([one.mean() for one in groups]) for groups in (random, alternating))
    resampled = np.stack([speedups(one, other) for one, other in pairs])
    alike = np.array([np.ptp(one) == 0 for one in alternating]) | any(np.ptp(one) == 0 for one in random)
    return speedups(first, second), np.where(alike, np.nan, resampled)


def _speedup_rows(panel: Panel, scale: str) -> Iterator[Row]:
    paper = SPEEDUPS["94" if scale == "cpu" else panel.recipe, panel.cutout, panel.augmented]
    if len(panel.lengths) < len(EPOCHS):  # the curve has three numbers
        return
    random, alternating = panel.by_flip["random"], panel.by_flip["alternating"]
    relative = scale == "cpu"  # where the sign alone is judged
    how = {"relative": relative, "paired": panel.paired}
    found, resampled = find_speedups(panel.lengths, random, alternating, RESAMPLES, **how)
    for number, (epochs, reported) in enumerate(zip(panel.lengths, paper, strict=True)):
        if reported is not None:
            n = min(len(random[number]), len(alternating[number]))
            cell = f"effective speedup at {epochs:g} epochs, {panel.name}"
            drawn, most = resampled[:, number], 100 * LARGEST
            yield effect_row(cell, found[number], drawn, n, reported, scale, SPEEDUP_MARGIN, "%", 1, largest=most)


def _difference_rows(panel: Panel, scale: str) -> Iterator[Row]:
    if panel.recipe == "96":  # of which the paper has no accuracies
        return
    for number, epochs in enumerate(panel.lengths):
        accuracies = ACCURACIES[panel.cutout, panel.augmented][number]
        for second, first in ((2, 1), (1, 0)):
            cell = f"{FLIPS[second]} minus {FLIPS[first]}, {epochs:g} epochs, {panel.name}"
            a, b = (panel.by_flip[FLIPS[one]][number] for one in (first, second))
            effect = accuracies[second] - accuracies[first]
            yield difference_row(cell, a, b, effect, scale, paired=panel.paired[number])


def _accuracy_rows(panel: Panel, scale: str) -> Iterator[Row]:
    if panel.recipe == "96":
        return
    for number, epochs in enumerate(panel.lengths):
        for flip, paper in zip(FLIPS, ACCURACIES[panel.cutout, panel.augmented][number], strict=True):
            cell = f"{flip}, {epochs:g} epochs, {panel.name}"
            yield value_row(cell, panel.by_flip[flip][number], paper, scale)


def draw(record: dict[str, Any]) -> "Figure":
    """Draw error against epochs for each way to flip, with the power law through random flip."""
    from airjax.report.drawing import COLORS, make_grid

    panels = record["series"]["errors"]
    figure, grid = make_grid(7.4, 2.6 * -(-len(panels) // 2), -(-len(panels) // 2), 2)
    for axes, panel in zip(grid.ravel(), panels, strict=False):
        epochs = np.array(panel["epochs"])
        for flip, color in zip(FLIPS, COLORS, strict=False):
            if flip in panel:
                axes.plot(epochs, panel[flip], "o", color=color, markersize=4, label=flip)
        _draw_curve(axes, epochs, np.array(panel["random"]), COLORS[1])
        axes.set_xscale("log")
        axes.set_xticks(epochs, [f"{e:g}" for e in epochs])
        axes.minorticks_off()
        axes.set_title(panel["name"])
        axes.set_xlabel("epochs")
        axes.set_ylabel("test error, %")
    grid[0, 0].legend(title="flip", fontsize=8)
    for axes in grid.ravel()[len(panels) :]:
        axes.set_axis_off()
    return figure


def _draw_curve(axes: Any, epochs: np.ndarray, errors: np.ndarray, color: str) -> None:
    try:
        curve = fit_errors(epochs, errors)
    except (ValueError, RuntimeError):  # none to draw
        return
    fine = np.geomspace(epochs.min(), epochs.max(), 100)
    axes.plot(fine, curve.a + curve.b * fine**curve.c, color=color, linewidth=1)


def plan_resolutions() -> tuple[Resolution, ...]:
    """Say which differences the plans of the CPU scale are made to find."""
    return (
        Resolution("random and alternating flip, 8 epochs, no cutout", 0.4, pilot_sd(8.0), SHORTEST),
        Resolution("any other two cells, 8 epochs", 1.0, pilot_sd(8.0), SHORT),
        Resolution("any two cells, 16 epochs", 1.0, pilot_sd(16.0), MIDDLE),
        Resolution("any two cells, 32 epochs", 1.0, pilot_sd(32.0), LONG),
        Resolution("any two cells, 64 epochs, if they spread as after 32", 1.7, pilot_sd(32.0), LONGEST),
    )


TABLE2 = Experiment(
    "table2",
    "Tables 2 and 6, Figure 5, the three ways to flip",
    "Alternating flip beats random flip at every length of training, with and without cutout and test-time "
    "augmentation; random flip would have to train 1 to 102% longer for the same accuracy. Random flip beats none.",
    plan_parts(
        "table2",
        tuple(part(f"cpu-{name}.toml", views=(LEVEL,)) for name in CPU_PARTS),
        (part("paper-94.toml"), part("paper-96.toml"), part("paper-96-tta.toml")),
    ),
    analyse,
    draw,
    resolutions=plan_resolutions,
)
