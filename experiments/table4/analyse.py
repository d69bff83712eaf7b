"""Measure how runs vary, on the test set and on its distribution, and how well their votes are calibrated: Table 4."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from airjax.stats.variance import count_votes, half_votes, reliability, run_interval, vote_interval
from experiments.cells import Cells, read_cells, read_correct
from experiments.experiment import Analysis, Context, Experiment, Resolution, part, plan_parts
from experiments.known import study_sd
from experiments.rows import Row, difference_row, effect_row, effect_verdict, value_row, value_verdict
from experiments.table4.spread import Statistic, bootstrap_difference, distribution_sd, test_set_sd
from experiments.verdict import widen

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZES = {"base": "1x epochs, 1x width", "longer": "2x epochs", "larger": "1.5x epochs, 1.5x width"}
LEVELS = {0: "no TTA", 2: "TTA"}
# Mean, test-set standard deviation, distribution-wise standard deviation (percentage points), CACE.
PAPER = {
    ("base", 0): (93.25, 0.157, 0.037, 0.0312),
    ("base", 2): (94.01, 0.128, 0.029, 0.0533),
    ("longer", 0): (93.86, 0.152, 0.025, 0.0233),
    ("longer", 2): (94.65, 0.124, 0.022, 0.0433),
    ("larger", 0): (94.32, 0.142, 0.020, 0.0269),
    ("larger", 2): (94.97, 0.116, 0.018, 0.0444),
}
PAPER_N = 10_000  # networks behind each of them
SD_MARGIN, CACE_MARGIN = 0.01, 0.002  # percentage points; the error itself
BINS = 20  # of the figure


class Group(NamedTuple):
    """The networks of one line of the table, in the order of their ids."""

    accuracies: Float[np.ndarray, " r"]  # percent
    correct: Bool[np.ndarray, "r m"]
    predictions: UInt8[np.ndarray, "r m"]
    labels: Any  # [m] whole numbers

    def head(self, count: int) -> "Group":
        """Return the first networks: errors of calibration are compared at equal numbers."""
        return Group(self.accuracies[:count], self.correct[:count], self.predictions[:count], self.labels)


def read_groups(cells: Cells, context: Context) -> dict[tuple[str, int], Group]:
    """Read the predictions of all networks."""
    found = {}
    for size, level in PAPER:
        mine = Cells(tuple(cell for cell in cells.cells if cell.folder.name.split("-")[0] == size))
        cell = mine.one(tta_level=level)
        order = np.argsort([row["id"] for row in cell.results.rows])
        correct, predictions, labels = read_correct(cell, context.data_dir)
        found[size, level] = Group(cell.accuracies[order], correct[order], predictions[order], labels)
    return found


def analyse(context: Context) -> Analysis:
    """Estimate the table's four columns, and what test-time augmentation, epochs and width change in them."""
    cells = read_cells(context.folders, mixed=context.mixed)
    groups = read_groups(cells, context)
    rows = [row for pair in _pairs() for row in _difference_rows(groups, *pair, context.scale)]
    rows += [row for cell, group in groups.items() for row in _column_rows(cell, group, context.scale)]
    series = {}
    for level, name in LEVELS.items():
        group = groups["base", level]
        bins = reliability(count_votes(group.predictions, _classes(group)), group.labels, BINS)
        series[name] = {"accuracies": group.accuracies.tolist()} | {k: v.tolist() for k, v in bins._asdict().items()}
    return Analysis(rows, series, cells.networks, cells.diverged, cells.content)


def _pairs() -> Iterator[tuple[str, tuple[str, int], tuple[str, int]]]:
    for size, name in SIZES.items():
        yield f"by TTA, {name}", (size, 0), (size, 2)
    for level, name in LEVELS.items():
        for size in ("longer", "larger"):
            yield f"by {SIZES[size]}, {name}", ("base", level), (size, level)


def _difference_rows(
    groups: dict[tuple[str, int], Group], name: str, first: tuple[str, int], second: tuple[str, int], scale: str
) -> Iterator[Row]:
    # How the second differs from the first in the table's columns.
    a, b, paired = groups[first], groups[second], first[0] == second[0]
    reported = [after - before for before, after in zip(PAPER[first], PAPER[second], strict=True)]
    cell = f"change of mean accuracy {name}"
    yield difference_row(cell, a.accuracies, b.accuracies, reported[0], scale, paper_n=PAPER_N, paired=paired)
    statistics: dict[str, Statistic] = {"test-set sd": test_set_sd, "distribution-wise sd": distribution_sd}
    n = min(len(a.accuracies), len(b.accuracies))
    for (column, statistic), paper in zip(statistics.items(), reported[1:], strict=False):
        ours = statistic(b.correct) - statistic(a.correct)
        resampled = bootstrap_difference(statistic, a.correct, b.correct, paired=paired)
        cell, claimed = f"change of {column} {name}", statistic is test_set_sd or _resolved(first, second)
        yield effect_row(cell, ours, resampled, n, paper, scale, SD_MARGIN, "points", 3, PAPER_N, claimed=claimed)
    yield _calibration_row(f"change of CACE {name}", a.head(n), b.head(n), paired, reported[3], scale)


