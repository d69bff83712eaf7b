"""CIFAR-10 from a folder, an archive, the cache or the network, as numpy arrays."""

import hashlib
import os
import warnings
from collections.abc import Callable, Collection, Iterable
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np

from airjax.data.archive import read_members
from airjax.data.cache import cache_folder, load_cached, save_cached, through_cache
from airjax.data.content import Split, describe_files
from airjax.data.dataset import CUSTOM, DataError, Dataset, named_by_content
from airjax.data.place import expand_readable, named_in_errors
from airjax.data.unpickle import load_plain_pickle

RECORD = 1 + 3 * 32 * 32  # bytes of an image in the binary layout: the label, then the red, green and blue planes
BATCH = 10_000  # images in a file
NAMES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
ARCHIVES = tuple(
    f"cifar-10-{layout}.{ending}" for layout in ("binary", "python") for ending in ("tar.gz", "tgz", "tar", "zip")
)

WHERE = (
    "Put cifar-10-binary.tar.gz or cifar-10-python.tar.gz, or the folder that either unpacks to, somewhere, and name "
    "the place with --data-dir or AIRJAX_DATA; or use --data synthetic, which needs no files. Images of your own are "
    "named with --data (docs/data.md)"
)


class Layout(NamedTuple):
    """One of the two official forms."""

    folder: str  # that its archive unpacks to
    ending: str  # of its files
    parse: Callable[[bytes, str], Split]  # a file's bytes and its name -> the examples in it

    @property
    def files(self) -> tuple[str, ...]:
        """Names of its files."""
        return tuple(name + self.ending for name in NAMES)


def load_cifar10(data_dir: str | Path | None = None, *, download: bool = True) -> Dataset:
    """CIFAR-10: from data_dir, else from AIRJAX_DATA, else from the user's cache, else from the network.

    Args:
        data_dir: the official binary folder, the official python folder, either archive (.tar.gz, .tgz, .tar
            or .zip), or a folder with one of these.
        download: whether to use the network where nothing else is there.

    Warns where the official images are in another order, and where they are other images: the data set then has the
    name "custom".

    Raises:
        DataError: not found, not to be downloaded, or damaged. A place that was named is never passed over.
    """
    named = data_dir or os.environ.get("AIRJAX_DATA")
    if named:
        place = expand_readable(named)
        with named_in_errors(place):
            return _named_by_content(_load_named(place), place)
    cached = load_cached(_cache_file("official"))
    if cached is not None:
        return cached
    if not download:
        raise DataError(f"CIFAR-10 is not in the cache, {cache_folder()}. {WHERE}")
    from airjax.data.download import download_archive

    archive = download_archive(cache_folder())
    dataset = read_archive(archive.read_bytes(), str(archive))
    save_cached(_cache_file("official"), dataset)
    return dataset


def read_archive(content: bytes, source: str) -> Dataset:
    """CIFAR-10 from an archive's bytes, without unpacking it to disk. Raises DataError, which names the source.

    Of several folders in it the outermost counts that has all of the files.
    """
    members = read_members(content, source, {name for layout in LAYOUTS for name in layout.files})
    folders = sorted({path.parent for path in members}, key=lambda folder: (len(folder.parts), folder))
    for folder in folders:
        for layout in LAYOUTS:
            if all(folder / name in members for name in layout.files):
                return _assemble(layout, (members[folder / name] for name in layout.files), source)
    if not members:
        raise DataError(f"{source}: has no data_batch_1, so it is not a CIFAR-10 archive. {WHERE}")
    raise DataError(f"{source}: has no {_first_missing(members)}; the archive is incomplete. Fetch it again")


def _first_missing(members: Collection[PurePath]) -> str:
    # Of the layout and the folder that most members belong to.
    groups = [{path.name for path in members if path.parent == folder} for folder in {m.parent for m in members}]
    most, layout = max(
        ((group & set(layout.files), layout) for group in groups for layout in LAYOUTS), key=lambda pair: len(pair[0])
    )
    return next(name for name in layout.files if name not in most)


def has_cifar10(folder: Path) -> bool:
    """Whether a folder has any of the files that `load_cifar10` reads."""
    files = (inner / name for inner in _folders(folder) for layout in LAYOUTS for name in layout.files)
    return any(file.is_file() for file in (*files, *(folder / name for name in ARCHIVES)))


def _folders(place: Path) -> list[Path]:
    return [place, *(place / name for name, *_ in LAYOUTS), *(place / name / name for name, *_ in LAYOUTS)]


