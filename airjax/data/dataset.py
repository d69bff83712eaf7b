"""What every data set is: labelled square images, as numpy arrays."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from jaxtyping import Integer, UInt8

from airjax.data.content import Content, Split, content_of, digest
from airjax.data.info import PUBLISHED, DatasetInfo, Statistics, pixel_statistics
from airjax.data.validation import draw_validation
from airjax.recipes.inputs import LARGEST_CLASSES, LARGEST_IMAGE, Inputs

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TEST_LABELS = ("cifar10h",)  # of the names of labels (`airjax.data.labels`), those of test images
CUSTOM = "custom"  # name of a data set that has CIFAR-10's form and other content
OWN = "own"  # name of your own data, until it is that of its folder or file
SYNTHETIC = "synthetic"  # name of the data set that is made on the spot (`airjax.data.builtin`)
NAMED_CLASSES = {"cifar10": CIFAR10_CLASSES, CUSTOM: CIFAR10_CLASSES}


class DataError(Exception):
    """A data set that is missing, damaged or unfit; the message says what to do."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training and a test split. Raises DataError where the arrays do not fit together."""

    name: str
    train_images: UInt8[np.ndarray, "n h w c"]  # square, from 1 to 4 channels
    train_labels: Integer[np.ndarray, " n"]  # in [0, number of classes)
    test_images: UInt8[np.ndarray, "m h w c"]  # of the same size
    test_labels: Integer[np.ndarray, " m"]  # in [0, number of classes)
    classes: tuple[str, ...] = ()  # their names; () numbers them: "0", "1", ... to the largest label
    statistics: Statistics | None = None  # None: the published ones, else measured on the training images
    symmetric: bool = True  # whether a mirrored image keeps its class
    split: Literal["test", "validation"] = "test"  # what test_images are: validation images may be tuned on
    resized: int = 0  # number of pictures that were scaled or cropped when they were read
    verified: str = ""  # the fingerprint that files with the published md5 sums gave; "" where it is not known
    labels: str | None = None  # which labels take the place of its own (`airjax.data.labels`); None: none

    def __repr__(self) -> str:
        sizes = f"{len(self.train_images):,} training and {len(self.test_images):,} {self.split} images"
        known = f"{self.content} content, {self.fingerprint[:12]}"
        return f"Dataset({self.name}: {sizes}, {len(self.classes)} classes, {known})"

    def __post_init__(self) -> None:
        for split, images, labels in (
            ("train", self.train_images, self.train_labels),
            ("test", self.test_images, self.test_labels),
        ):
            _check_split(f"{self.name}: {split}", images, labels)
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            shapes = f"{self.train_images.shape[1:]} and {self.test_images.shape[1:]}"
            raise DataError(f"{self.name}: train and test images are {shapes} each; need the same size and channels")
        if isinstance(self.classes, tuple) and not self.classes:
            object.__setattr__(self, "classes", NAMED_CLASSES.get(self.name) or self._numbered_classes())
        _check_classes(self.name, self.classes)
        object.__setattr__(self, "classes", tuple(self.classes))
        for split, labels in (("train", self.train_labels), ("test", self.test_labels)):
            if len(labels) and not (labels.min() >= 0 and labels.max() < len(self.classes)):
                raise DataError(f"{self.name}: {split} labels must lie in [0, {len(self.classes)})")

    def subset(self, indices: np.ndarray) -> "Dataset":
        """Return the same test split with only these training examples, in this order. The pixels' statistics stay."""
        return replace(
            self,
            train_images=self.train_images[indices],
            train_labels=self.train_labels[indices],
            statistics=self._statistics(),
        )

    def head(self, num_train: int, num_test: int) -> "Dataset":
        """Return the first examples of each split. The pixels' statistics stay."""
        return replace(
            self,
            train_images=self.train_images[:num_train],
            train_labels=self.train_labels[:num_train],
            test_images=self.test_images[:num_test],
            test_labels=self.test_labels[:num_test],
            statistics=self._statistics(),
        )

    def with_validation(self, count: int, seed: int = 0) -> "Dataset":
        """Return the data set with so many of its training examples instead of the test split, which is not used.

        They are drawn from every class in proportion (`airjax.data.validation`), and both parts keep their order. The
        pixels' statistics and the content are those of the whole data set. Raises DataError for a count that leaves a
        class without a training example, and for labels that are of the test images.
        """
        if self.labels in TEST_LABELS:
            raise DataError(f"{self.labels} are labels of the test images, which a validation split leaves out")
        try:
            held_out = draw_validation(self.train_labels, count, seed)
        except ValueError as error:
            raise DataError(f"{self.name}: {error}") from error
        drawn = replace(
            self,
            train_images=self.train_images[~held_out],
            train_labels=self.train_labels[~held_out],
            test_images=self.train_images[held_out],
            test_labels=self.train_labels[held_out],
            statistics=self._statistics(),
            split="validation",
        )
        drawn.__dict__["content"] = self.content  # of the whole: what the property would not find in the parts
        return drawn

    @cached_property
    def info(self) -> DatasetInfo:
        """Classes, size, channels and statistics.

        Data sets with a name have their published statistics (data of CIFAR-10's form in its files and the synthetic
        dataset have CIFAR-10's). Those of other data are measured on the training images, once: parts keep them.
        """
        _, size, _, channels = self.train_images.shape
        found = self.statistics or (PUBLISHED.get(self.name) if channels == 3 else None)
        mean, std = found or pixel_statistics(self.train_images)
        return DatasetInfo(self.name, self.classes, channels, size, mean, std, self.symmetric)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all pixels and labels, as hexadecimal digits."""
        return digest([self.train_images, self.train_labels, self.test_images, self.test_labels])

    @cached_property
    def content(self) -> Content:
        """ "official": what its name says, in the official order; "shuffled": the same in another; or "unknown"."""
        train, test = Split(self.train_images, self.train_labels), Split(self.test_images, self.test_labels)
        return content_of(self.name, self.fingerprint, self.verified, train, test)

    def with_statistics(self) -> "Dataset":
        """Return the same data set, whose parts and copies keep the statistics that it has now."""
        return self._same_arrays(statistics=self._statistics())

    def known_by_files(self) -> "Dataset":
        """Return the same data set as what its name says, for it came from files with the published md5 sums."""
        return self._same_arrays(verified=self.fingerprint)

    def renamed(self, name: str) -> "Dataset":
        """Return the same data set under another name."""
        return self._same_arrays(name=name)

    def _same_arrays(self, **changes: Any) -> "Dataset":
        other = replace(self, **changes)
        if "fingerprint" in self.__dict__:  # which takes a while to compute, and depends on the arrays alone
            other.__dict__["fingerprint"] = self.fingerprint
        return other

    def _statistics(self) -> Statistics:
        return Statistics(self.info.mean, self.info.std)

    def _numbered_classes(self) -> tuple[str, ...]:
        largest = max([0, *(int(labels.max()) for labels in (self.train_labels, self.test_labels) if len(labels))])
        if largest >= LARGEST_CLASSES:
            raise DataError(
                f"{self.name}: a label is {largest}, but classes are numbered from 0 to at most {LARGEST_CLASSES - 1}; "
                "np.unique(labels, return_inverse=True) numbers labels of any kind"
            )
        return tuple(map(str, range(largest + 1)))


def named_by_content(dataset: Dataset) -> Dataset:
    """Return the data set, under another name where it is called cifar10 or cifar100 and holds something else.

    That is "custom" for cifar10, "custom-cifar100" for cifar100: data of one's own, whose classes and statistics stay.
    """
    if dataset.name not in ("cifar10", "cifar100", "cifar100-coarse") or dataset.content != "unknown":
        return dataset
    return dataset.with_statistics().renamed(CUSTOM if dataset.name == "cifar10" else f"{CUSTOM}-{dataset.name}")


def describe_resized(dataset: Dataset) -> str:
    """Say what was done to the pictures of your own data set when it was read."""
    size, count = dataset.info.image_size, len(dataset.train_images) + len(dataset.test_images)
    return f"{dataset.resized:,} of {count:,} pictures were scaled to {size}x{size} pixels, the middle square of each"


def image_misfit(images: np.ndarray, inputs: Inputs | None = None) -> str | None:
    """Say what is wrong with an array that should be images [n,h,w,c] uint8, and the remedy; None if it is right.

    Images are square, with 1 to 4 channels; with inputs, they are of its size and channels.
    """
    shape = f"[N,{inputs.image_size},{inputs.image_size},{inputs.channels}]" if inputs else "[N,H,W,C]"
    kind = f"{images.dtype} {images.shape}"
    if images.ndim == 3:
        grey = ", images[..., None] where they are grey" if inputs is None or inputs.channels == 1 else ""
        return f"{kind}; need uint8 {shape}: images[None] where it is a single one{grey}"
    if images.dtype != np.uint8 or images.ndim != 4:
        return f"{kind}; need uint8 from 0 to 255, {shape}, channels last"
    height, width, channels = images.shape[1:]
    if inputs is None and height == width <= LARGEST_IMAGE and 1 <= channels <= 4 and height:
        return None
    if inputs is not None and (height, width, channels) == (inputs.image_size, inputs.image_size, inputs.channels):
        return None
    if 1 <= height <= 4 and width == channels > 4:
        return f"{kind}, channels first; need uint8 {shape}, channels last: images.transpose(0, 2, 3, 1)"
    limits = "" if inputs else f", square, at most {LARGEST_IMAGE} pixels wide, with 1 to 4 channels"
    return f"{kind}; need uint8 {shape}, channels last{limits}"


def _check_split(name: str, images: np.ndarray, labels: np.ndarray) -> None:
    if not isinstance(images, np.ndarray) or not isinstance(labels, np.ndarray):
        kinds = f"{type(images).__name__} and {type(labels).__name__}"
        raise DataError(f"{name} images and labels are {kinds}; need numpy arrays: np.asarray(...)")
    if misfit := image_misfit(images):
        raise DataError(f"{name} images are {misfit}")
    if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{name} labels are {labels.dtype} {labels.shape}; need {len(images)} whole numbers")


def _check_classes(name: str, classes: object) -> None:
    names = classes if isinstance(classes, tuple | list) else (None,)
    if not all(isinstance(one, str) for one in names) or len(set(names)) < len(names):
        raise DataError(f"{name}: classes are {classes!r}, but they must be different names")
    if len(names) < 2:
        raise DataError(f"{name}: there is one class only, {names[0] if names else None!r}; need at least 2")
