"""A tree of images as a data set: what a training, its folder and its result ask of one that is never loaded whole."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int

from airjax.data.content import Content
from airjax.data.dataset import DataError
from airjax.data.info import DatasetInfo, Statistics
from airjax.data.registry import ALIASES, REGISTRY
from airjax.recipes.imagenet_resnet18 import MEAN, STD
from airjax.stream.images import Source, split_of
from airjax.stream.index import Corrupt, Index, open_index

IMAGENET = "imagenet"  # name of a tree for `--data`
VARIABLE = "AIRJAX_IMAGENET"
STATISTICS = Statistics(MEAN, STD)  # of every tree, as is usual


@dataclass(frozen=True, eq=False)
class Tree:
    """A tree of images, whose index is open."""

    name: str
    index: Index
    split: Literal["test", "validation"]  # what the images are that it is tested on
    labels: str | None = None  # other labels than the folders' are not known
    resized: int = 0  # pictures that were scaled when it was read: none, a training crops them
    content: Content = "unknown"

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the names of the classes; a label is an index into them."""
        return self.index.classes

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the names, labels and sizes of all images; their pixels are not read."""
        return self.index.sha256

    @property
    def train(self) -> Source:
        """Return where the training images are."""
        return split_of(self.index, "train")

    @property
    def val(self) -> Source:
        """Return where the images are that it is tested on."""
        return split_of(self.index, "val")

    @property
    def val_labels(self) -> Int[np.ndarray, " m"]:
        """Return the labels of the images that it is tested on, in their order."""
        return np.asarray(self.index.val.labels)

    def info(self, image_size: int) -> DatasetInfo:
        """Return what a network for it depends on; image_size: height and width of what it is tested on, in pixels."""
        return DatasetInfo(self.name, self.classes, 3, image_size, *STATISTICS)


def open_tree(place: str | Path, corrupt: Corrupt = "fail") -> Tree:
    """Open a tree, place/train/CLASS/... and place/val/CLASS/..., by its index, which is made where there is none.

    Its name is that of its folder. Raises DataError as `open_index` does, and warns as it does about files left out.
    """
    index = open_index(place, corrupt)
    other = index.val.name(0).partition("/")[0]
    name = index.place.name
    name = f"own-{name}" if name in (*REGISTRY, *ALIASES, "") else name
    return Tree(name, index, "test" if other == "test" else "validation")


def find_tree(data: str, data_dir: str | Path | None, corrupt: Corrupt = "fail") -> Tree:
    """Open the tree that `--data` and `--data-dir` name: imagenet and its folder, or the folder alone.

    Raises DataError where no folder is named, or two are.
    """
    if data != IMAGENET:
        if data_dir is not None:
            raise DataError(f"data is {data}, which names a place already; leave --data-dir out")
        return open_tree(data, corrupt)
    place = data_dir or os.environ.get(VARIABLE)
    if not place:
        raise DataError(
            f"data is {IMAGENET}, but no folder is named: pass --data-dir TREE, with train/CLASS/... and "
            f"val/CLASS/..., or set {VARIABLE}"
        )
    return open_tree(place, corrupt)
