"""CINIC-10, CIFAR-10's classes with images of ImageNet beside its own, from an archive or a folder of PNG files."""

import functools
import hashlib
import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from airjax.data.archive import stream_members
from airjax.data.content import Split
from airjax.data.dataset import CIFAR10_CLASSES, DataError, Dataset
from airjax.data.download import Remote
from airjax.data.official import Found, Official, digest_file, load_official

PER_CLASS = 9_000  # images of each class in each split
LIMIT = 1 << 30  # bytes of the PNG files of two splits together; their pixels have 553 million
VARIABLE = "AIRJAX_CINIC10"
WHERE = (
    "Put CINIC-10.tar.gz, or the folder that it unpacks to, with train, valid and test in it, somewhere, and name the "
    f"place with --data-dir or {VARIABLE}"
)
REMOTE = Remote(
    "CINIC-10.tar.gz",
    "6ee4d0c996905fe93221de577967a372",
    687_544_992,
    (
        "https://datashare.ed.ac.uk/bitstream/handle/10283/3192/CINIC-10.tar.gz",
        "https://datashare.ed.ac.uk/server/api/core/bitstreams/e8e186cc-2688-48f1-aa5a-3fda1a43f8b6/content",
    ),
)
FOLDERS = ("", "CINIC-10", "cinic-10", "CINIC10", "cinic10")  # that people unpack it to, in a place that they name
MODES = ("RGB", "L", "P", "1")  # Pillow's: of each the conversion to RGB is exact
LABELS = {name: label for label, name in enumerate(CIFAR10_CLASSES)}
Other = Literal["test", "valid"]


def load_cinic10(data_dir: str | Path | None = None, *, valid: bool = False, download: bool = True) -> Dataset:
    """CINIC-10: from data_dir, else from AIRJAX_CINIC10, else from the user's cache, else from the network.

    Trained on its 90,000 training images. The order of a split's images looks random and follows from their names.

    Args:
        data_dir: the archive (.tar.gz or .tar), the folder that it unpacks to, or a folder with one of these.
        valid: test on its 90,000 validation images instead of its test images; the name is "cinic10-valid".
        download: whether to use the network where nothing else is there.

    Warns where an archive has another md5 sum than the published one. A folder has none: its content is "unknown".

    Raises:
        DataError: not found, not to be downloaded, or damaged. A place that was named is never passed over.
    """
    return load_official(official(valid), data_dir, download_files=download)


def official(valid: bool = False) -> Official:
    """Describe CINIC-10's files, of which either split is tested on."""
    name = "cinic10-valid" if valid else "cinic10"
    find = functools.partial(_find, name, "valid" if valid else "test")
    return Official(name, "CINIC-10", VARIABLE, (REMOTE,), WHERE, find, _checked)


def _archive_at(place: Path) -> Path | None:
    files = (place, *(place / f"CINIC-10.{ending}" for ending in ("tar.gz", "tgz", "tar")))
    return next((file for file in files if file.is_file()), None)


def _folder_at(place: Path) -> Path | None:
    return next((place / name for name in FOLDERS if (place / name / "train").is_dir()), None)


def _find(name: str, other: Other, place: Path) -> Found:
    if (folder := _folder_at(place)) is not None:
        return _found_folder(name, other, folder)
    if (archive := _archive_at(place)) is not None:
        return Found(digest_file(archive), lambda: _read_archive(name, other, archive))
    raise DataError(f"{place} {'holds no CINIC-10' if place.exists() else 'does not exist'}. {WHERE}")


def _found_folder(name: str, other: Other, folder: Path) -> Found:
    # Keyed by names and bytes of all files, which are read once for that.
    sha, files = hashlib.sha256(), {}
    for split in ("train", other):
        if not (folder / split).is_dir():
            raise DataError(f"{folder / split} is missing. The folder is incomplete; unpack the archive again")
        for file in _files(folder / split):
            path = PurePosixPath(file.relative_to(folder).as_posix())
            content = file.read_bytes()
            sha.update(f"{path}\0{len(content)}\0".encode(errors="surrogateescape") + content)
            files[path] = file

    def read() -> Dataset:
        return _assemble(name, other, {path: file.read_bytes() for path, file in files.items()}, str(folder))

    return Found(sha.hexdigest(), read)


