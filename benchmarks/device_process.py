"""A command under a time limit, with everything that it starts."""

import contextlib
import os
import signal
import subprocess
from pathlib import Path

from benchmarks.children import bound


def run_limited(
    command: list[str], folder: Path, environment: dict[str, str], log: Path, limit: float, grace: float
) -> tuple[int, bool]:
    """Run a command in a folder, its output in a log. Returns its exit code, and whether the limit ended it.

    At the limit, and where this process is interrupted, it gets SIGINT, and SIGKILL `grace` seconds later. What it has
    started ends with it; on Linux it ends with this process, too.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            bound(command),
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            return process.wait(limit), False
        except subprocess.TimeoutExpired:
            return _stop(process, grace), True
        except BaseException:
            _stop(process, grace)
            raise
        finally:
            _signal(process, signal.SIGKILL)


def _stop(process: "subprocess.Popen[bytes]", grace: float) -> int:
    _signal(process, signal.SIGINT)
    try:
        return process.wait(grace)
    except subprocess.TimeoutExpired:
        _signal(process, signal.SIGKILL)
        return process.wait()


def _signal(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    # To all of its session's processes, if any are left.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
