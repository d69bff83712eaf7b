"""What a sweep shows while it runs: a live table of its settings on a terminal, plain lines elsewhere."""

import math
import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table

from airjax.stats.intervals import mean_interval
from airjax.sweep.plan import Plan, title
from airjax.sweep.status import Doing
from airjax.sweep.worker import Outcome
from airjax.utils.units import format_seconds

LINE_EVERY = 10.0  # seconds between two plain lines about networks
SILENCE = 60.0  # seconds after which a plain line says what the workers are doing
SHOWN = 30  # settings in the live table: more do not fit on a terminal


class Watch:
    """Counts the networks of a sweep as they come in. A context manager.

    Args:
        console: where it is shown.
        plan: the sweep's.
        total: networks that are to come in.
        read: what each worker is doing, by its name (`airjax.sweep.status.read_phases`).
        clock: seconds since whenever.
    """

    def __init__(
        self,
        console: Console,
        plan: Plan,
        total: int,
        read: Callable[[], dict[str, Doing]] = dict,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console, self._plan, self._total, self._read, self._clock = console, plan, total, read, clock
        self.done = self.failed = self.diverged = 0
        self._accuracies: dict[int, list[float]] = {}
        self._began, self._said = self._clock(), -math.inf
        self._workers: dict[str, tuple[str, float]] = {}  # what each is doing, and since when
        self._under_way = 0  # finished networks of chunks that are not in
        self._doing: list[str] = []  # what the last plain line said of them
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> "Watch":
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()
        self.line()

    def kept(self, count: int) -> None:
        """Count networks of a failed chunk that were finished before it failed."""
        self.done += count
        self._under_way = _count(self._read())

    def add(self, outcomes: list[Outcome]) -> None:
        """Count networks that are finished, or given up."""
        self.done += len(outcomes)
        self._under_way = _count(self._read())  # no longer those of this chunk
        for outcome in outcomes:
            self.diverged += outcome.diverged
            if outcome.error is not None:
                self.failed += 1
                print_line(self._console, f"network {outcome.id} failed: {outcome.error}")
            if outcome.accuracy is not None:
                self._accuracies.setdefault(outcome.setting, []).append(100 * outcome.accuracy)
        if self._live:
            self._live.update(self.table(), refresh=True)
        elif self._clock() - self._said >= LINE_EVERY:
            self.line()

    def refresh(self) -> None:
        """Show what the workers are doing now: to be called about once a second."""
        now, found = self._clock(), self._read()
        self._workers = {
            name: self._workers[name] if self._workers.get(name, ("",))[0] == phase else (phase, now)
            for name, (phase, _) in found.items()
        }
        self._under_way = _count(found)
        doing = sorted(phase for phase, _ in self._workers.values())
        if self._live:
            self._live.update(self.table(), refresh=True)
        elif (not self._finished and doing != self._doing) or now - self._said >= SILENCE:
            self._doing = doing
            self.line()

    def line(self) -> None:
        """Print where the sweep is."""
        self._said = self._clock()
        print_line(self._console, ", ".join(self._lines()[: 1 if self._live else None]))

    def table(self) -> Table:
        """Return the settings that have networks, and how they do."""
        table = Table(
            title="\n".join(self._lines()), title_justify="left", box=None, show_header=bool(self._accuracies)
        )
        table.add_column("setting", overflow="fold")
        for heading in ("n", "accuracy, %", "95% interval"):
            table.add_column(heading, no_wrap=True)
        for index, values in sorted(self._accuracies.items())[:SHOWN]:
            interval = mean_interval(values, whole=100.0)
            spread = f"{interval[0]:.2f} to {interval[1]:.2f}" if interval else ""
            table.add_row(
                title(self._plan.settings[index].described),
                str(len(values)),
                f"{sum(values) / len(values):.2f}",
                spread,
            )
        return table

    @property
    def _finished(self) -> int:
        return min(self.done + self._under_way, self._total)

    def _state(self) -> str:
        finished = self._finished
        per_hour = 3600 * finished / max(1e-9, self._clock() - self._began)
        text = f"{finished} of {self._total} networks, {self.failed} failed, {self.diverged} diverged"
        if 0 < finished < self._total:
            text += f", {per_hour:,.0f} an hour, {format_seconds(3600 * (self._total - finished) / per_hour)} left"
        return text

    def _lines(self) -> list[str]:
        ongoing = self.done < self._total and (self._workers or not self.done)
        return [self._state(), self._activity()] if ongoing else [self._state()]

    def _activity(self) -> str:
        # What most workers are doing comes first; the clock is that of the one that has done it for the longest.
        now = self._clock()
        if not self._workers:
            return f"starting workers ({format_seconds(now - self._began)})"
        since: dict[str, list[float]] = {}
        for phase, start in self._workers.values():
            since.setdefault(phase, []).append(start)
        parts = sorted(since.items(), key=lambda item: -len(item[1]))
        texts = [f"{len(starts)} {phase} ({format_seconds(now - min(starts))})" for phase, starts in parts]
        return f"worker{'s' * (len(self._workers) != 1)}: {', '.join(texts)}"


def _count(found: dict[str, Doing]) -> int:
    return sum(doing.finished for doing in found.values())


def print_line(console: Console, text: str) -> None:
    """Print a line; a terminal breaks it between words, not inside numbers."""
    console.print(text, highlight=False, markup=False, soft_wrap=not console.is_terminal)
