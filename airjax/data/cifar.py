"""What CIFAR-10 and CIFAR-100 share: pickled or binary files of colour planes, in a folder or an archive."""

import hashlib
import warnings
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np

from airjax.data.archive import LIMIT, read_members
from airjax.data.content import Split
from airjax.data.dataset import DataError, Dataset
from airjax.data.official import Found, digest_bytes
from airjax.data.unpickle import load_plain_pickle

PIXELS = 3 * 32 * 32  # bytes of an image: its red, green and blue planes


class Layout(NamedTuple):
    """One of the two official forms of a data set."""

    folder: str  # that its archive unpacks to
    files: tuple[str, ...]  # names; the last is the test split
    binary: bool  # records of label bytes and pixels; else pickles
    md5: tuple[str, ...] = ()  # of the files, as published; () where their content is known otherwise


class Form(NamedTuple):
    """How the files of a data set hold its images and labels."""

    name: str  # of the data set
    title: str  # as messages call it
    layouts: tuple[Layout, ...]
    sizes: tuple[int, ...]  # images in each file
    classes: tuple[str, ...]
    label_bytes: int  # of a binary record, before its pixels
    label_byte: int  # which of them is the label
    label_key: bytes  # of the labels in a pickle
    archives: tuple[str, ...]  # names of archives that are looked for in a folder
    archive_md5: tuple[str, ...]  # of those that are published
    where: str  # what to do where nothing is found, in sentences


def archive_names(stem: str) -> tuple[str, ...]:
    """Names that an archive of either layout may have: cifar-10-binary.tar.gz, ..."""
    endings = ("tar.gz", "tgz", "tar", "zip")
    return tuple(f"{stem}-{layout}.{ending}" for layout in ("binary", "python") for ending in endings)


def has_files(form: Form, folder: Path) -> bool:
    """Say whether a folder has any of the files that `find_files` looks for."""
    files = (inner / name for inner in _folders(form, folder) for layout in form.layouts for name in layout.files)
    return any(file.is_file() for file in (*files, *(folder / name for name in form.archives)))


def find_files(form: Form, place: Path) -> Found:
    """Find a data set in a folder, in an archive, or in a folder with one of these. Raises DataError."""
    partly: list[Path] = []
    for folder in _folders(form, place):
        for layout in form.layouts:
            missing = [folder / name for name in layout.files if not (folder / name).is_file()]
            if not missing:
                return _found_folder(form, folder, layout)
            if len(missing) < len(layout.files):
                partly += missing[:1]
    for archive in (place, *(place / name for name in form.archives)):
        if archive.is_file():
            return _found_archive(form, archive)
    if partly:
        raise DataError(f"{partly[0]} is missing. The folder is incomplete; unpack the archive again")
    if not place.exists():
        raise DataError(f"{place} does not exist. {form.where}")
    raise DataError(f"{place} holds no {form.title}. {form.where}")


def read_archive(form: Form, content: bytes, source: str) -> Dataset:
    """Read a data set from an archive's bytes, without unpacking it to disk. Raises DataError, which names the source.

    Of several folders in it the outermost counts that has all of the files.
    """
    members = read_members(content, source, form.title, {name for layout in form.layouts for name in layout.files})
    folders = sorted({path.parent for path in members}, key=lambda folder: (len(folder.parts), folder))
    for folder in folders:
        for layout in form.layouts:
            if all(folder / name in members for name in layout.files):
                dataset = _assemble(form, layout, [members[folder / name] for name in layout.files], source)
                if dataset.verified or not form.archive_md5:
                    return dataset
                whole = hashlib.md5(content).hexdigest() in form.archive_md5
                return dataset.known_by_files() if whole else dataset
    if not members:
        first = form.layouts[-1].files[0]
        raise DataError(f"{source}: has no {first}, so it is not a {form.title} archive. {form.where}")
    raise DataError(f"{source}: has no {_first_missing(form, members)}; the archive is incomplete. Fetch it again")


