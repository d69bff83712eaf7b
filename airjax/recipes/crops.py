"""How images of any size become squares: which part of each is shown, at which resolution, and the test crops. (§9)"""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from airjax.recipes.augmentation import Augmentation, Tta
from airjax.recipes.inputs import SIDE, SIDES
from airjax.recipes.ranges import between
from airjax.utils.fields import Range, check_fields

# heavy: a part of random area and shape. light: the square in the middle. light-shift: a square at a random place along
# the longer side.
Crop = Literal["heavy", "light", "light-shift"]

_RANGES: dict[str, Range] = {
    "ramp_first": SIDE,
    "ramp_last": SIDE,
    "ramp_start": between(0, 1),
    "ramp_end": between(0, 1),
    "ramp_multiple": SIDE,
    "test_sizes": SIDES,
    "test_fractions": (lambda parts: all(0 < part <= 1 for part in parts), "above 0 and at most 1"),
}


@dataclass(frozen=True)
class Crops:
    """Learn from a tree of images of any size: a part of each, at a resolution that grows; and the test crops. (§9)"""

    crop: Crop = "heavy"
    """Which part of a training image is shown: one of random area and shape (heavy); the square in the middle (light);
    a square of the shorter side, at a random place along the longer one (light-shift)."""
    ramp_first: int = 160
    """Height and width of the training images in the first epochs, in pixels."""
    ramp_last: int = 192
    """Height and width of the training images in the last epochs, in pixels."""
    ramp_start: float = 0.6875
    """Fraction of the epochs at which that size begins to grow, in a straight line."""
    ramp_end: float = 0.8125
    """Fraction of the epochs at which it has grown."""
    ramp_multiple: int = 32
    """Pixels of which every epoch's size is a multiple: the nearest one, of two the even one."""
    test_sizes: tuple[int, ...] = (256, 192)
    """Height and width of the images of each test crop, in pixels. The first one's accuracy is that of the network."""
    test_fractions: tuple[float, ...] = (0.875, 1.0)
    """Side of each test crop, the square in the middle, as a fraction of an image's shorter side."""

    def __post_init__(self) -> None:
        check_fields(self, _RANGES)
        if self.ramp_start > self.ramp_end:
            raise ValueError(f"ramp-start is {self.ramp_start}, but it must be at most ramp-end, {self.ramp_end}")
        if min(self.ramp_first, self.ramp_last) <= self.ramp_multiple / 2:
            raise ValueError(
                f"ramp-multiple is {self.ramp_multiple}, but images of {min(self.ramp_first, self.ramp_last)} pixels "
                "would round to none: make it smaller"
            )
        if len(self.test_sizes) != len(self.test_fractions):
            raise ValueError(
                f"test-sizes has {len(self.test_sizes)} sizes, but test-fractions {len(self.test_fractions)}: one for "
                "each"
            )

    def size_at(self, epoch: int, epochs: float) -> int:
        """Return the height and width in a 0-based epoch of so many, in pixels."""
        start, end = self.ramp_start * epochs, self.ramp_end * epochs
        grown = float(epoch >= end) if start == end else min(1.0, max(0.0, (epoch - start) / (end - start)))
        size = self.ramp_first + (self.ramp_last - self.ramp_first) * grown
        return round(size / self.ramp_multiple) * self.ramp_multiple

    def epoch_sizes(self, epochs: float) -> tuple[int, ...]:
        """Return the height and width in every epoch, in pixels."""
        return tuple(self.size_at(epoch, epochs) for epoch in range(math.ceil(epochs)))

    def first_steps(self, steps_per_epoch: int, epochs: float) -> tuple[tuple[int, int], ...]:
        """Return the first step (from 0) of every epoch, with its size."""
        sizes = self.epoch_sizes(epochs)
        return tuple((epoch * steps_per_epoch, size) for epoch, size in enumerate(sizes))

    def require_parts(self, augmentation: Augmentation, evaluation: Tta, others: dict[str, Any]) -> None:
        """Raise ValueError for what is not done to images of a tree; others: switches of parts that must be left out.

        Nothing but a flip follows the crop, and no example is chosen or looked at before the first step.
        """
        allowed = Augmentation(flip=augmentation.flip, translate=0)
        if augmentation.flip == "alternating":
            raise ValueError(
                "flip is alternating, whose start is drawn for each image of a data set in memory; images of a tree "
                "take alternating-hash"
            )
        for name in vars(allowed):
            found, wanted = getattr(augmentation, name), getattr(allowed, name)
            if found != wanted:
                flag = name.replace("_", "-")
                raise ValueError(
                    f"{flag} is {found}, but images of a tree are only cropped and flipped: set it to {wanted}"
                )
        if replace(evaluation, tta_level=1, tta_mirror=True) != Tta(tta_level=1):
            raise ValueError("tta-fraction and tta-uniform are not for images of a tree: leave them as they are")
        for name, part in others.items():
            if part:
                raise ValueError(f"{name} is set, but not for images of a tree, which are cropped; leave it out")
