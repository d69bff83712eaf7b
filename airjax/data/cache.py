"""The user's cache of parsed data sets: one checksummed file each, written whole or not at all."""

import contextlib
import functools
import hashlib
import json
import os
import stat
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from airjax.data.content import digest
from airjax.data.dataset import DataError, Dataset, named_by_content
from airjax.data.info import Statistics
from airjax.data.place import ABSENT, expand
from airjax.utils.records import write_atomically

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
# In the metadata; CIFAR-10's first caches lack them.
DETAILS = ("classes", "statistics", "symmetric", "split", "resized", "verified")


def cache_folder() -> Path:
    """AIRJAX_CACHE, or airjax/ in the user's cache folder; without a home, a folder among temporary files.

    Raises DataError for a `~` in AIRJAX_CACHE where there is no home.
    """
    if named := os.environ.get("AIRJAX_CACHE"):
        return expand(named)
    if general := os.environ.get("XDG_CACHE_HOME"):
        return Path(general) / "airjax"
    try:
        return Path.home() / ".cache" / "airjax"
    except RuntimeError:  # a container's bare user id: neither HOME nor an entry among the users
        return _temporary_folder(tempfile.gettempdir())


@functools.cache  # where another one is made, it is the same for all files
def _temporary_folder(parent: str) -> Path:
    folder = Path(parent) / f"airjax-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        # Compiled programs are read from it: nobody else may write there, or have put a link there.
        status = folder.lstat()
        own = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022
        return folder if own else Path(tempfile.mkdtemp(prefix="airjax-"))
    except OSError as error:
        raise DataError(
            f"no folder for the cache: this user has no home, and {folder}: {error.strerror}; set AIRJAX_CACHE"
        ) from error


def save_cached(file: Path, dataset: Dataset) -> None:
    """Write a data set to the cache. Warns and goes on where the cache cannot be written."""
    from safetensors.numpy import save

    arrays = {name: getattr(dataset, name) for name in ARRAYS}
    details = {name: getattr(dataset, name) for name in DETAILS}
    told = {"name": dataset.name, "details": json.dumps(details)}
    metadata = told | {"sha256": dataset.fingerprint, "told": _digest_of(told)}
    content = save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, metadata)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, content)
    except OSError as error:
        warnings.warn(
            f"{file}: cannot write the cache ({error.strerror or error}); parsing again next time", stacklevel=2
        )


def load_cached(file: Path) -> Dataset | None:
    """Load a data set from the cache; None where it is not there.

    A damaged file is warned about, and removed; one that may not be read is warned about.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with file.open("rb"):
            pass
    except OSError as error:
        if error.errno not in ABSENT:
            warnings.warn(f"{file}: cannot read the cache ({error.strerror}); reading the source again", stacklevel=2)
        return None
    try:
        with safe_open(file, framework="numpy") as content:
            metadata = content.metadata() or {}
            arrays: list[Any] = [np.array(content.get_tensor(name)) for name in ARRAYS]
    except (SafetensorError, OSError) as error:
        return _damaged(file, str(error))
    found = digest(arrays)
    if found != metadata.get("sha256"):
        return _damaged(file, f"sha256 is {found}, expected {metadata.get('sha256')}")
    # Caches of earlier versions have no digest of what is told of the arrays.
    if metadata.get("told") not in (None, _digest_of(metadata)):
        return _damaged(file, "what it says of its arrays has another checksum")
    try:
        dataset = Dataset(metadata["name"], *arrays, **_read_details(metadata))
    except (KeyError, TypeError, ValueError, AttributeError, DataError) as error:
        return _damaged(file, f"{type(error).__name__}: {error}")
    dataset.__dict__["fingerprint"] = found  # what the property would compute once more
    return dataset


def _digest_of(told: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps([told.get("name"), told.get("details")]).encode()).hexdigest()


def _read_details(metadata: dict[str, str]) -> dict[str, Any]:
    details = json.loads(metadata.get("details", "{}"))
    if details:
        details["classes"] = tuple(details["classes"])
        details["statistics"] = details["statistics"] and Statistics(*map(tuple, details["statistics"]))
    return details


def through_cache(file: Path, read: Callable[[], Dataset]) -> Dataset:
    """Return the data set in a file of the cache; where it has none, read it, and put it there."""
    cached = load_cached(file)
    if cached is None:
        cached = read()
        save_cached(file, cached)
    return cached


def find_cached(fingerprint: str) -> Dataset | None:
    """Find the data set in the cache that has a fingerprint, named by its content; None where it has none."""
    from safetensors import SafetensorError, safe_open

    try:
        files = sorted(cache_folder().glob("*.safetensors"))
    except OSError:  # a folder that may not be looked into
        return None
    for file in files:
        try:
            with safe_open(file, framework="numpy") as content:
                found = (content.metadata() or {}).get("sha256") == fingerprint
        except (SafetensorError, OSError):
            continue
        if found and (dataset := load_cached(file)) is not None:
            return named_by_content(dataset)
    return None


def _damaged(file: Path, reason: str) -> None:
    warnings.warn(f"{file}: the cached data set is damaged ({reason}); reading it from its source again", stacklevel=3)
    with contextlib.suppress(OSError):  # on a disk that is only read
        file.unlink(missing_ok=True)
