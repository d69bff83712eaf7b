"""A folder of your own images: train/ and test/ (or val/), with a folder of image files for each class in both."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from airjax.data.cache import cache_folder, through_cache
from airjax.data.dataset import OWN, DataError, Dataset
from airjax.data.image_files import ImageError, Picture, read_picture
from airjax.data.place import named_in_errors

IMAGE_SIZE = 32  # pixels, where nothing else is asked for
# Folders of the other split, in the order in which they are looked for, and what their images are.
OTHERS: dict[str, Literal["test", "validation"]] = {"test": "test", "val": "validation", "valid": "validation"}
# Files that are taken for images; others are passed over.
ENDINGS = (
    *(".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png"),
    *(".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"),
)
READER = "1"  # to be raised when the same files come to give other pixels: part of the cache's key


class Example(NamedTuple):
    """An image file and its class."""

    name: str  # of the file, from the data set's folder, with slashes
    file: Path
    label: int


def is_class_folders(place: Path) -> bool:
    """Say whether a folder has train/ or a folder of the other split."""
    return any((place / name).is_dir() for name in ("train", *OTHERS))


def load_folder(place: Path, image_size: int = IMAGE_SIZE) -> Dataset:
    """Load the data set in a folder: place/train/CLASS/... and place/test/CLASS/..., or val/ for test/.

    Classes are the names of the folders, sorted. Of each image the middle square is scaled to image_size; grey images
    have one channel if all are stored as grey, else all have three. The order of a split's examples looks random, so
    that its first ones are of all classes, and follows from the files' names alone. Files that are hidden, or do not
    end like an image, are passed over. What was read is kept in the cache, under a key of all files' names and bytes.

    Raises DataError, naming the folder or file, for a missing split, classes that are not the same in both or fewer
    than two, a class without images, and an image that cannot be read.
    """
    with named_in_errors(place):
        other = next((name for name in OTHERS if (place / name).is_dir()), None)
        if other is None or not (place / "train").is_dir():
            missing = "train" if other else "test (or val)"
            raise DataError(f"{place} has no folder {missing}; need train/CLASS/... and test/CLASS/... (docs/data.md)")
        classes = _shared_classes(place / "train", place / other)
        splits = [_list_examples(place, name, classes) for name in ("train", other)]
        key = _digest_files([*splits[0], *splits[1]], f"{READER} {image_size} {other} {classes}")
    return through_cache(
        cache_folder() / f"own-{key[:16]}.safetensors",
        lambda: _read(place, classes, splits[0], splits[1], image_size, OTHERS[other]),
    )


def _shared_classes(train: Path, other: Path) -> tuple[str, ...]:
    found = {folder: _class_names(folder) for folder in (train, other)}
    for here, there in ((train, other), (other, train)):
        if only := sorted(found[here] - found[there]):
            raise DataError(f"class {only[0]} is in {here}, but not in {there}; both need a folder for each class")
    if len(found[train]) < 2:
        names = ", ".join(found[train]) or "none"
        raise DataError(f"{train} needs folders of at least two classes, with the images in them; it has {names}")
    return tuple(sorted(found[train]))


def _class_names(split: Path) -> set[str]:
    entries = [entry for entry in os.scandir(split) if not _is_hidden(entry.name)]
    stray = sorted(entry.name for entry in entries if not entry.is_dir() and _is_image(entry.name))
    if stray:
        raise DataError(f"{split / stray[0]} is in no class; move it into a folder with the name of its class")
    return {entry.name for entry in entries if entry.is_dir()}


def _list_examples(place: Path, split: str, classes: Sequence[str]) -> list[Example]:
    examples = []
    for label, name in enumerate(classes):
        found = sorted(_image_files(place / split / name))
        if not found:
            raise DataError(f"{place / split / name} has no images; remove the class, or put some there")
        examples += [Example(file.relative_to(place).as_posix(), file, label) for file in found]
    return sorted(examples, key=lambda example: hashlib.sha256(_encoded(example.name)).digest())


def _image_files(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not _is_hidden(name)]
        for name in files:
            if _is_image(name):
                file = Path(root, name)
                if not file.is_file():  # a pipe, or a link to nothing
                    raise DataError(f"{file} is no file that can be read; remove it")
                yield file


def _raise(error: OSError) -> None:
    raise error


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _is_image(name: str) -> bool:
    return not _is_hidden(name) and Path(name).suffix.lower() in ENDINGS


def _digest_files(examples: Sequence[Example], settings: str) -> str:
    # Of names, sizes and bytes: sizes and times may stay while bytes change.
    sha = hashlib.sha256(_encoded(settings))
    with _threads() as pool:
        for example, found in zip(examples, pool.map(_digest_file, (one.file for one in examples)), strict=True):
            sha.update(_encoded(f"{example.name}\0{found}\n"))
    return sha.hexdigest()


def _digest_file(file: Path) -> str:
    content = file.read_bytes()
    return f"{len(content)} {hashlib.sha256(content).hexdigest()}"


def _encoded(name: str) -> bytes:
    return name.encode(errors="surrogateescape")  # names on disk may be any bytes


def _read(
    place: Path,
    classes: tuple[str, ...],
    train: list[Example],
    other: list[Example],
    size: int,
    split: Literal["test", "validation"],
) -> Dataset:
    count = len(train) + len(other)
    try:
        images = np.empty((count, size, size, 3), np.uint8)
    except MemoryError as error:
        raise DataError(
            f"{place}: {count:,} images of {size}x{size} pixels do not fit into memory; make --image-size smaller"
        ) from error
    grey, resized = True, 0
    with _threads() as pool:
        pictures = pool.map(_read_example, chain(train, other), [size] * count)
        for index, picture in enumerate(pictures):
            images[index] = picture.pixels
            grey, resized = grey and picture.grey, resized + picture.resized
    if grey:
        images = np.ascontiguousarray(images[..., :1])
    labels = np.array([example.label for example in chain(train, other)], np.int32)
    n = len(train)
    parts = images[:n], labels[:n], images[n:], labels[n:]
    return Dataset(OWN, *parts, classes, split=split, resized=resized).with_statistics()


def _read_example(example: Example, size: int) -> Picture:
    try:
        return read_picture(example.file, size)
    except ImageError as error:
        raise DataError(f"{error}; mend or remove it") from error


def _threads() -> ThreadPoolExecutor:
    # Threads are enough: Pillow and hashlib do their work without Python's lock.
    return ThreadPoolExecutor(max(1, os.cpu_count() or 1))
