"""The index of a tree of images: names, labels and sizes, read once and kept in the cache.

A tree is place/train/CLASS/... and place/val/CLASS/... (or test/), as torchvision's ImageFolder takes it. The index is
one file, written whole or not at all, with a checksum, and mapped into memory. It is made again when the tree has
changed: when any file has another name, length or time of change.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from airjax.data.cache import cache_folder
from airjax.data.class_folders import Example, find_splits, list_examples
from airjax.data.dataset import DataError
from airjax.data.image_files import ImageError
from airjax.data.place import expand_readable, named_in_errors
from airjax.stream.decode import decode, image_size, read_file
from airjax.stream.mapped import arrays_digest, header_of, map_arrays
from airjax.utils.records import write_atomically

FORMAT = "2"  # to be raised when the same tree comes to give another index

# What is done about files that cannot be decoded. fail: only the heads of files are read here, and a training that
# meets such a file ends with its name. skip: every file is decoded here, once, and those that cannot be are left out,
# by name; so every training has the same examples. One that cannot be read may be readable tomorrow: never left out.
Corrupt = Literal["fail", "skip"]


CHUNK = 256  # files whose sizes a thread reads at a time


class Found(NamedTuple):
    """A file, and what the system says of it."""

    example: Example
    length: int  # bytes
    changed: int  # when, in nanoseconds


class Listing(NamedTuple):
    """The images of a split, sorted by class and then by name; the arrays are mapped, not read."""

    names: UInt8[np.ndarray, " bytes"]  # of all files one after the other, from the tree's folder
    ends: Int[np.ndarray, " n"]  # where each name ends
    labels: Int[np.ndarray, " n"]
    sizes: Int[np.ndarray, "n 2"]  # height and width, in pixels
    lengths: Int[np.ndarray, " n"]  # of the files, in bytes

    def name(self, example: int) -> str:
        """Return the name of an example's file."""
        start = int(self.ends[example - 1]) if example else 0
        return os.fsdecode(self.names[start : int(self.ends[example])].tobytes())


class Index(NamedTuple):
    """What is known of a tree without its pixels."""

    place: Path
    file: Path  # of this index
    classes: tuple[str, ...]
    train: Listing
    val: Listing
    skipped: tuple[str, ...]  # names of the files that were left out
    sha256: str  # of names, labels, sizes and lengths
    listed: str  # SHA-256 of names, lengths and times of change: another one where a file was written again

    def listing(self, split: Literal["train", "val"]) -> Listing:
        """Return one of the two splits."""
        return self.train if split == "train" else self.val


def open_index(place: str | Path, corrupt: Corrupt = "fail") -> Index:
    """Open the index of a tree, and make it where there is none or the tree has changed.

    Warns about files that are left out. Raises DataError, naming the folder or file and the remedy, for a missing
    split, classes that are not the same in both, a class without images, and a file that cannot be read.
    """
    tree = expand_readable(place)
    with named_in_errors(tree):
        tree = tree.resolve()
        other, classes = find_splits(tree)
        splits = {"train": list_examples(tree, "train", classes), "val": list_examples(tree, other, classes)}
        found = {split: [_look_at(example) for example in examples] for split, examples in splits.items()}
        listed = _listing_digest(found["train"] + found["val"], f"{FORMAT} {corrupt} {other} {classes}")
    name = hashlib.sha256(os.fsencode(f"{tree}\0{corrupt}")).hexdigest()[:16]
    file = cache_folder() / f"tree-{name}.safetensors"
    index = _reusable(file, listed)
    if index is None:
        _write(file, tree, classes, found, corrupt, listed)
        index = map_index(file)
    if index.skipped:
        shown = ", ".join(index.skipped[:3])
        warnings.warn(
            f"{len(index.skipped):,} files of {tree} cannot be decoded and are left out: {shown}"
            f"{', ...' if len(index.skipped) > 3 else ''}; mend or remove them",
            stacklevel=2,
        )
    return index


