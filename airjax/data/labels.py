"""Other labels of CIFAR-10's images, given by people: CIFAR-10N of the training images, CIFAR-10H of the test images.

Both go by the official order of CIFAR-10. Their licences allow no commercial use, and nothing is downloaded: CIFAR-10N
is CIFAR-10_human.pt of https://github.com/UCSC-REAL/cifar-10-100n (Wei et al., 2022), CIFAR-10H is cifar10h-counts.npy
or cifar10h-probs.npy of https://github.com/jcpeterson/cifar-10h (Peterson et al., 2019).
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Int32, Real

from airjax.data.content import digest
from airjax.data.dataset import DataError, Dataset
from airjax.data.place import expand_readable, named_in_errors
from airjax.data.torch_files import read_array, read_table

LabelName = Literal[
    "cifar10n-aggregate", "cifar10n-random1", "cifar10n-random2", "cifar10n-random3", "cifar10n-worst", "cifar10h"
]
LABEL_NAMES: tuple[LabelName, ...] = get_args(LabelName)
VARIABLE = "AIRJAX_LABELS"
LARGEST = 1 << 26  # bytes of a file; the official ones have a few millions
NOISY_FILES = ("CIFAR-10_human.pt", "CIFAR-10_human.npy")
PEOPLE_FILES = ("cifar10h-counts.npy", "cifar10h-probs.npy")
ADDRESSES = {
    NOISY_FILES: "https://github.com/UCSC-REAL/cifar-10-100n/tree/main/data",
    PEOPLE_FILES: "https://github.com/jcpeterson/cifar-10h/tree/master/data",
}


class LabelSet(NamedTuple):
    """Labels that take the place of a split's own."""

    what: str
    split: Literal["train", "test"]
    files: tuple[str, ...]  # names of the official files, in the order in which they are looked for
    key: str  # of the labels in the file; "" where it holds a row for each image
    sha256: str  # of the labels as int32 (`airjax.data.content.digest`)


LABEL_SETS: dict[str, LabelSet] = {
    "cifar10n-aggregate": LabelSet(
        "the majority of three people, of the training images",
        "train",
        NOISY_FILES,
        "aggre_label",
        "4f5921a4c1e92a1ee4ca2986b1595ae89aa1dd8f382bbf62a1b9f9953b576003",
    ),
    "cifar10n-random1": LabelSet(
        "the first of three people, of the training images",
        "train",
        NOISY_FILES,
        "random_label1",
        "45b34f80ca53544664823c534bc2447a5cb72ee37b61d3e672558b47bb6faf34",
    ),
    "cifar10n-random2": LabelSet(
        "the second of three people, of the training images",
        "train",
        NOISY_FILES,
        "random_label2",
        "fc1044ed41d598ec58e2531b5480e56334b512165f8f643db57e2edb4c6656aa",
    ),
    "cifar10n-random3": LabelSet(
        "the third of three people, of the training images",
        "train",
        NOISY_FILES,
        "random_label3",
        "b460fa8e1c748231265cc3bba13fbf134570ba9ee75210b6c56c62bd2e306ea0",
    ),
    "cifar10n-worst": LabelSet(
        "a wrong one of three people's if there is one, of the training images",
        "train",
        NOISY_FILES,
        "worse_label",
        "67bbdb14b925715eab0233ced4d576a38a86a38943ed22d8c8fd0ab15eae23dd",
    ),
    "cifar10h": LabelSet(
        "what most of about fifty people chose, of the test images",
        "test",
        PEOPLE_FILES,
        "",
        "09895c9b4344ba7379d898c241a5af24dc49a1d72ab1e8f7307056bf302f2880",
    ),
}


def with_labels(dataset: Dataset, name: str, place: str | Path | None = None) -> Dataset:
    """Return CIFAR-10 with other labels, under the name "cifar10+NAME".

    Args:
        dataset: CIFAR-10 in its official order, whole.
        name: one of LABEL_SETS.
        place: the official file of the labels, or a folder with it; None is the one that AIRJAX_LABELS names.

    Raises DataError for a name that there is not, another data set or order, and a file that is missing, damaged or
    not the official one.
    """
    if name not in LABEL_SETS:
        raise DataError(f"labels is {name!r}, but must be one of {', '.join(LABEL_SETS)}")
    chosen = LABEL_SETS[name]
    if (dataset.name, dataset.split, dataset.labels) != ("cifar10", "test", None):
        raise DataError(f"{name} are labels of CIFAR-10, not of {dataset.name}; name it with --data cifar10")
    if dataset.content != "official":
        raise DataError(
            f"{name} go by the official order of CIFAR-10's images, but the content of this is {dataset.content}; name "
            "the official files with --data-dir"
        )
    file = _find(name, chosen, place)
    with named_in_errors(file):
        if file.stat().st_size > LARGEST:
            raise DataError(f"{file} has more than {LARGEST >> 20} MiB, so it does not hold {name}")
        content = file.read_bytes()
    if chosen.split == "test":
        changes: dict[str, Any] = {"test_labels": _read_people(content, file, dataset.test_labels)}
    else:
        changes = {"train_labels": _read_noisy(content, file, name, chosen, dataset.train_labels)}
    named = replace(dataset.with_statistics(), name=f"{dataset.name}+{name}", labels=name, **changes)
    return named.known_by_files()


