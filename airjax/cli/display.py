"""What a training shows while it runs: two live lines and a table on a terminal, plain lines elsewhere.

People read accuracies in percent, and count networks, epochs and steps from 1.
"""

import dataclasses
import math
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Literal

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from airjax.recipes.recipe import Recipe
from airjax.training.events import EpochReport, Stage
from airjax.training.loop import DivergedError, TrainedRun
from airjax.training.step import StepMetrics
from airjax.utils.units import format_seconds

HEADINGS = ("seed", "epoch", "train loss", "train acc", "val acc", "tta val acc", "seconds")
WIDTHS = (6, 6, 11, 10, 9, 12, 9)
REFRESH = 0.2  # seconds between two readings of the loss from the device
WORTH_A_LINE = 1.0  # seconds: shorter compilations after the first are not reported
SHORTEST_BAR = 10  # columns

PHASES: dict[Stage, str] = {
    "compile": "compiling",
    "whiten": "initialising",
    "train": "training",
    "validate": "validating",
    "evaluate": "evaluating",
}


@dataclasses.dataclass
class Status:
    """Where a command is that trains networks, one or a group at a time."""

    total: int  # networks to train
    done: int = 0  # finished ones of them
    recipe: Recipe | None = None  # of the group that trains now; None before the first
    seeds: Sequence[int] = ()  # its networks
    steps: int = 0  # that the group has done
    loss: float = math.nan  # mean over the latest steps at hand
    phase: Stage = "compile"
    since: float = 0.0  # when the phase began
    training: float = 0.0  # seconds that the group has trained in earlier phases
    working: float = 0.0  # seconds of all earlier phases but compilation, of all groups


class Display:
    """Reports one training or group of them after another. A context manager; shows only results if quiet."""

    def __init__(self, console: Console, *, quiet: bool, total: int = 1) -> None:
        self._console, self._quiet = console, quiet
        self._status = Status(total)
        self._announced: Literal["not yet", "now", "before"] = "not yet"  # the first compilation
        self._headed = False
        self._read = 0.0
        live = console.is_terminal and not console.is_dumb_terminal and not quiet
        self._live = Live(get_renderable=self._render, console=console, transient=True) if live else None

    def __enter__(self) -> "Display":
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def line(self, text: str) -> None:
        """Print a line, unless quiet."""
        if not self._quiet:
            self.result(text)

    def result(self, text: str) -> None:
        """Print a line, also if quiet. A terminal wraps it between words."""
        wrap = self._console.is_terminal
        self._console.print(text, highlight=False, markup=False, emoji=False, soft_wrap=not wrap)

    def begin(self, recipe: Recipe, seeds: Sequence[int]) -> None:
        """Begin a network, or a group of them."""
        status = self._status
        self._end_phase("compile")
        status.recipe, status.seeds = recipe, seeds
        status.steps, status.loss, status.training = 0, math.nan, 0.0

    def phase(self, phase: Stage) -> None:
        """Begin a phase; the one before ends."""
        name, compiled = name_seeds(self._status.seeds), self._status.phase == "compile"
        lasted = self._end_phase(phase)
        if compiled and (self._announced == "now" or lasted >= WORTH_A_LINE):
            self._note(f"{name}: compiled in {format_seconds(lasted)}")
        if self._announced == "now":
            self._announced = "before"
        if phase == "compile" and self._announced == "not yet":
            self._announced = "now"
            self._note(f"{name}: compiling")

    def step(self, steps_done: int, metrics: StepMetrics) -> None:
        """Count steps that are done. metrics are of one network, [] or [S], or of a group, [G] or [G,S]."""
        now = time.perf_counter()
        self._status.steps = steps_done
        if self._live and now - self._read >= REFRESH:
            self._read = now
            self._status.loss = float(np.mean(metrics.loss))

    def epoch(self, report: EpochReport) -> None:
        """End an epoch: add a row to the table, with the means of a group."""
        if not self._headed:
            self._headed = True
            self.line(_row(HEADINGS))
        accuracies = (report.train_accuracy, report.validation_accuracy, report.tta_accuracy)
        cells = ("" if accuracy is None else f"{accuracy:.2%}" for accuracy in accuracies)
        seeds = self._status.seeds
        name = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]}-{seeds[-1]}"
        self.line(_row((name, str(report.epoch + 1), f"{report.train_loss:.4f}", *cells, f"{report.seconds:.2f}")))

    def run(self, run: TrainedRun) -> None:
        """End a network: show where its time went, and how long the others will take."""
        status = self._status
        status.done += 1
        parts = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in run.seconds.items())
        per_step = run.seconds["train"] / run.recipe.total_steps
        text = f"seed {run.seed}: accuracy {run.accuracy:.2%}; {parts} ({per_step:.4f} s per step)"
        if status.total > 1:
            text += f"; {status.done} of {status.total} networks"
            if run.seed == status.seeds[-1] and status.done < status.total:
                text += f", about {format_seconds(seconds_left(status, time.perf_counter(), group_done=True))} left"
        self.line(text)

    def diverged(self, error: DivergedError) -> None:
        """End a network that diverged: show when."""
        status = self._status
        status.done += 1
        count = f"; {status.done} of {status.total} networks" if status.total > 1 else ""
        self.line(f"{error}{count}")

    def _end_phase(self, following: Stage) -> float:
        # Returns the seconds that the phase before lasted.
        status, now = self._status, time.perf_counter()
        lasted = now - status.since
        status.training += lasted if status.phase == "train" else 0.0
        status.working += lasted if status.phase != "compile" else 0.0
        status.phase, status.since = following, now
        return lasted

    def _note(self, text: str) -> None:
        # What the live lines show anyway.
        if not self._live:
            self.line(text)

    def _render(self) -> Group:
        return draw(self._status, time.perf_counter(), self._console.width)


