"""SVHN, house numbers cropped to their digits, from its MATLAB files, the cache or the network."""

import functools
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from airjax.data.content import Split
from airjax.data.dataset import DataError, Dataset
from airjax.data.download import Remote
from airjax.data.official import Found, Official, digest_bytes, digest_file, load_official

CLASSES = tuple("0123456789")
NUMBERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "single", "double")  # of MATLAB
DIGIT_0 = 10  # its label in the files
SIZES = {"train": 73_257, "test": 26_032, "extra": 531_131}  # images
VARIABLE = "AIRJAX_SVHN"
WHERE = (
    "Put train_32x32.mat and test_32x32.mat (and extra_32x32.mat for svhn-extra) into a folder, and name it with "
    f"--data-dir or {VARIABLE}"
)


def _remote(split: str, md5: str, size: int) -> Remote:
    name = f"{split}_32x32.mat"
    return Remote(name, md5, size, (f"http://ufldl.stanford.edu/housenumbers/{name}",))


REMOTES = {
    "train": _remote("train", "e26dedcc434d2e4c54c9b2d4a06d8373", 182_040_794),
    "test": _remote("test", "eb5a983be6a315427106f1b164d9cef3", 64_275_384),
    "extra": _remote("extra", "a93ce644f1a588dc4d68dda5feec44a7", 1_329_278_602),
}


def load_svhn(data_dir: str | Path | None = None, *, extra: bool = False, download: bool = True) -> Dataset:
    """SVHN: from data_dir, else from AIRJAX_SVHN, else from the user's cache, else from the network.

    Its images are not symmetric: a mirrored digit is another one, or none.

    Args:
        data_dir: a folder with the .mat files of cropped digits, or one of these files beside the others.
        extra: train on the 531,131 extra images, too, after those of the training split; the name is "svhn-extra".
        download: whether to use the network where nothing else is there.

    Warns where the files have other md5 sums than the published ones.

    Raises:
        DataError: not found, not to be downloaded, or damaged. A place that was named is never passed over.
    """
    return load_official(official(extra), data_dir, download_files=download)


def official(extra: bool = False) -> Official:
    """Describe SVHN's files, with or without the extra images."""
    splits = ("train", "test", "extra") if extra else ("train", "test")
    remotes = tuple(REMOTES[split] for split in splits)
    find = functools.partial(_find, "svhn-extra" if extra else "svhn", splits)
    return Official("svhn-extra" if extra else "svhn", "SVHN", VARIABLE, remotes, WHERE, find, _checked)


def _folder_of(place: Path) -> Path:
    if place.is_file():
        return place.parent
    inner = place / "svhn"
    return inner if (inner / REMOTES["train"].name).is_file() else place


def _find(name: str, splits: tuple[str, ...], place: Path) -> Found:
    folder = _folder_of(place)
    files = [folder / REMOTES[split].name for split in splits]
    missing = [file for file in files if not file.is_file()]
    if not place.exists():
        raise DataError(f"{place} does not exist. {WHERE}")
    if missing == files:
        raise DataError(f"{place} holds no SVHN. {WHERE}")
    if missing:
        raise DataError(f"{missing[0]} is missing. {WHERE}")
    key = digest_bytes(digest_file(file).encode() for file in files)
    return Found(key, lambda: _read(name, dict(zip(splits, files, strict=True))))


def _read(name: str, files: dict[str, Path]) -> Dataset:
    parts = {split: read_mat(file, SIZES[split]) for split, file in files.items()}
    train = parts["train"]
    if "extra" in parts:
        train = Split(*(np.concatenate(pair) for pair in zip(train, parts["extra"], strict=True)))
    dataset = Dataset(name, *train, *parts["test"], CLASSES, symmetric=False).with_statistics()
    published = all(digest_file(file, "md5") == REMOTES[split].md5 for split, file in files.items())
    return dataset.known_by_files() if published else dataset


def read_mat(file: Path, size: int) -> Split:
    """Read the images and labels of a split, of so many images, from its MATLAB file; label 10 becomes digit 0.

    What the file says of its arrays is checked before they are read. Raises DataError, naming the file.
    """
    from scipy.io import loadmat, whosmat

    try:
        listed = whosmat(file)
        found = {name: (shape, kind) for name, shape, kind in listed}
        if len(found) < len(listed):
            raise DataError(f"{file} holds two arrays of one name, which the official files do not. Fetch it again")
        shapes = found.get("X", ((), ""))[0], found.get("y", ((), ""))[0]
        if shapes != ((32, 32, 3, size), (size, 1)) or found["X"][1] != "uint8" or found["y"][1] not in NUMBERS:
            raise DataError(
                f"{file} holds {_describe(found)}; need X, uint8 (32, 32, 3, {size}), and y, numbers ({size}, 1). "
                "Fetch it again"
            )
        arrays: dict[str, Any] = loadmat(file, variable_names=("X", "y"))
    except NotImplementedError as error:  # of a version that scipy does not read
        raise DataError(
            f"{file} is in MATLAB's format 7.3, which the official files are not. Fetch it again"
        ) from error
    except DataError:
        raise
    except Exception as error:  # a damaged file raises nearly anything
        raise DataError(f"{file}: truncated or damaged, or no MATLAB file: {error}. Fetch it again") from error
    labels = arrays["y"][:, 0]
    wrong = labels[~np.isin(labels, range(1, DIGIT_0 + 1))]
    if wrong.size:
        raise DataError(f"{file}: labels must be whole numbers from 1 to {DIGIT_0}, but one is {wrong[0]}")
    images = np.ascontiguousarray(arrays["X"].transpose(3, 0, 1, 2))
    return Split(images, labels.astype(np.int32) % DIGIT_0)


def _describe(found: dict[str, tuple[tuple[int, ...], str]]) -> str:
    return ", ".join(f"{name}, {kind} {shape}" for name, (shape, kind) in found.items()) or "no arrays"


def _checked(dataset: Dataset, place: Path) -> Dataset:
    # Warns the caller of load_svhn where the files are not the published ones.
    if dataset.content != "official":
        splits = ("train", "test", "extra") if dataset.name == "svhn-extra" else ("train", "test")
        sums = {split: digest_file(_folder_of(place) / REMOTES[split].name, "md5") for split in splits}
        others = [
            f"{REMOTES[split].name} has the md5 sum {found}, not {REMOTES[split].md5}"
            for split, found in sums.items()
            if found != REMOTES[split].md5
        ]
        warnings.warn(
            f"{place} has the form of SVHN, but not its files as they are published ({', '.join(others)}): its "
            "content is unknown. Fetch them again",
            stacklevel=4,
        )
    return dataset
