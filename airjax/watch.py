"""What a sweep shows while it runs: a live table of its settings on a terminal, plain lines elsewhere."""

import math
import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table

from airjax.plan import Plan, title
from airjax.stats import mean_interval
from airjax.workers import Outcome

LINE_EVERY = 10.0  # seconds between two plain lines
SHOWN = 30  # settings in the live table: more do not fit on a terminal


class Watch:
    """Counts the networks of a sweep as they come in. A context manager."""

    def __init__(self, console: Console, plan: Plan, total: int) -> None:
        self._console, self._plan, self._total = console, plan, total
        self.done = self.failed = self.diverged = 0
        self._accuracies: dict[int, list[float]] = {}
        self._began, self._said = time.monotonic(), -math.inf
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
        """Some networks of a chunk that failed were finished before it did."""
        self.done += count

    def add(self, outcomes: list[Outcome]) -> None:
        """Some networks are finished, or given up."""
        self.done += len(outcomes)
        for outcome in outcomes:
            self.diverged += outcome.diverged
            if outcome.error is not None:
                self.failed += 1
                self._print(f"network {outcome.id} failed: {outcome.error}")
            if outcome.accuracy is not None:
                self._accuracies.setdefault(outcome.setting, []).append(100 * outcome.accuracy)
        if self._live:
            self._live.update(self.table(), refresh=True)
        elif time.monotonic() - self._said >= LINE_EVERY:
            self.line()

    def line(self) -> None:
        """Print where the sweep is."""
        self._said = time.monotonic()
        self._print(self._state())

    def table(self) -> Table:
        """The settings that have networks, and how they do."""
        table = Table(title=self._state(), title_justify="left", box=None)
        for heading in ("setting", "n", "accuracy, %", "95% interval"):
            table.add_column(heading)
        for index, values in sorted(self._accuracies.items())[:SHOWN]:
            interval = mean_interval(values)
            spread = f"{interval[0]:.2f} to {interval[1]:.2f}" if interval else ""
            table.add_row(
                title(self._plan.settings[index].described),
                str(len(values)),
                f"{sum(values) / len(values):.2f}",
                spread,
            )
        return table

    def _state(self) -> str:
        per_hour = 3600 * self.done / max(1e-9, time.monotonic() - self._began)
        text = f"{self.done} of {self._total} networks, {self.failed} failed, {self.diverged} diverged"
        if 0 < self.done < self._total:
            text += f", {per_hour:,.0f} an hour, {_hours((self._total - self.done) / per_hour)} left"
        return text

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def _hours(hours: float) -> str:
    minutes = math.ceil(60 * hours)
    return f"{minutes} min" if minutes < 120 else f"{hours:,.1f} h"
