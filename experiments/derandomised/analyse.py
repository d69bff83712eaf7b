"""Compare derandomised crops, cutouts and orders with random ones: what the paper leaves open."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float

from airjax.stats.equivalence import holm
from experiments.cells import Cells, read_cells
from experiments.experiment import Analysis, Context, Experiment, Resolution, part, plan_parts
from experiments.known import pilot_sd
from experiments.rows import Row, difference_row, effect_row, value_row
from experiments.table2.analyse import LARGEST, SPEEDUP_MARGIN, find_speedups
from experiments.table2.paper import ACCURACIES, EPOCHS
from experiments.verdict import NOT_RESOLVED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEVEL = 0.05  # of the tests of all gains at one length together
RESAMPLES = 1_000  # of the networks, for the intervals of speedups
MIDDLE, LONG = 110, 32  # networks of each cell at CPU scale after 16 and 32 epochs
CPU_PARTS = ("middle", "long", "short", "longest", "cutout")
PAPER_PARTS = ("94-crops", "94-joint", "94-antithetic", "94-order", "94-flip", "96")

# Every cell differs from this one, in what its name says.
RANDOM: dict[str, Any] = {
    **{"flip": "alternating", "crop_sampling": "random", "cutout_sampling": "random"},
    **{"antithetic": False, "order": "reshuffle"},
}
CONTROL = {"flip": "random"}
DERANDOMISED: dict[str, dict[str, Any]] = {
    "crops without replacement": {"crop_sampling": "without-replacement"},
    "flips and crops jointly": {"crop_sampling": "joint"},
    "low-discrepancy crops": {"crop_sampling": "low-discrepancy"},
    "antithetic crops": {"antithetic": True},
    "flip-flop order": {"order": "flip-flop"},
    "low-discrepancy cutouts": {"cutout_sampling": "low-discrepancy"},
    "low-discrepancy crops and cutouts": {"crop_sampling": "low-discrepancy", "cutout_sampling": "low-discrepancy"},
}

Accuracies = dict[float, Float[np.ndarray, " _"]]  # in percent, by epochs


class Panel(NamedTuple):
    """One recipe, evaluated in one way: every cell at the lengths of training that it has."""

    recipe: str
    cutout: int
    tta_level: int

    @property
    def name(self) -> str:
        """What tells it from the others."""
        return f"{self.recipe}, {'' if self.cutout else 'no '}cutout, {'' if self.tta_level else 'no '}TTA"

    def accuracies(self, cells: Cells, changes: dict[str, Any]) -> Accuracies:
        """Return the accuracies of the cell with these changes, in the order of the epochs; none where it is not."""
        mine = self._having(cells, changes)
        return mine.by_epochs() if mine.cells else {}

    def common(self, cells: Cells, changes: dict[str, Any]) -> set[float]:
        """Return the epochs at which that cell has networks of the same seeds as random draws have."""
        mine, random = (self._having(cells, one) for one in (changes, RANDOM))
        ours = mine.seeds_by_epochs() if mine.cells else {}
        theirs = random.seeds_by_epochs()
        return {epochs for epochs, seeds in ours.items() if np.array_equal(seeds, theirs.get(epochs, []))}

    def _having(self, cells: Cells, changes: dict[str, Any]) -> Cells:
        wanted = RANDOM | {"cutout": self.cutout, "tta_level": self.tta_level} | changes
        return Cells(tuple(one for one in cells.cells if all(one.fields[k] == value for k, value in wanted.items())))


PANELS = {
    "cpu": (Panel("mini", 0, 0), Panel("mini", 12, 0)),
    "paper": (Panel("94", 0, 0), Panel("94", 0, 2), Panel("96", 12, 2)),
}


def analyse(context: Context) -> Analysis:
    """Estimate what each way of drawing gains over random draws, and how much longer those would have to train."""
    cells, scale = read_cells(context.folders, mixed=context.mixed), context.scale
    rows: list[Row] = []
    series: list[dict[str, Any]] = []
    for panel in PANELS[scale]:
        random = panel.accuracies(cells, RANDOM)
        others = {name: panel.accuracies(cells, changes) for name, changes in DERANDOMISED.items()}
        common = {name: panel.common(cells, changes) for name, changes in DERANDOMISED.items()}
        flipped, both = panel.accuracies(cells, CONTROL), panel.common(cells, CONTROL)
        gains = {
            "alternating flip (control)": _control_gains(panel, random, flipped, both, scale),
            **_gains(panel, random, others, common, scale),
        }
        rows += [row for several in gains.values() for row in several.values()]
        speedups = _speedups(panel, random, others, common, scale)
        rows += [row for several in speedups.values() for row in several.values()]
        rows += _accuracy_rows(panel, random, scale)
        series += [
            {"panel": panel.name, "name": name, "epochs": epochs, "gain": row.ours, "interval": row.interval}
            for name, several in gains.items()
            for epochs, row in several.items()
        ]
    return Analysis(rows, {"gains": series}, cells.networks, cells.diverged, cells.content)


def _control_gains(
    panel: Panel, alternating: Accuracies, flipped: Accuracies, common: set[float], scale: str
) -> dict[float, Row]:
    # Of which the paper has numbers: those of the length at the same place of its four.
    gains = {}
    for epochs in flipped:
        _, random, paper = ACCURACIES[bool(panel.cutout), bool(panel.tta_level)][list(alternating).index(epochs)]
        cell = f"alternating minus random flip (control), {epochs:g} epochs, {panel.name}"
        pair = flipped[epochs], alternating[epochs]
        gains[epochs] = difference_row(cell, *pair, paper - random, scale, paired=epochs in common)
    return gains


def _gains(
    panel: Panel, random: Accuracies, others: dict[str, Accuracies], common: dict[str, set[float]], scale: str
) -> dict[str, dict[float, Row]]:
    # The paper has no number, so at either scale it is the sign that is judged.
    gains = {
        name: {
            epochs: difference_row(
                f"{name} minus random, {epochs:g} epochs, {panel.name}",
                *(random[epochs], values, None, scale),
                paired=epochs in common[name],
            )
            for epochs, values in found.items()
        }
        for name, found in others.items()
    }
    return _adjusted(gains)


def _speedups(
    panel: Panel, random: Accuracies, others: dict[str, Accuracies], common: dict[str, set[float]], scale: str
) -> dict[str, dict[float, Row]]:
    if len(random) < len(EPOCHS):  # the curve has three numbers
        return {}
    places = [(name, epochs) for name, found in others.items() for epochs in found]
    groups = [others[name][epochs] for name, epochs in places]
    at = [epochs for _, epochs in places]
    how = {"relative": True, "paired": [epochs in common[name] for name, epochs in places]}
    values, resampled = find_speedups(list(random), list(random.values()), groups, RESAMPLES, at, **how)
    rows: dict[str, dict[float, Row]] = {name: {} for name in others}
    for number, (name, epochs) in enumerate(places):
        cell, n = f"effective speedup of {name}, {epochs:g} epochs, {panel.name}", len(groups[number])
        drawn = resampled[:, number]
        rows[name][epochs] = effect_row(
            cell, values[number], drawn, n, None, scale, SPEEDUP_MARGIN, "%", 1, largest=100 * LARGEST
        )
    return _adjusted(rows)


def _adjusted(found: dict[str, dict[float, Row]]) -> dict[str, dict[float, Row]]:
    # All of one length are compared with the same random draws: their p-values are adjusted together.
    adjusted = {name: dict(rows) for name, rows in found.items() if rows}
    for epochs in {epochs for rows in adjusted.values() for epochs in rows}:
        p_values = {name: rows[epochs].p for name, rows in adjusted.items() if epochs in rows}
        known = {name: p for name, p in p_values.items() if p is not None}
        for name, p in (holm(known) if known else {}).items():
            row = adjusted[name][epochs]
            verdict = row.verdict if p < LEVEL else NOT_RESOLVED
            adjusted[name][epochs] = row._replace(
                verdict=verdict, note=_note(row, f"of {len(known)}, by Holm: p = {p:.2g}")
            )
    return adjusted


def _note(row: Row, adjusted: str) -> str:
    return f"{adjusted}; {row.note}" if row.note else adjusted


def _accuracy_rows(panel: Panel, random: Accuracies, scale: str) -> Iterator[Row]:
    reported = ACCURACIES[bool(panel.cutout), bool(panel.tta_level)]
    for number, (epochs, values) in enumerate(random.items()):
        paper = None if panel.recipe == "96" or len(random) < len(EPOCHS) else reported[number][2]
        yield value_row(f"random draws, alternating flip, {epochs:g} epochs, {panel.name}", values, paper, scale)


def draw(record: dict[str, Any]) -> "Figure":
    """Draw the gains over random draws with their intervals, a colour for each length of training."""
    from airjax.report.drawing import COLORS, GREY, make_grid

    series = record["series"]["gains"]
    panels = list(dict.fromkeys(one["panel"] for one in series))
    names = list(dict.fromkeys(one["name"] for one in series))
    lengths = sorted({one["epochs"] for one in series})
    figure, grid = make_grid(7.4, 0.6 + 0.34 * len(names) * len(panels), len(panels), 1, sharex=True)
    for axes, panel in zip(grid[:, 0], panels, strict=True):
        mine = [one for one in series if one["panel"] == panel]
        here = [name for name in names if any(one["name"] == name for one in mine)]
        for one in mine:
            rank = lengths.index(one["epochs"])
            place = here.index(one["name"]) + 0.16 * (rank - (len(lengths) - 1) / 2)
            low, high = one["interval"] or (one["gain"], one["gain"])
            axes.plot([low, high], [place, place], color=COLORS[rank], linewidth=1)
            axes.plot(one["gain"], place, "o", color=COLORS[rank], markersize=4)
        axes.axvline(0, color=GREY, linewidth=0.7)
        axes.set_yticks(range(len(here)), here)
        axes.set_ylim(len(here) - 0.5, -0.5)
        axes.set_title(panel)
    for rank, epochs in enumerate(lengths):
        grid[0, 0].plot([], [], "o", color=COLORS[rank], markersize=4, label=f"{epochs:g} epochs")
    grid[0, 0].legend(fontsize=8)
    grid[-1, 0].set_xlabel("gain in test accuracy over random draws, points")
    return figure


def plan_resolutions() -> tuple[Resolution, ...]:
    """Say which differences the plans of the CPU scale are made to find."""
    return (
        Resolution("random and any other draws, 16 epochs, no cutout (one of four)", 0.47, pilot_sd(16.0), MIDDLE, 4),
        Resolution("random and low-discrepancy cutouts, 16 epochs", 0.4, pilot_sd(16.0), MIDDLE),
        Resolution("random and any other draws, 32 epochs (one of five)", 1.2, pilot_sd(32.0), LONG, 5),
    )


DERANDOMISED_EXPERIMENT = Experiment(
    "derandomised",
    "Derandomised augmentation, the paper's open question",
    "Alternating flip beats random flip because consecutive epochs show different inputs. Whether the same thought "
    "helps where crops, cutouts and the order of the examples are drawn, the paper leaves open: it has no numbers.",
    plan_parts(
        "derandomised",
        tuple(part(f"cpu-{name}.toml") for name in CPU_PARTS),
        tuple(part(f"paper-{name}.toml") for name in PAPER_PARTS),
    ),
    analyse,
    draw,
    resolutions=plan_resolutions,
)
