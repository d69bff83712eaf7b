"""Signals that ask a training to stop between two of its calls, so that a snapshot can be written."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


class StopRequest:
    """Whether a signal has asked to stop, and which."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __call__(self) -> bool:
        """Say whether to stop."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """Return the exit code of a process that a signal ended: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + (self.signal or 0)


class TerminatedError(KeyboardInterrupt):
    """SIGTERM, where it ends what Ctrl-C does."""

    exit_code = 128 + signal.SIGTERM


def exit_code_of(interrupted: KeyboardInterrupt) -> int:
    """Return the exit code of a command that was interrupted: 143 by SIGTERM, 130 by Ctrl-C."""
    return interrupted.exit_code if isinstance(interrupted, TerminatedError) else 128 + signal.SIGINT


@contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """Have SIGTERM raise TerminatedError in the block, as Ctrl-C raises KeyboardInterrupt."""

    def end(*_: object) -> NoReturn:
        raise TerminatedError("ended by SIGTERM")

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def watch_signals() -> Iterator[StopRequest]:
    """Take SIGTERM and Ctrl-C as requests; a second one interrupts at once."""
    request = StopRequest()

    def ask(number: int, _: FrameType | None) -> None:
        if request.signal is not None:
            raise KeyboardInterrupt
        request.signal = number
        print("stopping after the steps under way; a second signal stops at once", file=sys.stderr, flush=True)

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
