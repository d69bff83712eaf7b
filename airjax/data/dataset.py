"""What every data set is: labelled 32x32 colour images, as numpy arrays."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

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

    def __post_init__(self) -> None:
        for split, images, labels in (
            ("train", self.train_images, self.train_labels),
            ("test", self.test_images, self.test_labels),
        ):
            if images.ndim != 4 or images.shape[1:] != (32, 32, 3) or images.dtype != np.uint8:
                raise DataError(
                    f"{self.name}: {split} images are {images.dtype} {images.shape}; need uint8 [N,32,32,3]"
                )
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


def digest(arrays: list[np.ndarray]) -> str:
    """SHA-256 of arrays' dtypes, shapes and bytes, as hexadecimal digits."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(f"{array.dtype.str}{array.shape}".encode())
        sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()
