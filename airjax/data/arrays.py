"""Arrays of your own in an .npz file, under the names that Keras uses: x_train, y_train, x_test and y_test."""

import hashlib
import tokenize
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from airjax.data.cache import cache_folder, through_cache
from airjax.data.dataset import OWN, DataError, Dataset
from airjax.data.image_files import fit_pixels
from airjax.data.official import digest_file
from airjax.data.place import named_in_errors

NAMES = ("x_train", "y_train", "x_test", "y_test")
CLASSES = "classes"  # an array of text with the names of the classes; may be missing
_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, KeyError, RuntimeError, MemoryError),
    *(SyntaxError, tokenize.TokenError),  # an array's head is read as a Python literal
)


def load_npz(place: Path, image_size: int | None = None) -> Dataset:
    """Load the data set in an .npz: images uint8 [n,h,w,c], or [n,h,w] if they are grey, and labels [n] or [n,1].

    Its order is kept. Images keep their size unless image_size is another one: then the middle square of each is scaled
    to it. Classes are named by an array `classes` of text, else by number. Nothing in the file is executed.

    Raises DataError, naming the file, for one that is damaged or holds Python objects, an array that is missing or of
    another kind, and a label that only one split has.
    """
    if image_size is None:
        dataset = _parse(place, None)
    else:
        with named_in_errors(place):
            known = digest_file(place)
        key = hashlib.sha256(f"{known} {image_size}".encode()).hexdigest()[:16]
        file = cache_folder() / f"own-{key}.safetensors"
        dataset = through_cache(file, lambda: _parse(place, image_size))
    if (np.diff(dataset.train_labels) >= 0).all():
        warnings.warn(
            f"{place}: y_train is sorted by class, so that the first images show the first classes alone: whitening "
            "learns from those, and a recipe that trains on fewer images on nothing else. Shuffle it",
            stacklevel=2,
        )
    return dataset


def _parse(place: Path, image_size: int | None) -> Dataset:
    with named_in_errors(place), place.open("rb") as file:
        arrays = _read_arrays(place, file)
    images = {name: _with_channels(arrays[name]) for name in ("x_train", "x_test")}
    labels = {name: _flat_labels(place, name, arrays[name]) for name in ("y_train", "y_test")}
    for here, there in (("y_train", "y_test"), ("y_test", "y_train")):
        if only := sorted(set(np.unique(labels[here]).tolist()) - set(np.unique(labels[there]).tolist())):
            raise DataError(f"{place}: label {only[0]} is in {here}, but not in {there}; both need every class")
    if not len(images["x_train"]):
        raise DataError(f"{place}: x_train has no images")
    resized = 0
    if image_size is not None:
        images, resized = _resize(place, images, image_size)
    classes = _read_classes(place, arrays[CLASSES]) if CLASSES in arrays else ()
    (train, test), (train_labels, test_labels) = images.values(), labels.values()
    return Dataset(OWN, train, train_labels, test, test_labels, classes, resized=resized).with_statistics()


def _read_arrays(place: Path, stream: IO[bytes]) -> dict[str, np.ndarray]:
    try:
        with np.load(stream, allow_pickle=False) as file:
            found = set(file.files)
            if missing := [name for name in NAMES if name not in found]:
                raise DataError(
                    f"{place} has no array {missing[0]}, but {', '.join(sorted(found)) or 'none at all'}; need "
                    f"{', '.join(NAMES)}"
                )
            arrays = {name: file[name] for name in (*NAMES, CLASSES) if name in found}
    except (*_DAMAGED, TypeError, AttributeError) as error:  # a single array has no files
        raise DataError(f"{place} is no .npz of plain arrays, or is damaged: {error}") from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # a member of another kind comes as its bytes
            raise DataError(f"{place} is no .npz of plain arrays, or is damaged: {name} is no array")
    return arrays


def _read_classes(place: Path, names: np.ndarray) -> tuple[str, ...]:
    if names.ndim != 1 or names.dtype.kind not in "SU":
        raise DataError(f"{place}: {CLASSES} is {names.dtype} {names.shape}; need a text for each class")
    try:
        return tuple(name.decode() if isinstance(name, bytes) else name for name in names.tolist())
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: {CLASSES} has a name that is no text: {error}") from error


def _with_channels(images: np.ndarray) -> np.ndarray:
    return images[..., None] if images.ndim == 3 else images


def _flat_labels(place: Path, name: str, labels: np.ndarray) -> np.ndarray:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(
            f"{place}: {name} is {labels.dtype} {labels.shape}; need a whole number for each image, not one-hot rows"
        )
    if len(labels) and not (labels.min() >= 0 and labels.max() < 2**31):
        raise DataError(f"{place}: {name} has a label {labels[(labels < 0) | (labels >= 2**31)][0]}; need them from 0")
    return labels.astype(np.int32)


def _resize(place: Path, images: dict[str, np.ndarray], size: int) -> tuple[dict[str, np.ndarray], int]:
    done, resized = {}, 0
    for name, array in images.items():
        if array.dtype != np.uint8 or array.ndim != 4 or 0 in array.shape or array.shape[-1] > 4:
            raise DataError(f"{place}: {name} is {array.dtype} {array.shape}; need uint8 [N,H,W] or [N,H,W,C]")
        if array.shape[1:3] == (size, size):
            done[name] = array
            continue
        done[name], resized = np.stack([fit_pixels(image, size) for image in array]), resized + len(array)
    return done, resized
