"""What a sweep's workers are doing, for whoever watches: one small file for each, in the sweep's folder.

    DIR/phases/WORKER        "loading data", "self-check", "compiling", ... while it works on a chunk

Only for display: a file that cannot be written or read is passed over.
"""

import contextlib
import shutil
from pathlib import Path

FOLDER = "phases"


def write_phase(out: Path, worker: str, phase: str | None) -> None:
    """Say what a worker is doing; None is nothing."""
    file = out / FOLDER / worker
    with contextlib.suppress(OSError):
        if phase is None:
            file.unlink(missing_ok=True)
        else:
            file.parent.mkdir(exist_ok=True)
            file.write_text(phase)


def read_phases(out: Path) -> dict[str, str]:
    """Return what each worker of a sweep is doing, by its name."""
    found = {}
    for file in sorted((out / FOLDER).glob("*")):
        with contextlib.suppress(OSError):
            if phase := file.read_text():  # empty between its creation and its first byte
                found[file.name] = phase
    return found


def clear_phases(out: Path) -> None:
    """Forget what workers were doing: of a process that died, nobody else does."""
    shutil.rmtree(out / FOLDER, ignore_errors=True)
