"""What a training shows while it runs: a live bar and a table on a terminal, plain lines elsewhere."""

import time
from types import TracebackType

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from airjax.driver import EpochReport, TrainedRun
from airjax.recipe import Recipe
from airjax.step import StepMetrics

HEADINGS = ("seed", "epoch", "train loss", "train acc", "val acc", "tta val acc", "seconds")
WIDTHS = (6, 6, 11, 10, 9, 12, 9)
REFRESH = 0.2  # seconds between two readings of the loss from the device


class Display:
    """Reports one training after another. A context manager; prints nothing but warnings if quiet."""

    def __init__(self, console: Console, *, quiet: bool) -> None:
        self._console, self._quiet = console, quiet
        columns = (
            TextColumn("seed {task.fields[seed]}"),
            BarColumn(bar_width=None),
            TextColumn("step {task.completed:.0f}/{task.total:.0f}  epoch {task.fields[epoch]}  "),
            TextColumn("loss {task.fields[loss]}  {task.fields[rate]} images/s  left"),
            TimeRemainingColumn(),
        )
        hidden = quiet or not console.is_terminal
        self._progress = Progress(*columns, console=console, transient=True, disable=hidden)

    def __enter__(self) -> "Display":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def line(self, text: str) -> None:
        """Print a line, unless quiet."""
        if not self._quiet:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def begin(self, recipe: Recipe, seed: int) -> None:
        """A training starts."""
        self._recipe, self._seed = recipe, seed
        self._began = self._read = time.perf_counter()
        for finished in self._progress.task_ids:
            self._progress.remove_task(finished)
        fields = {"seed": seed, "epoch": 0, "loss": "", "rate": ""}
        self._task = self._progress.add_task("", total=recipe.total_steps, **fields)

    def headings(self) -> None:
        """Print the table's headings."""
        self.line(_row(HEADINGS))

    def step(self, steps_done: int, metrics: StepMetrics) -> None:
        """Some steps are done."""
        now = time.perf_counter()
        if self._progress.disable or now - self._read < REFRESH:
            return
        self._read = now
        rate = steps_done * self._recipe.batch_size / (now - self._began)
        self._progress.update(
            self._task,
            completed=steps_done,
            epoch=(steps_done - 1) // self._recipe.steps_per_epoch,
            loss=f"{np.ravel(metrics.loss)[-1]:.4f}",
            rate=f"{rate:,.0f}",
        )

    def epoch(self, report: EpochReport) -> None:
        """An epoch is done: a row of the table."""
        accuracies = (report.train_accuracy, report.validation_accuracy, report.tta_accuracy)
        cells = ("" if accuracy is None else f"{accuracy:.4f}" for accuracy in accuracies)
        self.line(
            _row((str(self._seed), str(report.epoch), f"{report.train_loss:.4f}", *cells, f"{report.seconds:.2f}"))
        )

    def run(self, run: TrainedRun) -> None:
        """A training is done: where its time went."""
        parts = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in run.seconds.items())
        per_step = run.seconds["train"] / run.recipe.total_steps
        self.line(f"seed {run.seed}: accuracy {run.accuracy:.4f}; {parts} ({per_step:.4f} s per step)")


def _row(cells: tuple[str, ...]) -> str:
    return " ".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True))
