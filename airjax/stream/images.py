"""The images of a split, one at a time: from a tree of files or from a prepared file, opened once in each process."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from airjax.data.dataset import DataError
from airjax.data.image_files import ImageError
from airjax.stream.decode import decode, decode_file
from airjax.stream.index import Index, map_index
from airjax.stream.mapped import map_arrays


class Source(NamedTuple):
    """Where the images of a split are; a few words, which workers are handed."""

    file: Path  # an index of a tree, or a prepared file
    sha256: str  # of its names, labels and sizes: workers notice where it has been made again
    split: Literal["train", "val"] | None = None  # of the index; None: the file is a prepared one


class Images(NamedTuple):
    """The images of a split, opened."""

    labels: Int[np.ndarray, " n"]
    sizes: Int[np.ndarray, "n 2"]  # height and width, in pixels
    read: Callable[[int], np.ndarray]  # example -> its pixels, uint8 [height,width,3]


def split_of(index: Index, split: Literal["train", "val"]) -> Source:
    """Return where the images of one split of a tree are."""
    return Source(index.file, index.sha256, split)


@functools.lru_cache(maxsize=8)
def open_images(source: Source) -> Images:
    """Open the images of a split. Raises DataError where the file is damaged, or is not the one that is meant."""
    if source.split is None:
        return _open_prepared(source)
    index = map_index(source.file)
    _require(source, index.sha256)
    listing = index.listing(source.split)

    def read(example: int) -> UInt8[np.ndarray, "h w 3"]:
        file = index.place / listing.name(example)
        pixels = decode_file(file)
        if pixels.shape[:2] != tuple(listing.sizes[example]):
            height, width = listing.sizes[example]
            raise ImageError(
                f"{file} is {pixels.shape[1]}x{pixels.shape[0]} pixels, but was {width}x{height} when the tree was "
                "indexed; start again, which makes the index again"
            )
        return pixels

    return Images(listing.labels, listing.sizes, read)


def _open_prepared(source: Source) -> Images:
    arrays, metadata = map_arrays(source.file)
    _require(source, metadata.get("sha256", ""))
    records, ends, sizes = arrays["records"], arrays["ends"], arrays["sizes"]
    raw = metadata["kind"] == "raw"

    def read(example: int) -> UInt8[np.ndarray, "h w 3"]:
        start = int(ends[example - 1]) if example else 0
        record = records[start : int(ends[example])]
        height, width = (int(side) for side in sizes[example])
        if raw:
            return record.reshape(height, width, 3)
        return decode(record.tobytes(), f"image {example} of {source.file}")

    return Images(arrays["labels"], sizes, read)


def _require(source: Source, found: str) -> None:
    if found != source.sha256:
        raise DataError(f"{source.file} has been made again since it was opened; open it again")