def _load_named(place: Path) -> Dataset:
    partly: list[Path] = []
    for folder in _folders(place):
        for layout in LAYOUTS:
            missing = [folder / name for name in layout.files if not (folder / name).is_file()]
            if not missing:
                return _read_folder(folder, layout)
            if len(missing) < len(layout.files):
                partly += missing[:1]
    for archive in (place, *(place / name for name in ARCHIVES)):
        if archive.is_file():
            content = _read_file(archive)
            return _through_cache([content], lambda: read_archive(content, str(archive)))  # noqa: B023 called here
    if partly:
        raise DataError(f"{partly[0]} is missing. The folder is incomplete; unpack the archive again")
    if not place.exists():
        raise DataError(f"{place} does not exist. {WHERE}")
    raise DataError(f"{place} holds no CIFAR-10. {WHERE}")


def _read_folder(folder: Path, layout: Layout) -> Dataset:
    contents = [_read_file(folder / name) for name in layout.files]
    return _through_cache(contents, lambda: _assemble(layout, contents, str(folder)))


def _read_file(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: {error.strerror or error}; it cannot be read") from error


def _through_cache(contents: list[bytes], read: Callable[[], Dataset]) -> Dataset:
    # Keyed by all bytes of the files: their sizes and times may stay while they change.
    sha = hashlib.sha256()
    for content in contents:
        sha.update(content)
    return through_cache(_cache_file(sha.hexdigest()[:16]), read)


def _cache_file(key: str) -> Path:
    return cache_folder() / f"cifar10-{key}.safetensors"


def _named_by_content(dataset: Dataset, place: Path) -> Dataset:
    # Warns the caller of load_cifar10 where the content is not the official one.
    if dataset.content == "official":
        return dataset
    if dataset.content == "shuffled":
        warnings.warn(
            f"{place} holds CIFAR-10's images in another order than the official one: the first images, from which the "
            "whitening filters come, and on which small recipes train, are others",
            stacklevel=3,
        )
        return dataset
    parts = {
        name: Split(dataset.train_images[first : first + BATCH], dataset.train_labels[first : first + BATCH])
        for name, first in zip(NAMES, range(0, len(NAMES) * BATCH, BATCH), strict=True)
    } | {"test_batch": Split(dataset.test_images, dataset.test_labels)}
    warnings.warn(
        f"{place} has the form of CIFAR-10 but not its content ({describe_files(parts)}): it is taken as data of your "
        f'own, named "{CUSTOM}", and says nothing about CIFAR-10. If it should be CIFAR-10, fetch the archive again',
        stacklevel=3,
    )
    return named_by_content(dataset)


def _assemble(layout: Layout, contents: Iterable[bytes], source: str) -> Dataset:
    parts = [layout.parse(content, f"{source}: {name}") for name, content in zip(layout.files, contents, strict=True)]
    images, labels = (np.concatenate(column) for column in zip(*parts[:-1], strict=True))
    return Dataset("cifar10", images, labels, *parts[-1])


def _parse_binary(content: bytes, name: str) -> Split:
    if len(content) != BATCH * RECORD:
        raise DataError(f"{name} has {len(content)} bytes, but {BATCH * RECORD} are expected. Unpack the archive again")
    records = np.frombuffer(content, np.uint8).reshape(BATCH, RECORD)
    return Split(_to_images(records[:, 1:]), records[:, 0].astype(np.int32))


def _parse_python(content: bytes, name: str) -> Split:
    batch = load_plain_pickle(content, name)
    try:
        pixels, labels = batch[b"data"], np.asarray(batch[b"labels"])
        fits = pixels.shape == (BATCH, RECORD - 1) and pixels.dtype == np.uint8 and labels.shape == (BATCH,)
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(f"{name}: not a CIFAR-10 batch ({error!r}). Unpack the archive again") from error
    if not fits:
        raise DataError(f"{name}: not {BATCH} images of {RECORD - 1} bytes with a label each. Unpack the archive again")
    if labels.dtype.kind not in "iu":
        raise DataError(f"{name}: labels are {labels.dtype}, such as {labels[0]}; need whole numbers from 0 to 9")
    if not (labels.min() >= 0 and labels.max() <= 9):
        wrong = labels[(labels < 0) | (labels > 9)][0]
        raise DataError(f"{name}: labels must be whole numbers from 0 to 9, but one is {wrong}")
    return Split(_to_images(pixels), labels.astype(np.int32))


def _to_images(planes: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


LAYOUTS = (Layout("cifar-10-batches-bin", ".bin", _parse_binary), Layout("cifar-10-batches-py", "", _parse_python))