def _first_missing(form: Form, members: Collection[PurePath]) -> str:
    # Of the layout and the folder that most members belong to.
    groups = [{path.name for path in members if path.parent == folder} for folder in {m.parent for m in members}]
    most, layout = max(
        ((group & set(layout.files), layout) for group in groups for layout in form.layouts),
        key=lambda pair: len(pair[0]),
    )
    return next(name for name in layout.files if name not in most)


def _folders(form: Form, place: Path) -> list[Path]:
    names = [layout.folder for layout in form.layouts]
    return [place, *(place / name for name in names), *(place / name / name for name in names)]


def _found_folder(form: Form, folder: Path, layout: Layout) -> Found:
    contents = [_read_file(folder / name) for name in layout.files]
    return Found(digest_bytes(contents), lambda: _assemble(form, layout, contents, str(folder)))


def _found_archive(form: Form, archive: Path) -> Found:
    size = archive.stat().st_size if archive.exists() else 0
    if size > LIMIT:  # before it is read into memory
        raise DataError(
            f"{archive} has {size / 2**30:.1f} GiB, which no archive of {form.title} has; name that, or the folder "
            "that it unpacks to"
        )
    content = _read_file(archive)
    return Found(digest_bytes([content]), lambda: read_archive(form, content, str(archive)))


def _read_file(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: {error.strerror or error}; it cannot be read") from error


def _assemble(form: Form, layout: Layout, contents: Sequence[bytes], source: str) -> Dataset:
    files = zip(layout.files, contents, form.sizes, strict=True)
    parse = _parse_binary if layout.binary else _parse_python
    parts = [parse(form, content, size, f"{source}: {name}") for name, content, size in files]
    images, labels = (np.concatenate(column) for column in zip(*parts[:-1], strict=True))
    dataset = Dataset(form.name, images, labels, *parts[-1], form.classes)
    return dataset.known_by_files() if layout.md5 and _md5_of(contents) == layout.md5 else dataset


def _md5_of(contents: Iterable[bytes]) -> tuple[str, ...]:
    return tuple(hashlib.md5(content).hexdigest() for content in contents)


def _parse_binary(form: Form, content: bytes, size: int, name: str) -> Split:
    record = form.label_bytes + PIXELS
    if len(content) != size * record:
        raise DataError(f"{name} has {len(content)} bytes, but {size * record} are expected. Unpack the archive again")
    records = np.frombuffer(content, np.uint8).reshape(size, record)
    return Split(_to_images(records[:, form.label_bytes :]), records[:, form.label_byte].astype(np.int32))


def _parse_python(form: Form, content: bytes, size: int, name: str) -> Split:
    batch = load_plain_pickle(content, name, f"{form.title} batch")
    try:
        pixels, labels = batch[b"data"], np.asarray(batch[form.label_key])
        fits = pixels.shape == (size, PIXELS) and pixels.dtype == np.uint8 and labels.shape == (size,)
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(f"{name}: not a {form.title} batch ({error!r}). Unpack the archive again") from error
    if not fits:
        raise DataError(f"{name}: not {size} images of {PIXELS} bytes with a label each. Unpack the archive again")
    last = len(form.classes) - 1
    if labels.dtype.kind not in "iu":
        raise DataError(f"{name}: labels are {labels.dtype}, such as {labels[0]}; need whole numbers from 0 to {last}")
    if not (labels.min() >= 0 and labels.max() <= last):
        wrong = labels[(labels < 0) | (labels > last)][0]
        raise DataError(f"{name}: labels must be whole numbers from 0 to {last}, but one is {wrong}")
    return Split(_to_images(pixels), labels.astype(np.int32))


def _to_images(planes: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def warn_shuffled(title: str, place: Path) -> None:
    """Warn the caller of a loader, three calls up, that the images are the official ones in another order."""
    warnings.warn(
        f"{place} holds {title}'s images in another order than the official one: the first images, from which the "
        "whitening filters come, and on which small recipes train, are others",
        stacklevel=5,
    )
