"""What a tracker is told of the trainings of a command (--track), and that no tracker can end one.

A tracker gets a run for each network, or for each group of networks that train at once: then its values are the means
over the group, as the table on the screen has them.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from airjax.cli.display import Display, name_seeds
from airjax.cli.train_folder import EpochLog
from airjax.recipes.recipe import Recipe
from airjax.training.events import EpochReport, Stage
from airjax.training.loop import TrainedRun
from airjax.training.step import StepMetrics

EVERY = 1.0  # seconds between two readings of the loss: each waits for the device


class Sink(NamedTuple):
    """One run of a tracker."""

    log: Callable[[Mapping[str, float], int], None]  # values by name, and how many steps were done
    close: Callable[[], None]


Opener = Callable[[str, dict[str, Any]], Sink]  # from a run's name, such as "94 seed 0", and its configuration


class Tracking:
    """Tells a tracker what happens. A context manager; with no tracker it does nothing.

    A tracker that fails is given up with one warning, and the training goes on. What trackers print goes to standard
    error, which leaves standard output to the results.
    """

    def __init__(self, tracker: str | None, opener: Opener | None, config: dict[str, Any]) -> None:
        self._tracker, self._open, self._config = tracker, opener, config
        self._sink: Sink | None = None
        self._seeds: Sequence[int] = ()
        self._read = -np.inf

    def __enter__(self) -> "Tracking":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def begin(self, recipe: Recipe, seeds: Sequence[int]) -> None:
        """Begin the run of a network, or of a group; the one before ends."""
        self._close()
        self._recipe, self._seeds, self._read = recipe, seeds, -np.inf
        opener = self._open
        if opener is not None:
            name = f"{self._config['recipe_name']} {name_seeds(seeds)}"
            config = self._config | recipe.flat() | {"seeds": list(seeds)}
            self._sink = self._ask(lambda: opener(name, config))

    def step(self, steps_done: int, metrics: StepMetrics) -> None:
        """Log the latest loss and accuracy at hand, at most every second. metrics as for `Display.step`."""
        now = time.perf_counter()
        if self._sink is not None and now - self._read >= EVERY:
            self._read = now
            values = {"train/loss": np.mean(metrics.loss), "train/accuracy": np.mean(metrics.accuracy)}
            self._log(values, steps_done)

    def epoch(self, report: EpochReport) -> None:
        """Log a row of the table."""
        if self._sink is not None:
            steps = min((report.epoch + 1) * self._recipe.steps_per_epoch, self._recipe.total_steps)
            row = report._asdict() | {"epoch": report.epoch + 1}
            self._log({f"epoch/{name}": value for name, value in row.items() if value is not None}, steps)

    def run(self, run: TrainedRun) -> None:
        """Log how a finished network did: its accuracy, under its seed where a group has one run, and its seconds."""
        place = "" if len(self._seeds) == 1 else f"/seed {run.seed}"
        values = {f"test/accuracy{place}": run.accuracy}
        values |= {f"seconds/{stage}{place}": seconds for stage, seconds in run.seconds.items()}
        self._log(values, run.recipe.total_steps)

    def _log(self, values: Mapping[str, Any], steps: int) -> None:
        sink = self._sink
        if sink is not None:
            self._ask(lambda: sink.log({name: float(value) for name, value in values.items()}, steps))

    def _close(self) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            self._ask(sink.close)

    def _ask(self, action: Callable[[], Any]) -> Any:
        # What the action returns, or None where it fails, after which nothing is asked any more.
        try:
            with contextlib.redirect_stdout(sys.stderr):
                return action()
        except Exception as error:  # of any kind: it is not this program's
            sink, self._sink, self._open = self._sink, None, None
            if sink is not None:
                with contextlib.suppress(Exception), contextlib.redirect_stdout(sys.stderr):
                    sink.close()
            reason = " ".join(str(error).split()) or type(error).__name__
            print(f"warning: {self._tracker} fails ({reason}); training goes on without it", file=sys.stderr)
            return None


class Watchers(NamedTuple):
    """Who is told what happens in a training: the screen, a tracker and the folder of the networks."""

    display: Display
    tracking: Tracking
    log: EpochLog

    def begin(self, recipe: Recipe, seeds: Sequence[int]) -> None:
        """Begin a network, or a group of them."""
        self.display.begin(recipe, seeds)
        self.tracking.begin(recipe, seeds)
        self.log.begin(seeds)

    def phase(self, phase: Stage) -> None:
        """Begin a phase."""
        self.display.phase(phase)

    def step(self, steps_done: int, metrics: StepMetrics) -> None:
        """Count steps that are done."""
        self.display.step(steps_done, metrics)
        self.tracking.step(steps_done, metrics)

    def epoch(self, report: EpochReport) -> None:
        """End an epoch."""
        self.display.epoch(report)
        self.tracking.epoch(report)
        self.log.epoch(report)

    def run(self, run: TrainedRun) -> None:
        """End a network."""
        self.display.run(run)
        self.tracking.run(run)
