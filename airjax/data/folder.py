"""A folder of your own images: train/ and test/ (or val/), with a folder of image files for each class in both."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np

from airjax.data.cache import cache_folder, through_cache
from airjax.data.class_folders import OTHERS, Example, find_splits, list_examples
from airjax.data.dataset import OWN, DataError, Dataset
from airjax.data.image_files import ImageError, Picture, read_picture
from airjax.data.place import named_in_errors

IMAGE_SIZE = 32  # pixels, where nothing else is asked for
READER = "1"  # to be raised when the same files come to give other pixels: part of the cache's key


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
        other, classes = find_splits(place)
        splits = [_shuffled(list_examples(place, name, classes)) for name in ("train", other)]
        key = _digest_files([*splits[0], *splits[1]], f"{READER} {image_size} {other} {classes}")
    return through_cache(
        cache_folder() / f"own-{key[:16]}.safetensors",
        lambda: _read(place, classes, splits[0], splits[1], image_size, OTHERS[other]),
    )


def _shuffled(examples: list[Example]) -> list[Example]:
    return sorted(examples, key=lambda example: hashlib.sha256(_encoded(example.name)).digest())


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
