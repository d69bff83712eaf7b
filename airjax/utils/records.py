"""Results on disk: whole files written atomically, and line-by-line logs that survive being cut off."""

import contextlib
import errno
import json
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


def write_atomically(file: Path, content: bytes) -> None:
    """Replace a file's content, as `replacing` does. Raises OSError."""
    with replacing(file) as stream:
        stream.write(content)


@contextlib.contextmanager
def replacing(file: Path) -> Iterator[IO[bytes]]:
    """Replace a file's content by what the block writes to the stream, which need not fit into memory.

    After a crash at any moment the file has either the old or the new content, complete. A link stays a link, and a
    device or pipe is written to as it is. Raises OSError, which names the file, or the folder that is missing.
    """
    file = Path(os.path.realpath(file))
    if not file.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "No such folder", str(file.parent))
    if file.exists() and not file.is_file():  # opening a folder raises
        with _named_in_errors(file), file.open("wb") as stream:
            yield stream
        return
    with _named_in_errors(file):
        handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with _named_in_errors(file), os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(file.parent)


def dump_json(value: Any, *, indent: int | None = None) -> str:
    """Return a value as JSON text: null for NaN and infinity, which JSON does not have."""
    return json.dumps(plain(value), indent=indent, allow_nan=False)


def write_json(file: Path, value: Any) -> None:
    """Replace a file by a value as indented JSON."""
    write_atomically(file, (dump_json(value, indent=2) + "\n").encode())


def append_line(file: Path, record: dict[str, Any]) -> None:
    """Append a record as one line of JSON and wait until it is on disk. A torn last line is ended first.

    Raises OSError, which names the file.
    """
    line = dump_json(record).encode() + b"\n"
    with _named_in_errors(file), file.open("a+b") as stream:
        if stream.tell() > 0:
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":
                line = b"\n" + line
        stream.write(line)
        stream.flush()
        os.fsync(stream.fileno())
    sync_folder(file.parent)


def read_lines(file: Path) -> list[dict[str, Any]]:
    """Read the complete records of a log, in order; none where there is no file. Torn lines are left out."""
    if not file.exists():
        return []
    records = []
    for line in file.read_bytes().splitlines():
        try:
            record = json.loads(line)
        except ValueError:  # a line that a crash cut short, or bytes that are no text
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


def lock_folder(folder: Path) -> IO[str]:
    """Make a folder if it is missing and hold its file `lock`, until the returned stream is closed.

    The lock ends with the process, however that ends. Raises BlockingIOError where another process holds it, and other
    kinds of OSError where the folder cannot be written.
    """
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    stream = (folder / "lock").open("w")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        stream.close()
        raise
    return stream


def hold_folder(out: Path, error: type[Exception]) -> IO[str]:
    """Hold a folder as `lock_folder` does, for a command whose users read an error of this kind. Raises it."""
    try:
        return lock_folder(out)
    except BlockingIOError as busy:
        raise error(f"another process is writing to {out}; wait for it, or choose another --out") from busy
    except OSError as failed:
        raise error(f"cannot write to --out {out}: {failed.strerror or failed}") from failed


def require_writable(folder: Path, option: str, kind: type[Exception] = ValueError) -> None:
    """Raise an error of a kind, which names the option, for a folder that cannot be made or written to.

    Nothing is made. For what is written after minutes or hours of work.
    """
    try:
        there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    except OSError as error:
        raise kind(f"cannot write to {option} {folder}: {error.strerror}") from error
    if not there.is_dir():
        raise kind(f"cannot write to {option} {folder}: {there} is no folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise kind(f"cannot write to {option} {folder}: {there} is not yours to write to")


def plain(value: Any) -> Any:
    """Return a value with None for every number that JSON does not have, and lists for tuples."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextlib.contextmanager
def _named_in_errors(file: Path) -> Iterator[None]:
    # The error of a full disk names no file, and that of a temporary file the wrong one.
    try:
        yield
    except OSError as error:
        error.filename = str(file)
        raise


def _umask() -> int:
    # The only way to read it is to set it.
    current = os.umask(0)
    os.umask(current)
    return current


def sync_folder(folder: Path) -> None:
    """Wait until the names of a folder's files are on disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