def read_answers(file: Path) -> Real[np.ndarray, "n 10"]:
    """Read CIFAR-10H's answers to each test image by class: their counts, or their fractions, as the file has them.

    Raises DataError, naming the file, for one that holds something else.
    """
    with named_in_errors(file):
        return _parse_answers(file.read_bytes(), file)


def _find(name: str, chosen: LabelSet, place: str | Path | None) -> Path:
    address = f"{' or '.join(chosen.files)} of {ADDRESSES[chosen.files]}"
    remedy = f"fetch {address}, and name its place with --labels-dir or {VARIABLE}"
    named = place or os.environ.get(VARIABLE)
    if not named:
        raise DataError(f"the labels {name} are not here; {remedy}")
    path = expand_readable(named)
    files = [path, *(path / file for file in chosen.files), *(path / "data" / file for file in chosen.files)]
    found = next((file for file in files if file.is_file()), None)
    if found is None:
        raise DataError(f"{path} {'holds no labels ' + name if path.exists() else 'does not exist'}; {remedy}")
    return found


def _read_noisy(content: bytes, file: Path, name: str, chosen: LabelSet, own: np.ndarray) -> np.ndarray:
    table = read_table(content, str(file))
    clean, labels = (_labels_of(table, key, len(own), file) for key in ("clean_label", chosen.key))
    if not np.array_equal(clean, own):
        raise DataError(
            f"{file}: its clean_label are not CIFAR-10's labels in the official order (CIFAR-10_human_ordered.npy goes "
            "by another one); fetch CIFAR-10_human.pt"
        )
    found = digest([labels])
    if found != chosen.sha256:
        raise DataError(
            f"{file}: the sha256 of {chosen.key} is {found}, but that of {name} is {chosen.sha256}. Fetch it again"
        )
    return labels


def _labels_of(table: dict[str, np.ndarray], key: str, size: int, file: Path) -> Int32[np.ndarray, " n"]:
    labels = table.get(key)
    if labels is None:
        raise DataError(f"{file} has no {key}, but {', '.join(map(str, table)) or 'nothing'}; need CIFAR-10_human.pt")
    if labels.shape != (size,) or labels.dtype.kind not in "iu" or not ((labels >= 0) & (labels <= 9)).all():
        raise DataError(f"{file}: {key} is {labels.dtype} {labels.shape}; need {size} whole numbers from 0 to 9")
    return labels.astype(np.int32)


def _read_people(content: bytes, file: Path, own: np.ndarray) -> Int32[np.ndarray, " n"]:
    # The class that most people chose; where two were chosen as often, the official one of them.
    answers = _parse_answers(content, file)
    if len(answers) != len(own):
        raise DataError(f"{file} has {len(answers)} rows, but CIFAR-10 has {len(own)} test images. Fetch it again")
    most = answers == answers.max(axis=1, keepdims=True)
    labels = np.where(most[np.arange(len(own)), own], own, most.argmax(axis=1)).astype(np.int32)
    found = digest([labels])
    if found != LABEL_SETS["cifar10h"].sha256:
        raise DataError(
            f"{file}: the sha256 of its majorities is {found}, but that of cifar10h is "
            f"{LABEL_SETS['cifar10h'].sha256}. Fetch it again"
        )
    return labels


def _parse_answers(content: bytes, file: Path) -> np.ndarray:
    answers = read_array(content, str(file))
    if answers.ndim != 2 or answers.shape[1] != 10 or answers.dtype.kind not in "iuf":
        raise DataError(f"{file} is {answers.dtype} {answers.shape}; need a row of 10 numbers for each test image")
    if not (np.isfinite(answers).all() and (answers >= 0).all() and (answers.sum(axis=1) > 0).all()):
        raise DataError(f"{file}: counts and fractions of answers must be finite, from 0, and not all 0")
    return answers