def _resolved(first: tuple[str, int], second: tuple[str, int]) -> bool:
    # Whether the paper's distribution-wise deviations differ by more than the chance that PAPER_N networks leave in
    # them: an error of V sqrt(2 / (n - 1)) in each variance, of which V on the test set is far the larger.
    errors = [PAPER[one][1] ** 2 * math.sqrt(2 / (PAPER_N - 1)) / (2 * PAPER[one][2]) for one in (first, second)]
    return abs(PAPER[second][2] - PAPER[first][2]) > 1.96 * math.hypot(*errors)


def _calibration_row(cell: str, a: Group, b: Group, paired: bool, paper: float, scale: str) -> Row:
    # By random halves of the runs without replacement: a run that is drawn twice would agree with itself.
    classes = _classes(a)

    def error(votes: np.ndarray, group: Group) -> float:
        return reliability(votes, group.labels).error

    halves = [half_votes(group.predictions, classes, seed) for group, seed in ((a, 0), (b, 0 if paired else 1))]
    differences = np.array([error(after, b) - error(before, a) for before, after in zip(*halves, strict=True)])
    runs, half = len(a.predictions), len(a.predictions) // 2
    error_of_whole = float(differences.std(ddof=1)) * math.sqrt(half / (runs - half))
    whole = [error(count_votes(group.predictions, classes), group) for group in (a, b)]
    ours = whole[1] - whole[0]
    interval = (ours - 1.96 * error_of_whole, ours + 1.96 * error_of_whole)
    verdict = effect_verdict(interval, paper, CACE_MARGIN, scale, widen(interval, ours, runs, PAPER_N))
    p = math.erfc(abs(ours) / error_of_whole / math.sqrt(2)) if error_of_whole else 1.0
    return Row(cell, ours, interval, runs, paper, verdict, "", 4, p)


def _column_rows(cell: tuple[str, int], group: Group, scale: str) -> Iterator[Row]:
    name, paper = f"{SIZES[cell[0]]}, {LEVELS[cell[1]]}", PAPER[cell]
    yield value_row(f"mean accuracy, {name}", group.accuracies, paper[0], scale, paper_n=PAPER_N)
    n, classes = len(group.accuracies), _classes(group)
    statistics: dict[str, Statistic] = {"test-set sd": test_set_sd, "distribution-wise sd": distribution_sd}
    for (column, statistic), reported in zip(statistics.items(), paper[1:], strict=False):
        ours, interval = statistic(group.correct), run_interval(statistic, group.correct)
        verdict = value_verdict(widen(interval, ours, n, PAPER_N), reported, SD_MARGIN, scale)
        yield Row(f"{column}, {name}", ours, interval, n, reported, verdict, "points", 3)
    votes, halves = count_votes(group.predictions, classes), half_votes(group.predictions, classes)
    ours = reliability(votes, group.labels).error
    interval = vote_interval(lambda part: reliability(part, group.labels).error, votes, halves, 2.0)
    verdict = value_verdict(widen(interval, ours, n, PAPER_N), paper[3], CACE_MARGIN, scale)
    yield Row(f"CACE, {name}", ours, interval, n, paper[3], verdict, "", 4)


def _classes(group: Group) -> int:
    return int(group.labels.max()) + 1


def draw(record: dict[str, Any]) -> "Figure":
    """Draw the accuracies of the runs of the base size, and how often a class is right that so many vote for."""
    from airjax.report.drawing import COLORS, GREY, even_edges, make_grid

    figure, grid = make_grid(7.4, 3.0, 1, 2)
    edges = even_edges(np.concatenate([one["accuracies"] for one in record["series"].values()]))
    for (name, one), color in zip(record["series"].items(), COLORS, strict=False):
        grid[0, 0].hist(one["accuracies"], edges, color=color, alpha=0.5, label=name)
        pairs, votes, right = (np.array(one[key], float) for key in ("pairs", "votes", "right"))
        filled = pairs > 0
        grid[0, 1].plot(votes[filled] / pairs[filled], right[filled] / pairs[filled], "o-", color=color, markersize=3)
    grid[0, 0].set_xlabel("test accuracy, %")
    grid[0, 0].set_ylabel("networks")
    grid[0, 0].legend()
    grid[0, 1].plot([0, 1], [0, 1], color=GREY, linewidth=1)
    grid[0, 1].set_xlabel("fraction of the networks that vote for a class")
    grid[0, 1].set_ylabel("fraction that is right")
    return figure


def plan_resolutions() -> tuple[Resolution, ...]:
    """Say which differences the plans of the CPU scale are made to find."""
    return (Resolution("mean accuracy of two sizes, 300 networks of either", 0.45, study_sd(), 300),)


TABLE4 = Experiment(
    "table4",
    "Table 4 and Figure 6, variance between runs and calibration",
    "Between whole trainings the accuracy on the test distribution hardly varies (0.018 to 0.037 points, a quarter of "
    "the test set's spread or less); test-time augmentation lowers the spread and worsens the votes' calibration, and "
    "longer and larger trainings lower the distribution-wise spread and the calibration error.",
    plan_parts(
        "table4",
        tuple(part(f"cpu-{size}.toml", views=(2,)) for size in SIZES),
        tuple(part(f"paper-{size}.toml") for size in SIZES),
    ),
    analyse,
    draw,
    resolutions=plan_resolutions,
)
