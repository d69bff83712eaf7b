"""Folders of classes, in which the images of a data set lie: train/CLASS/... and test/CLASS/..., or val/ for test/."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from airjax.data.dataset import DataError

# Folders of the other split, in the order in which they are looked for, and what their images are.
OTHERS: dict[str, Literal["test", "validation"]] = {"test": "test", "val": "validation", "valid": "validation"}
# Files that are taken for images; others are passed over.
ENDINGS = (
    *(".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png"),
    *(".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"),
)


class Example(NamedTuple):
    """An image file and its class."""

    place: Path  # the data set's folder
    name: str  # of the file, from there, with slashes
    label: int

    @property
    def file(self) -> Path:
        """The file; not kept, since there may be millions."""
        return self.place / self.name


def is_class_folders(place: Path) -> bool:
    """Say whether a folder has train/ or a folder of the other split."""
    return any((place / name).is_dir() for name in ("train", *OTHERS))


def find_splits(place: Path) -> tuple[str, tuple[str, ...]]:
    """Return the name of the folder beside train/, one of OTHERS, and the classes that both have, sorted.

    Raises DataError, naming the folder, for a missing split, and for classes that are not the same in both or fewer
    than two.
    """
    if not place.is_dir():
        raise DataError(f"there is no folder {place}; need one with train/CLASS/... and test/CLASS/... (docs/data.md)")
    there = [name for name in OTHERS if (place / name).is_dir()]
    # ImageNet has a test/ of images without classes beside its val/.
    other = next((name for name in there if _has_folders(place / name)), there[0] if there else None)
    if other is None or not (place / "train").is_dir():
        missing = "train" if other else "test (or val)"
        raise DataError(f"{place} has no folder {missing}; need train/CLASS/... and test/CLASS/... (docs/data.md)")
    return other, _shared_classes(place / "train", place / other)


def _has_folders(split: Path) -> bool:
    with os.scandir(split) as entries:
        return any(entry.is_dir() and not _is_hidden(entry.name) for entry in entries)


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


def list_examples(place: Path, split: str, classes: Sequence[str]) -> list[Example]:
    """List the images of a split, sorted by class and then by name; those in deeper folders, too.

    Files that are hidden, or do not end like an image, are passed over. Raises DataError for a class without images,
    and for a file that is none that can be read.
    """
    examples = []
    for label, name in enumerate(classes):
        found = sorted(_image_names(place / split / name, f"{split}/{name}/"), key=lambda file: file.split("/"))
        if not found:
            raise DataError(f"{place / split / name} has no images; remove the class, or put some there")
        examples += [Example(place, file, label) for file in found]
    return examples


def _image_names(folder: str | Path, before: str) -> Iterator[str]:
    # What an entry is, the folder's listing tells: nothing is asked of each file, of which there may be millions.
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                if not (_is_hidden(entry.name) or entry.is_symlink()):  # a link may lead back to here
                    yield from _image_names(entry.path, f"{before}{entry.name}/")
            elif _is_image(entry.name):
                if not entry.is_file():  # a pipe, or a link to nothing
                    raise DataError(f"{entry.path} is no file that can be read; remove it")
                yield before + entry.name


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _is_image(name: str) -> bool:
    return not _is_hidden(name) and name.lower().endswith(ENDINGS)