def draw(status: Status, now: float, width: int) -> Group:
    """Draw the two live lines, no wider than so many columns: what is left out is whole, and no number is cut."""
    if status.recipe is None or not status.seeds:
        return Group()
    total_steps = status.recipe.total_steps
    return Group(
        Text(fit(headline(status, now), width), no_wrap=True, overflow="ellipsis"),
        _with_bar(status.steps, total_steps, fit(footline(status, now), width - SHORTEST_BAR - 1), width),
    )


def headline(status: Status, now: float) -> list[str]:
    """Return which network trains and what happens to it, in parts of which the last can be left out."""
    recipe, count = status.recipe, len(status.seeds)
    assert recipe is not None
    first, last = status.done + 1, min(status.done + count, status.total)
    place = f"network {first}" if count == 1 else f"networks {first} to {last}"
    parts = [
        f"{place} of {status.total} ({name_seeds(status.seeds)})" if status.total > 1 else name_seeds(status.seeds)
    ]
    if status.phase != "train":
        return [*parts, f"{PHASES[status.phase]}, {clock(now - status.since)}"]
    epoch = max(0, status.steps - 1) // recipe.steps_per_epoch + 1
    parts.append(f"epoch {epoch} of {math.ceil(recipe.epochs)}")
    if math.isfinite(status.loss):
        parts.append(f"loss {status.loss:.4f}")
    trained = status.training + now - status.since
    if status.steps and trained > 0:
        parts.append(f"{status.steps * recipe.batch_size * count / trained:,.0f} images/s")
    return parts


def footline(status: Status, now: float) -> list[str]:
    """Return how far the training is and how long it will take, in parts of which the last can be left out."""
    recipe = status.recipe
    assert recipe is not None
    parts = [f"step {status.steps} of {recipe.total_steps}"]
    trained = status.training + (now - status.since if status.phase == "train" else 0.0)
    if status.steps:
        parts.append(f"{clock(trained / status.steps * (recipe.total_steps - status.steps))} left")
    if status.done + len(status.seeds) < status.total and status.done + status.steps:
        parts.append(f"all networks {clock(seconds_left(status, now))}")
    return parts


def seconds_left(status: Status, now: float, *, group_done: bool = False) -> float:
    """Return seconds that all networks still take, by the time that they took so far without compilation.

    group_done: the group that trained last is among the finished networks. Needs a finished network or a step.
    """
    assert status.recipe is not None
    working = status.working + (now - status.since if status.phase != "compile" else 0.0)
    part = 0.0 if group_done else len(status.seeds) * status.steps / status.recipe.total_steps
    finished = status.done + part
    return working / finished * (status.total - finished)


def fit(parts: Sequence[str], width: int) -> str:
    """Return as many of the parts, from the first, as fit into so many columns."""
    text = parts[0]
    for part in parts[1:]:
        if len(text) + len(part) + 2 > width:
            break
        text += f", {part}"
    return text


def clock(seconds: float) -> str:
    """Return a duration as a clock shows it: "0:07", "12:34", "1:02:03"."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def name_seeds(seeds: Sequence[int]) -> str:
    """ "seed 4", or "seeds 4 to 7"."""
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"


def _with_bar(completed: int, total: int, text: str, width: int) -> Table:
    grid = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=total, completed=completed, width=max(SHORTEST_BAR, width - len(text) - 1))
    grid.add_row(bar, Text(text, no_wrap=True, overflow="ellipsis"))
    return grid


def _row(cells: tuple[str, ...]) -> str:
    return " ".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True))
