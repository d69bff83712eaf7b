"""Load any data set: by its name, or your own by its path."""

import os
import warnings
from pathlib import Path

from airjax.data.arrays import load_npz
from airjax.data.cifar10 import has_cifar10, load_cifar10
from airjax.data.class_folders import is_class_folders
from airjax.data.dataset import CUSTOM, SYNTHETIC, DataError, Dataset
from airjax.data.folder import IMAGE_SIZE, load_folder
from airjax.data.labels import VARIABLE, with_labels
from airjax.data.place import expand_readable, named_in_errors, shortened
from airjax.data.registry import ALIASES, REGISTRY, find_entry, known_names
from airjax.recipes.inputs import LARGEST_IMAGE


def load_data(
    name: str | Path = "auto",
    data_dir: str | Path | None = None,
    *,
    image_size: int | None = None,
    labels: str | None = None,
    labels_dir: str | Path | None = None,
) -> Dataset:
    """Load the data set of that name, or of your own at that path (docs/data.md).

    Args:
        name: a name in `airjax.data.registry`; "auto", which is CIFAR-10 where it is available, else the synthetic
            dataset with a warning; or the path of a folder with train/ and test/, of an .npz, or of CIFAR-10.
        data_dir: where the files of a data set that has a name lie.
        image_size: height and width in pixels to which your own images are scaled. None: 32 for a folder, and an .npz
            keeps its own.
        labels: other labels of CIFAR-10's images, a name in `airjax.data.labels`. None: the data set's own.
        labels_dir: where the file of those lies. None: where AIRJAX_LABELS says, else in data_dir.

    Raises DataError where there is no such data set, or it cannot be read.
    """
    if labels is None and labels_dir is not None:
        raise DataError(f"labels-dir is {shortened(labels_dir)}, but no labels are asked for; name them with --labels")
    dataset = _load_images(name, data_dir, image_size)
    if labels is None:
        return dataset
    return with_labels(dataset, labels, labels_dir or os.environ.get(VARIABLE) or data_dir)


def _load_images(name: str | Path, data_dir: str | Path | None, image_size: int | None) -> Dataset:
    if image_size is not None and not 1 <= image_size <= LARGEST_IMAGE:
        raise DataError(f"image-size is {image_size}, but it must be from 1 to {LARGEST_IMAGE} pixels")
    entry = find_entry(name) if isinstance(name, str) else None  # a Path is a place, whatever it is called
    if entry is None and name != "auto":
        if data_dir is not None:
            raise DataError(f"data is {shortened(name)}, which names a place already; leave --data-dir out")
        return _load_own(name, image_size)
    if image_size is not None:
        raise DataError(f"image-size is {image_size}, but the images of {name} keep theirs; only your own are scaled")
    if entry is None:
        return _load_auto(data_dir)
    if data_dir is not None and not entry.has_files:
        raise DataError(f"data-dir is {shortened(data_dir)}, but {name} is {entry.origin}; leave it out")
    return entry.load(data_dir)


def is_own(name: str) -> bool:
    """Say whether a name is the path of data of one's own: not in the registry, and not "auto"."""
    return name != "auto" and find_entry(name) is None


def require_place(name: str) -> None:
    """Raise DataError where there is nothing at the path of data of one's own."""
    if not expand_readable(name).exists():
        raise DataError(
            f"data is {shortened(name)!r}, but there is no data set of that name ({known_names()}), and no such folder "
            "or file"
        )


def _load_auto(data_dir: str | Path | None) -> Dataset:
    try:
        return load_cifar10(data_dir)
    except DataError as error:
        if data_dir is not None or os.environ.get("AIRJAX_DATA"):
            raise
        warnings.warn(
            f"{error}. Using the synthetic dataset instead, whose accuracies say nothing about CIFAR-10", stacklevel=3
        )
        return REGISTRY[SYNTHETIC].load(None)


def _load_own(name: str | Path, image_size: int | None) -> Dataset:
    require_place(str(name))
    place = expand_readable(name)
    with named_in_errors(place):
        if place.is_dir() and is_class_folders(place):
            return _renamed(load_folder(place, image_size or IMAGE_SIZE), place)
        if place.is_file() and place.suffix.lower() == ".npz":
            return _renamed(load_npz(place, image_size), place)
        if place.is_dir() and not has_cifar10(place):
            raise DataError(
                f"{place} has no folders train and test, in which each class has a folder of images, nor CIFAR-10's "
                "files (docs/data.md)"
            )
    if image_size is not None:
        raise DataError(f"image-size is {image_size}, but the images of CIFAR-10, in {place}, keep theirs")
    return load_cifar10(place)


def _renamed(dataset: Dataset, place: Path) -> Dataset:
    # After its place; a name in the registry is another data set's.
    name = place.resolve().stem if place.is_file() else place.resolve().name
    name = f"own-{name}" if name in (*REGISTRY, *ALIASES, "") or name.startswith(CUSTOM) else name
    return dataset.renamed(name)
