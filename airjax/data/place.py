"""Places that people name: paths that may be missing, unreadable, or no paths at all."""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from airjax.data.dataset import DataError

LONGEST = 200  # characters of a path that a message shows
ABSENT = (errno.ENOENT, errno.ENOTDIR)


def expand(place: str | Path) -> Path:
    """Return a path with its `~` replaced. Raises DataError where nobody knows what that is."""
    try:
        return Path(place).expanduser()
    except RuntimeError as error:
        raise DataError(f"{place}: this user has no home folder; write the whole path, or set HOME") from error


def expand_readable(place: str | Path) -> Path:
    """Return a path with its `~` replaced. Raises DataError where it cannot be one, or may not be looked at."""
    path = expand(place)
    with named_in_errors(path):
        try:
            path.stat()
        except ValueError as error:  # a null character
            raise DataError(f"{shortened(path)!r} is not a path: {error}") from error
        except OSError as error:
            if error.errno not in ABSENT:
                raise
    return path


def resolved(place: str | Path | None) -> str | None:
    """Return a path as it can be found from anywhere; None is none."""
    return None if place is None else str(Path(place).expanduser().resolve())


@contextlib.contextmanager
def named_in_errors(place: Path) -> Iterator[None]:
    """Turn an OSError into a DataError that names its file, or else the place."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{shortened(error.filename or place)} cannot be read: {error.strerror or error}") from error


def shortened(place: object) -> str:
    """Return a path as messages show it."""
    text = str(place)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text):,} characters)"
