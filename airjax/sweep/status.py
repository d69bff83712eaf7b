"""What a sweep's workers are doing, for whoever watches: one small file for each, in the sweep's folder.

    DIR/phases/WORKER        "3 training" while it works on a chunk: networks of the chunk that are finished, and
                             "loading data", "self-check", "compiling", ...
    DIR/phases/2-of-8/...    the same of a shard's workers, which the other shards neither count nor clear

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


def phases_of(out: Path, shard: str = "") -> Path:
    """Return the folder in which the workers of a sweep say what they do, or of a shard of it, such as "2-of-8"."""
    return out / FOLDER / shard


def write_phase(folder: Path, worker: str, phase: str | None, finished: int = 0) -> None:
    """Say in the folder of `phases_of` what a worker is doing; None is nothing."""
    file = folder / worker
    with contextlib.suppress(OSError):
        if phase is None:
            file.unlink(missing_ok=True)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{finished} {phase}")


def read_phases(folder: Path) -> dict[str, Doing]:
    """Return what each worker that says so in the folder of `phases_of` is doing, by its name."""
    found = {}
    for file in sorted(folder.glob("*")):
        with contextlib.suppress(OSError, ValueError):  # empty between its creation and its first byte
            finished, phase = file.read_text().split(" ", 1)
            found[file.name] = Doing(phase, int(finished))
    return found


def clear_phases(folder: Path) -> None:
    """Forget what workers were doing: of a process that died, nobody else does."""
    shutil.rmtree(folder, ignore_errors=True)