def map_index(file: Path) -> Index:
    """Map an index into memory. Raises DataError where it is missing or damaged."""
    arrays, metadata = map_arrays(file)
    try:
        parts = [Listing(*(arrays[f"{split}_{field}"] for field in Listing._fields)) for split in ("train", "val")]
        place, classes, skipped = (json.loads(metadata[key]) for key in ("place", "classes", "skipped"))
        told = metadata["sha256"], metadata["listing"]
    except (KeyError, ValueError) as error:
        raise DataError(f"{file} is no index of a tree of images; remove it, to have it made again") from error
    return Index(Path(place), file, tuple(classes), parts[0], parts[1], tuple(skipped), *told)


def _reusable(file: Path, listed: str) -> Index | None:
    try:
        if not file.exists():
            return None
        arrays, metadata = map_arrays(file)
        if metadata.get("listing") != listed:
            return None
        if arrays_digest(arrays) == metadata.get("sha256"):
            return map_index(file)
        reason = "its checksum is wrong"
    except OSError:  # a folder that may not be looked into, or, as will be said, written to
        return None
    except DataError as error:
        reason = str(error)
    warnings.warn(f"{file}: the index is damaged ({reason}); making it again", stacklevel=3)
    return None


def _look_at(example: Example) -> Found:
    status = os.stat(f"{example.place}/{example.name}")  # noqa: PTH116 (a Path for each of millions takes longer)
    return Found(example, status.st_size, status.st_mtime_ns)


def _listing_digest(found: Iterable[Found], settings: str) -> str:
    sha = hashlib.sha256(settings.encode(errors="surrogateescape"))
    for example, length, changed in found:
        sha.update(os.fsencode(f"{example.name}\0{length} {changed}\n"))
    return sha.hexdigest()


def _write(
    file: Path, tree: Path, classes: tuple[str, ...], found: dict[str, list[Found]], corrupt: Corrupt, listed: str
) -> None:
    arrays, skipped = {}, []
    for split, files in found.items():
        sizes = _measure(files, corrupt)
        kept = [one for one, size in zip(files, sizes, strict=True) if size is not None]
        skipped += [one.example.name for one, size in zip(files, sizes, strict=True) if size is None]
        if missing := set(range(len(classes))) - {one.example.label for one in kept}:
            raise DataError(f"{tree}: class {classes[min(missing)]} of {split} has no image that can be decoded")
        names = [os.fsencode(one.example.name) for one in kept]
        arrays |= {
            f"{split}_names": np.frombuffer(b"".join(names), np.uint8),
            f"{split}_ends": np.cumsum([len(name) for name in names], dtype=np.int64),
            f"{split}_labels": np.array([one.example.label for one in kept], np.int32),
            f"{split}_sizes": np.array([size for size in sizes if size is not None], np.int32),
            f"{split}_lengths": np.array([one.length for one in kept], np.int64),
        }
    details = {"place": json.dumps(str(tree)), "classes": json.dumps(classes), "skipped": json.dumps(skipped)}
    metadata = {**details, "listing": listed, "sha256": arrays_digest(arrays)}
    # The widest numbers first: each array then starts at a multiple of its own width.
    ordered = dict(sorted(arrays.items(), key=lambda item: -item[1].itemsize))
    head = header_of({name: (array.dtype, array.shape) for name, array in ordered.items()}, metadata)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, head + b"".join(array.tobytes() for array in ordered.values()))
    except OSError as error:
        raise DataError(
            f"{file}: the index cannot be written ({error.strerror}); free some room, or set AIRJAX_CACHE to another "
            "folder"
        ) from error


def _measure(files: list[Found], corrupt: Corrupt) -> list[tuple[int, int] | None]:
    # Threads are enough: the decoders do their work without Python's lock.
    measure = _decoded_size if corrupt == "skip" else image_size

    def measure_from(start: int) -> list[tuple[int, int] | None]:
        return [measure(one.example.file) for one in files[start : start + CHUNK]]

    try:
        with ThreadPoolExecutor(max(1, os.cpu_count() or 1)) as pool:
            return list(chain.from_iterable(pool.map(measure_from, range(0, len(files), CHUNK))))
    except ImageError as error:
        raise DataError(str(error)) from error


def _decoded_size(file: Path) -> tuple[int, int] | None:
    content = read_file(file)
    try:
        height, width, _ = decode(content, str(file)).shape
    except ImageError:
        return None
    return height, width
