"""Data sets that have official files: where those are looked for, and how what they hold is kept in the cache."""

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from airjax.data.cache import cache_folder, load_cached, through_cache
from airjax.data.dataset import DataError, Dataset
from airjax.data.download import Remote, download
from airjax.data.place import expand_readable, named_in_errors


class Found(NamedTuple):
    """The files of a data set at a place."""

    key: str  # a digest of all their bytes: sizes and times may stay while those change
    read: Callable[[], Dataset]


class Official(NamedTuple):
    """A data set with official files."""

    name: str
    title: str  # as messages call it
    variable: str  # of the environment: names the place of the files
    remotes: tuple[Remote, ...]  # what is downloaded where nothing is there
    where: str  # what to do where nothing is found, in sentences
    find: Callable[[Path], Found]  # in a place that may hold them; raises DataError where it does not
    checked: Callable[[Dataset, Path], Dataset]  # warns of other content than the official one, and may rename it


def load_official(official: Official, data_dir: str | Path | None, *, download_files: bool) -> Dataset:
    """Load the data set: from data_dir, else from the place that its variable names, the user's cache or the network.

    Raises DataError where it is not found, not to be downloaded, or damaged. A place that was named is never passed
    over.
    """
    if named := data_dir or os.environ.get(official.variable):
        place = expand_readable(named)
        with named_in_errors(place):
            found = official.find(place)
            return official.checked(through_cache(_cache_file(official, found.key[:16]), found.read), place)
    file = _cache_file(official, "official")
    if (cached := load_cached(file)) is not None:
        return cached
    if not download_files:
        raise DataError(f"{official.title} is not in the cache, {cache_folder()}. {official.where}")
    remedy = f"name its folder or archive with --data-dir or {official.variable}"
    files = [download(remote, cache_folder(), official.title, remedy) for remote in official.remotes]
    with named_in_errors(files[0]):
        return through_cache(file, official.find(files[0]).read)


def digest_bytes(contents: Iterable[bytes]) -> str:
    """SHA-256 of all bytes, as hexadecimal digits."""
    sha = hashlib.sha256()
    for content in contents:
        sha.update(content)
    return sha.hexdigest()


def digest_file(file: Path, algorithm: str = "sha256") -> str:
    """Hash a file block by block, and return the hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


def _cache_file(official: Official, key: str) -> Path:
    return cache_folder() / f"{official.name}-{key}.safetensors"
