"""What a sweep's workers are doing, for whoever watches: one small file for each, in the sweep's folder.

    DIR/phases/WORKER        "3 training" while it works on a chunk: networks of the chunk that are finished, and
                             "loading data", "self-check", "compiling", ...

Only for display: a file that cannot be written or read is passed over.
"""

import contextlib
import shutil
from pathlib import Path
from typing import NamedTuple

FOLDER = "phases"


class Doing(NamedTuple):
    """What a worker is doing."""

    phase: str
    finished: int = 0  # networks of its chunk


def write_phase(out: Path, worker: str, phase: str | None, finished: int = 0) -> None:
    """Say what a worker is doing; None is nothing."""
    file = out / FOLDER / worker
    with contextlib.suppress(OSError):
        if phase is None:
            file.unlink(missing_ok=True)
        else:
            file.parent.mkdir(exist_ok=True)
            file.write_text(f"{finished} {phase}")


def read_phases(out: Path) -> dict[str, Doing]:
    """Return what each worker of a sweep is doing, by its name."""
    found = {}
    for file in sorted((out / FOLDER).glob("*")):
        with contextlib.suppress(OSError, ValueError):  # empty between its creation and its first byte
            finished, phase = file.read_text().split(" ", 1)
            found[file.name] = Doing(phase, int(finished))
    return found


def clear_phases(out: Path) -> None:
    """Forget what workers were doing: of a process that died, nobody else does."""
    shutil.rmtree(out / FOLDER, ignore_errors=True)
