"""What is known of a data set besides its images: classes, size, channels, and the statistics of its pixels."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from airjax.recipes.inputs import Inputs

DIGITS = 4  # after the point, of mean and std: as many as are published of CIFAR-10
BLOCK = 1 << 22  # pixels that are counted at a time


class Statistics(NamedTuple):
    """Mean and standard deviation of each channel, of pixels in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


CIFAR10 = Statistics(Inputs().mean, Inputs().std)
CIFAR100 = Statistics((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))
SVHN = Statistics((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970))
CINIC10 = Statistics((0.4789, 0.4723, 0.4305), (0.2421, 0.2383, 0.2587))
# By the data set's name, all of 3 channels; those of other data are measured.
PUBLISHED: dict[str, Statistics] = {
    "cifar10": CIFAR10,
    "custom": CIFAR10,
    "synthetic": CIFAR10,
    "cifar100": CIFAR100,
    "cifar100-coarse": CIFAR100,
    "svhn": SVHN,
    "cinic10": CINIC10,
    "cinic10-valid": CINIC10,
}


@dataclass(frozen=True)
class DatasetInfo:
    """What a network and its training depend on, and what its outputs mean."""

    name: str
    classes: tuple[str, ...]
    """Names; a label is an index into them."""
    channels: int
    """From 1 to 4."""
    image_size: int
    """Height and width, in pixels."""
    mean: tuple[float, ...]
    """Of each channel, of pixels in [0, 1]."""
    std: tuple[float, ...]
    """Of each channel, of pixels in [0, 1]."""
    symmetric: bool = True
    """Whether a mirrored image keeps its class. It does not where images hold letters or digits."""

    def inputs(self) -> Inputs:
        """Return what a network for these images takes and gives. Raises ValueError for what no network takes."""
        return Inputs(self.image_size, self.channels, len(self.classes), self.mean, self.std)


def pixel_statistics(images: UInt8[np.ndarray, "n h w c"]) -> Statistics:
    """Compute the mean and standard deviation of each channel of images, rounded to DIGITS digits.

    They come from how often each of the 256 levels occurs, in whole numbers, so that every machine computes the same.
    A channel that rounds to no spread at all has the standard deviation 1, and no images have the mean 0.
    """
    levels = np.arange(256) / 255
    means, stds = [], []
    size = max(1, BLOCK // max(1, images[0, ..., 0].size if len(images) else 1))
    for channel in range(images.shape[-1]):
        counts = np.zeros(256, np.int64)
        for start in range(0, len(images), size):
            counts += np.bincount(images[start : start + size, ..., channel].ravel(), minlength=256)
        total = max(1, int(counts.sum()))
        mean = float((counts * levels).sum()) / total
        std = float((counts * (levels - mean) ** 2).sum() / total) ** 0.5
        means.append(round(mean, DIGITS))
        stds.append(round(std, DIGITS) or 1.0)
    return Statistics(tuple(means), tuple(stds))
