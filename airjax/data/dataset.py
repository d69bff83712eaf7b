"""What every data set is: labelled 32x32 colour images, as numpy arrays."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from airjax.data.content import Content, Split, content_of, digest

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class DataError(Exception):
    """A data set that is missing, damaged or unfit; the message says what to do."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training and a test split. Raises DataError where the arrays do not fit together."""

    name: str
    train_images: np.ndarray  # [N,32,32,3] uint8
    train_labels: np.ndarray  # [N] int32 in [0, 10)
    test_images: np.ndarray  # [M,32,32,3] uint8
    test_labels: np.ndarray  # [M] int32 in [0, 10)
    classes: tuple[str, ...] = CIFAR10_CLASSES

    def __repr__(self) -> str:
        sizes = f"{len(self.train_images):,} training and {len(self.test_images):,} test images"
        known = f"{self.content} content, {self.fingerprint[:12]}"
        return f"Dataset({self.name}: {sizes}, {len(self.classes)} classes, {known})"

    def __post_init__(self) -> None:
        names = self.classes if isinstance(self.classes, (tuple, list)) else (None,)
        if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
            raise DataError(f"{self.name}: classes are {self.classes!r}, but they must be different names")
        for split, images, labels in (
            ("train", self.train_images, self.train_labels),
            ("test", self.test_images, self.test_labels),
        ):
            if not isinstance(images, np.ndarray) or not isinstance(labels, np.ndarray):
                kinds = f"{type(images).__name__} and {type(labels).__name__}"
                raise DataError(
                    f"{self.name}: {split} images and labels are {kinds}; need numpy arrays: np.asarray(...)"
                )
            if misfit := image_misfit(images):
                raise DataError(f"{self.name}: {split} images are {misfit}")
            if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
                raise DataError(
                    f"{self.name}: {split} labels are {labels.dtype} {labels.shape}; need {len(images)} whole numbers"
                )
            if len(labels) and not (labels.min() >= 0 and labels.max() < len(self.classes)):
                raise DataError(f"{self.name}: {split} labels must lie in [0, {len(self.classes)})")

    def subset(self, indices: np.ndarray) -> "Dataset":
        """The same test split with only these training examples, in this order."""
        return replace(self, train_images=self.train_images[indices], train_labels=self.train_labels[indices])

    def head(self, num_train: int, num_test: int) -> "Dataset":
        """The first examples of each split."""
        return replace(
            self,
            train_images=self.train_images[:num_train],
            train_labels=self.train_labels[:num_train],
            test_images=self.test_images[:num_test],
            test_labels=self.test_labels[:num_test],
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all pixels and labels, as hexadecimal digits."""
        return digest([self.train_images, self.train_labels, self.test_images, self.test_labels])

    @cached_property
    def content(self) -> Content:
        """ "official": what its name says, in the official order; "shuffled": the same in another; or "unknown"."""
        train, test = Split(self.train_images, self.train_labels), Split(self.test_images, self.test_labels)
        return content_of(self.name, self.fingerprint, train, test)


def image_misfit(images: np.ndarray) -> str | None:
    """What is wrong with an array that should be images [N,32,32,3] uint8, and what to do; None where it is one."""
    if images.dtype == np.uint8 and images.ndim == 4 and images.shape[1:] == (32, 32, 3):
        return None
    kind = f"{images.dtype} {images.shape}"
    if images.ndim == 4 and images.shape[1:] == (3, 32, 32):
        return f"{kind}, channels first; need uint8 [N,32,32,3], channels last: images.transpose(0, 2, 3, 1)"
    if images.ndim == 3:
        return f"{kind}; need uint8 [N,32,32,3]: images[None] where it is a single one"
    return f"{kind}; need uint8 from 0 to 255, [N,32,32,3], channels last"
