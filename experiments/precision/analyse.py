"""Compare networks trained in bfloat16 with those trained in float32: the same mean accuracy, the same spread?"""

from typing import TYPE_CHECKING, Any

from airjax.stats.equivalence import compare_distributions, compare_means
from experiments.cells import read_cells
from experiments.experiment import Analysis, Context, Experiment, Resolution, part, plan_parts
from experiments.known import pilot_sd
from experiments.rows import Row, value_row
from experiments.verdict import judge_value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PRECISIONS = ("float32", "bfloat16")
MARGINS = {"cpu": 0.4, "paper": 0.05}  # percentage points, fixed before anything was trained
SD_MARGIN = 0.25  # of a ratio of two standard deviations
RUNS = 150  # networks of each at CPU scale


def analyse(context: Context) -> Analysis:
    """Estimate both means, their difference and the ratio of the standard deviations.

    "agrees" says of the difference that its 95% interval lies within the margin of zero, and of the ratio within the
    margin of one: that they are shown to be the same, not merely not shown to differ.
    """
    cells = read_cells(context.folders, mixed=context.mixed)
    single, half = (cells.accuracies(precision=precision) for precision in PRECISIONS)
    margin, n = MARGINS[context.scale], min(len(single), len(half))
    means = compare_means(single, half, margin, whole=100.0)
    spread = compare_distributions(single, half)
    rows = [
        value_row("float32", single, None, context.scale),
        value_row("bfloat16", half, None, context.scale),
        Row(
            "bfloat16 minus float32",
            means.difference,
            means.interval95,
            n,
            None,
            judge_value(means.interval95, 0.0, margin),
            "points",
            p=means.difference_p,
            note=f"equal to within {margin:g} points: p = {means.equivalence_p:.2g}",
        ),
        Row(
            "standard deviation of bfloat16 over that of float32",
            spread.sd_ratio,
            spread.sd_ratio_interval,
            n,
            None,
            judge_value(spread.sd_ratio_interval, 1.0, SD_MARGIN),
            "",
            note=f"equal spread (Brown-Forsythe): p = {spread.brown_forsythe_p:.2g}",
        ),
    ]
    series = {"float32": list(map(float, single)), "bfloat16": list(map(float, half))}
    return Analysis(rows, series, cells.networks, cells.diverged, cells.content)


def draw(record: dict[str, Any]) -> "Figure":
    """Draw the fraction of the networks of each precision that are at most so accurate."""
    from airjax.report.drawing import COLORS, make_axes

    figure, axes = make_axes(5.0, 3.0)
    for (name, accuracies), color in zip(record["series"].items(), COLORS, strict=False):
        axes.ecdf(accuracies, color=color, label=name)
    axes.set_xlabel("test accuracy, %")
    axes.set_ylabel("fraction of the networks")
    axes.legend()
    return figure


def plan_resolutions() -> tuple[Resolution, ...]:
    """Say to within which margin the plan of the CPU scale is made to show equality."""
    return (Resolution("bfloat16 and float32: equal to within", MARGINS["cpu"], pilot_sd(16.0), RUNS, equality=True),)


PRECISION = Experiment(
    "precision",
    "Precision: bfloat16 against float32",
    "The paper trains in half precision throughout. Networks trained in bfloat16 (master weights in float32) are to be "
    "as accurate as in float32, and to spread as much.",
    plan_parts("precision", (part("cpu-mini.toml"),), (part("paper-94.toml"),)),
    analyse,
    draw,
    resolutions=plan_resolutions,
)
