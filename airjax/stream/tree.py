"""A tree of images as a data set: what a training, its folder and its result ask of one that is never loaded whole.

Its images are files in folders of classes, or prepared: resized once, in a file for each of its two splits.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Int

from airjax.data.content import Content
from airjax.data.dataset import DataError
from airjax.data.info import DatasetInfo, Statistics
from airjax.data.place import expand, expand_readable, named_in_errors
from airjax.data.registry import ALIASES, REGISTRY
from airjax.recipes.imagenet_resnet18 import MEAN, STD
from airjax.stream.images import Source, open_images, split_of
from airjax.stream.index import Corrupt, open_index
from airjax.stream.prepared import (
    Form,
    bytes_needed,
    contents_of,
    open_prepared,
    part_of,
    prepare,
    require_space,
    verify_prepared,
)
from airjax.utils.records import hold_folder

IMAGENET = "imagenet"  # name of a tree for `--data`
VARIABLE = "AIRJAX_IMAGENET"
STATISTICS = Statistics(MEAN, STD)  # of every tree, as is usual
PREPARED = ("train.safetensors", "val.safetensors")
LISTED = "listed"  # in what is said of a split: it changes with the times of the files, and a fingerprint must not

Tested = Literal["test", "validation"]


@dataclass(frozen=True, eq=False)
class Tree:
    """A tree of images, whose splits are open."""

    name: str
    place: Path
    classes: tuple[str, ...]
    """Their names; a label is an index into them."""
    fingerprint: str
    """SHA-256 of names, labels, sizes and lengths of all files, not of pixels; of prepared images of pixels as well."""
    train: Source
    val: Source
    split: Tested
    """What the images are that it is tested on."""
    listed: str = ""
    """SHA-256 of names, lengths and times of change of all files; empty for prepared images."""
    labels: None = None  # other labels than the folders' are not known
    resized: int = 0  # pictures that were scaled when it was read: none, a training crops them
    content: Content = "unknown"

    @property
    def train_labels(self) -> Int[np.ndarray, " n"]:
        """Return the labels of the images that it trains on, in their order."""
        return np.asarray(open_images(self.train).labels)

    @property
    def val_labels(self) -> Int[np.ndarray, " m"]:
        """Return the labels of the images that it is tested on, in their order."""
        return np.asarray(open_images(self.val).labels)

    def info(self, image_size: int) -> DatasetInfo:
        """Return what a network for it depends on; image_size: height and width of what it is tested on, in pixels."""
        return DatasetInfo(self.name, self.classes, 3, image_size, *STATISTICS)


def is_prepared(place: Path) -> bool:
    """Say whether a folder has a prepared split."""
    return any((place / name).is_file() for name in PREPARED)


def open_tree(place: str | Path, corrupt: Corrupt = "fail") -> Tree:
    """Open a tree: place/train/CLASS/... and place/val/CLASS/..., or the folder that `prepare_tree` wrote.

    Files in folders are found by their index, which is made where there is none. The name is that of the folder. Raises
    DataError as `open_index` and `open_prepared` do, and warns as the former does about files left out.
    """
    folder = expand_readable(place)
    with named_in_errors(folder):
        if is_prepared(folder):
            if corrupt != "fail":
                raise DataError(f"corrupt is {corrupt}, but {folder} is prepared: give it to airjax data prepare")
            return _open_prepared_tree(folder.resolve())
    index = open_index(place, corrupt)
    other = index.val.name(0).partition("/")[0]
    return Tree(
        _name_of(index.place),
        index.place,
        index.classes,
        index.sha256,
        split_of(index, "train"),
        split_of(index, "val"),
        "test" if other == "test" else "validation",
        index.listed,
    )


def prepare_tree(
    tree: Tree, folder: str | Path, form: Form | None = None, on_images: Callable[[int], None] | None = None
) -> Tree:
    """Write a tree in its prepared form, a file for each split in a folder, and open it.

    Args:
        tree: what `open_tree` returned.
        folder: made where it is not there. A split that is there already and whole, of the same files in the same form,
            stays, so that a call which was interrupted goes on; another one is replaced when the new one is whole.
        form: size and kind of the images.
        on_images: called with how many images are done, of both splits.

    Raises DataError as `airjax.stream.prepared.prepare` does, and where the folder is the tree's own.
    """
    target = expand(folder).absolute()
    with named_in_errors(target):
        if target.resolve() == tree.place:
            raise DataError(f"{target} is the tree itself; name another folder")
    with hold_folder(target, DataError):
        return _prepare_splits(tree, target, form or Form(), on_images)


def _prepare_splits(tree: Tree, target: Path, form: Form, on_images: Callable[[int], None] | None) -> Tree:
    done = 0
    # Of which tree, and how: so that a split which is there is not made again, and both are of the same.
    told = {"tree": tree.fingerprint, LISTED: tree.listed, "form": asdict(form)}
    contents = {"classes": list(tree.classes), "split": tree.split, **told}
    pairs = list(zip((tree.train, tree.val), PREPARED, strict=True))
    missing = [(source, name) for source, name in pairs if not _holds(target / name, contents)]
    for name in PREPARED:
        part_of(target / name).unlink(missing_ok=True)
    require_space(target / PREPARED[0], sum(bytes_needed(open_images(source), form) for source, _ in missing))
    for source, name in pairs:
        count = len(open_images(source).labels)
        if (source, name) in missing:
            prepare(source, target / name, form, contents, _from(done, on_images))
        elif on_images is not None:
            on_images(done + count)
        done += count
    return open_tree(target)


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


def _open_prepared_tree(folder: Path) -> Tree:
    for name in PREPARED:
        if not (folder / name).is_file():
            raise DataError(f"{folder} has no {name}; airjax data prepare writes both splits")
    train, val = (open_prepared(folder / name) for name in PREPARED)
    contents = contents_of(val)
    if not contents or contents != contents_of(train):
        raise DataError(f"{folder} has splits of different trees; airjax data prepare writes both")
    if {"classes", "split"} - set(contents):
        raise DataError(f"{folder} is damaged: its splits lack what is said of their tree; prepare it again")
    contents.pop(LISTED, None)
    fingerprint = hashlib.sha256(f"{train.sha256} {val.sha256} {contents}".encode()).hexdigest()
    return Tree(_name_of(folder), folder, tuple(contents["classes"]), fingerprint, train, val, contents["split"])


def _holds(file: Path, contents: dict[str, Any]) -> bool:
    try:
        source = open_prepared(file)
        if contents_of(source) != contents:
            return False
        verify_prepared(source)
    except DataError:  # missing or damaged: it is made again
        return False
    return True


def _from(done: int, on_images: Callable[[int], None] | None) -> Callable[[int], None] | None:
    return None if on_images is None else lambda count: on_images(done + count)


def _name_of(place: Path) -> str:
    return f"own-{place.name}" if place.name in (*REGISTRY, *ALIASES, "") else place.name