def _files(split: Path) -> Iterator[Path]:
    for entry in sorted(os.scandir(split), key=lambda one: one.name):
        if entry.is_dir() and not entry.name.startswith("."):
            names = sorted(one.name for one in os.scandir(entry.path) if _is_image(one.name) and one.is_file())
            yield from (Path(entry.path, one) for one in names)


def _is_image(name: str) -> bool:
    return name.lower().endswith(".png") and not name.startswith(".")


def _read_archive(name: str, other: Other, archive: Path) -> Dataset:
    def is_wanted(path: PurePosixPath) -> bool:
        return len(path.parts) >= 3 and path.parts[-3] in ("train", other) and _is_image(path.name)

    members = dict(stream_members(archive, "CINIC-10", is_wanted, LIMIT))
    if len(roots := {path.parents[2] for path in members}) > 1:
        raise DataError(f"{archive} has images in {' and in '.join(sorted(map(str, roots)))}; need one of these alone")
    dataset = _assemble(
        name, other, {PurePosixPath(*path.parts[-3:]): data for path, data in members.items()}, str(archive)
    )
    return dataset.known_by_files() if digest_file(archive, "md5") == REMOTE.md5 else dataset


def _assemble(name: str, other: Other, files: dict[PurePosixPath, bytes], source: str) -> Dataset:
    # files: by split/class/name.
    counts = {(split, label): 0 for split in ("train", other) for label in LABELS}
    for path in files:
        split, label, _ = path.parts
        if (split, label) not in counts:
            raise DataError(f"{source}: {path} is of no class of CINIC-10 ({', '.join(LABELS)}); remove it")
        counts[split, label] += 1
    for (split, label), count in counts.items():
        if count != PER_CLASS:
            raise DataError(
                f"{source}: {split}/{label} has {count} images, but {PER_CLASS} are expected. It is incomplete or has "
                "other files; fetch the archive again"
            )
    train, test = (
        _read_split({path: files[path] for path in files if path.parts[0] == split}, source)
        for split in ("train", other)
    )
    return Dataset(name, *train, *test, CIFAR10_CLASSES, split="test" if other == "test" else "validation")


def _read_split(files: dict[PurePosixPath, bytes], source: str) -> Split:
    paths = sorted(files, key=_shuffled)
    images = np.empty((len(paths), 32, 32, 3), np.uint8)
    for index, path in enumerate(paths):
        images[index] = decode(files[path], f"{source}: {path}")
    return Split(images, np.array([LABELS[path.parts[1]] for path in paths], np.int32))


def _shuffled(path: PurePosixPath) -> bytes:
    return hashlib.sha256(str(path).encode(errors="surrogateescape")).digest()


def decode(content: bytes, name: str) -> np.ndarray:
    """Decode a PNG of 32x32 pixels, colours or grey of 8 bits, to uint8 [32,32,3]. Raises DataError, which names it."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            if image.size != (32, 32) or image.mode not in MODES or image.has_transparency_data:
                width, height = image.size
                raise DataError(
                    f"{name} is {width}x{height} pixels of colour mode {image.mode}; need 32x32, opaque, one of "
                    f"{', '.join(MODES)}. Fetch the archive again"
                )
            return np.asarray(image.convert("RGB"))
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them to
        raise DataError(f"{name} cannot be read as a PNG: {error}. Fetch the archive again") from error


def _checked(dataset: Dataset, place: Path) -> Dataset:
    # Warns the caller of load_cinic10 where an archive is not the published one.
    archive = None if _folder_at(place) else _archive_at(place)
    if archive is not None and dataset.content != "official":
        warnings.warn(
            f"{archive} has the form of CINIC-10, but the md5 sum {digest_file(archive, 'md5')}, not {REMOTE.md5}: its "
            "content is unknown. Fetch it again",
            stacklevel=4,
        )
    return dataset
