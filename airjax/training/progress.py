"""The live line of `train_network` and `run_many`: what they are doing, for how long now, and how far they are.

It imports rich, so it is imported where a line may be shown.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task
from rich.text import Text

from airjax.recipes.recipe import Recipe
from airjax.training.events import Callbacks, Stage
from airjax.training.step import StepMetrics
from airjax.utils.units import format_seconds

DOING = {
    "compile": "compiling",
    "whiten": "initialising",
    "train": "training",
    "validate": "evaluating the epoch",
    "evaluate": "evaluating",
}
REFRESH = 0.5  # seconds between two updates of a notebook, and two readings of the loss from the device
SELDOM = 10.0  # seconds between two plain lines of one phase


class Output(Protocol):
    """Where the line goes."""

    def start(self, line: Callable[[], str]) -> None:
        """Begin to show what line() returns."""

    def changed(self, done: float, *, phase: bool) -> None:
        """Show a change; done is the fraction of all steps that is done, phase whether something else begins."""

    def stop(self) -> None:
        """Remove the line, or leave it where it cannot be removed."""


@contextmanager
def progress_line(recipe: Recipe, networks: int, shown: bool | None, given: Callbacks) -> Iterator[Callbacks]:
    """Yield callbacks that keep a line up to date while the block runs, and call the given ones.

    Args:
        recipe: what each of the networks is trained by.
        networks: how many there are.
        shown: whether there is a line; None is on a terminal, to standard error, and in notebooks.
        given: what the caller wants to be called.
    """
    output = choose_output(shown)
    if output is None:
        yield given
        return
    line = Line(recipe.total_steps, networks, output)
    output.start(line.text)
    try:
        yield Callbacks(
            _both(line.phase, given.on_phase),
            _both(line.step, given.on_step),
            given.on_epoch,
            _both(line.group, given.on_group),
        )
        line.finish()
    finally:
        output.stop()


class Line:
    """What the line says."""

    def __init__(self, total_steps: int, networks: int, output: Output) -> None:
        self._total_steps, self._networks, self._output = total_steps, networks, output
        self._phase, self._loss = "", ""
        self._steps_done = self._finished = 0
        self._began = self._read = time.monotonic()

    def text(self) -> str:
        """Return the line as it is now."""
        which = f"network {self._finished + 1} of {self._networks}: " if self._networks > 1 else ""
        parts = [f"{which}{self._phase}", f"step {self._steps_done} of {self._total_steps}"]
        return ", ".join([*parts, *filter(None, [self._loss]), format_seconds(time.monotonic() - self._began)])

    def phase(self, phase: Stage) -> None:
        """Something begins."""
        if phase == "whiten":
            self._steps_done, self._loss = 0, ""
        self._phase = DOING[phase]
        self._changed(phase=True)

    def step(self, steps_done: int, metrics: StepMetrics) -> None:
        """Count steps that are done."""
        self._steps_done, now = steps_done, time.monotonic()
        if now - self._read >= REFRESH:
            self._loss, self._read = f"loss {np.ravel(metrics.loss)[-1]:.3f}", now
        self._changed(phase=False)

    def group(self, finished: int) -> None:
        """Count networks that are done."""
        self._finished, self._steps_done = min(finished, self._networks - 1), 0
        self._changed(phase=False)

    def finish(self) -> None:
        """Show the end."""
        self._phase, self._steps_done = "done", self._total_steps
        self._changed(phase=True)

    def _changed(self, *, phase: bool) -> None:
        done = (self._finished + self._steps_done / self._total_steps) / self._networks
        self._output.changed(done, phase=phase)


def choose_output(shown: bool | None) -> Output | None:
    """Return the output that this process has for a line; None where none is to be shown."""
    if shown is False:
        return None
    console = Console(stderr=True)
    if console.is_jupyter:
        return Notebook()
    if console.is_terminal:
        return Terminal(console)
    return PlainLines() if shown else None


class Terminal:
    """A bar and the line, in place."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def start(self, line: Callable[[], str]) -> None:
        """Begin to show what line() returns."""
        self._progress = Progress(BarColumn(20), LineColumn(line), console=self._console, transient=True)
        self._task = self._progress.add_task("", total=1.0)
        self._progress.start()

    def changed(self, done: float, *, phase: bool) -> None:
        """Move the bar."""
        del phase
        self._progress.update(self._task, completed=done)

    def stop(self) -> None:
        """Remove the line."""
        self._progress.stop()


class LineColumn(ProgressColumn):
    """What a function returns at every refresh."""

    def __init__(self, line: Callable[[], str]) -> None:
        super().__init__()
        self._line = line

    def render(self, task: Task) -> Text:
        """Return the line as it is now."""
        del task
        return Text(self._line())


class Notebook:
    """The line as the output of a cell, which is replaced. It needs no widgets."""

    def __init__(self, refresh: float = REFRESH) -> None:
        self._refresh, self._ended = refresh, threading.Event()

    def start(self, line: Callable[[], str]) -> None:
        """Begin to show what line() returns."""
        from IPython.display import display  # pyright: ignore[reportMissingImports] it is there in notebooks

        handle = display({"text/plain": line()}, raw=True, display_id=True)
        assert handle is not None
        self._update = lambda: handle.update({"text/plain": line()}, raw=True)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def changed(self, done: float, *, phase: bool) -> None:
        """Do nothing: the next update is never far."""

    def stop(self) -> None:
        """Leave the line as it is."""
        self._ended.set()
        self._thread.join()
        self._update()

    def _run(self) -> None:
        # The clock goes on while everything else waits for the compiler, which works outside Python's lock.
        while not self._ended.wait(self._refresh):
            self._update()


class PlainLines:
    """A line for whatever begins, and one now and then while it goes on, to standard error."""

    def start(self, line: Callable[[], str]) -> None:
        """Begin to show what line() returns."""
        self._line, self._said = line, time.monotonic()

    def changed(self, done: float, *, phase: bool) -> None:
        """Print the line where something begins, or much time has passed."""
        del done
        if phase or time.monotonic() - self._said >= SELDOM:
            self._said = time.monotonic()
            print(self._line(), file=sys.stderr, flush=True)

    def stop(self) -> None:
        """Nothing is left to do."""


def _both(first: Callable[..., None], second: Callable[..., None] | None) -> Callable[..., None]:
    if second is None:
        return first

    def call(*arguments: Any) -> None:
        first(*arguments)
        second(*arguments)

    return call
