"""Which examples a batch shows, and which part of each: for training, and for the two test crops. (Table 3)"""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from airjax.augment.crop_boxes import UNIFORMS, centre_boxes, crop_boxes
from airjax.augment.example_draws import Flip, sample_mirrors, sample_order, sample_uniforms
from airjax.recipes.crops import Crop
from airjax.utils.fields import Range, check_fields
from airjax.utils.seeds import LARGEST_SEED

LARGEST_SIDE = 1024  # pixels, of what a network sees

_POSITIVE: Range = (lambda number: number >= 1, "from 1")
_SIDE: Range = (lambda side: 1 <= side <= LARGEST_SIDE, f"from 1 to {LARGEST_SIDE} pixels")
_RANGES: dict[str, Range] = {
    "seed": (lambda seed: 0 <= seed <= LARGEST_SEED, f"from 0 to {LARGEST_SEED}"),
    "batch_size": _POSITIVE,
    "size": _SIDE,
    "sizes": (lambda sizes: bool(sizes) and all(1 <= side <= LARGEST_SIDE for side in sizes), "one for each epoch"),
    "fraction": (lambda fraction: 0 < fraction <= 1, "above 0 and at most 1"),
}


class Selection(NamedTuple):
    """What a batch shows."""

    examples: Int[np.ndarray, " b"]
    boxes: Int[np.ndarray, "b 4"]  # top, left, height, width
    mirrors: Bool[np.ndarray, " b"]
    size: int  # pixels, of each side of what the network sees

    def part(self, places: slice) -> "Selection":
        """Return what it shows at these places of the batch."""
        return Selection(self.examples[places], self.boxes[places], self.mirrors[places], self.size)


@dataclass(frozen=True)
class TrainView:
    """A training: every epoch all examples in an order of its own, without those of a last batch that is not full."""

    batch_size: int
    """Examples in a batch."""
    sizes: tuple[int, ...]
    """Height and width of the images in each epoch, in pixels: progressive resolution. As many as there are epochs."""
    seed: int = 0
    """Of order, boxes and flips; each is a function of it, the epoch and the example alone."""
    crop: Crop = "heavy"
    """Which part of an image is shown (`airjax.augment.crop_boxes`)."""
    flip: Flip = "random"
    """Which examples are mirrored (`airjax.augment.example_draws`)."""

    def __post_init__(self) -> None:
        check_fields(self, _RANGES)

    def num_batches(self, count: int) -> int:
        """Return the batches of the whole training on so many examples."""
        return count // self.batch_size * len(self.sizes)

    def select(self, sizes: Int[np.ndarray, "n 2"], step: int) -> Selection:
        """Return what a batch of the training shows. sizes: height and width of all examples."""
        epoch, number = divmod(step, len(sizes) // self.batch_size)
        order = _order(self.seed, epoch, len(sizes))
        examples = order[number * self.batch_size : (number + 1) * self.batch_size]
        uniforms = sample_uniforms(self.seed, epoch, examples, UNIFORMS[self.crop])
        boxes = crop_boxes(self.crop, sizes[examples], uniforms)
        return Selection(examples, boxes, sample_mirrors(self.seed, epoch, examples, self.flip), self.sizes[epoch])


@dataclass(frozen=True)
class EvalView:
    """An evaluation: all examples in their order, the square in the middle of each; the last batch may be smaller."""

    batch_size: int
    """Examples in a batch."""
    size: int
    """Height and width of the images, in pixels."""
    fraction: float = 1.0
    """Side of the square, as a fraction of the shorter side."""

    def __post_init__(self) -> None:
        check_fields(self, _RANGES)

    def num_batches(self, count: int) -> int:
        """Return the batches of so many examples."""
        return -(-count // self.batch_size)

    def select(self, sizes: Int[np.ndarray, "n 2"], step: int) -> Selection:
        """Return what a batch shows. sizes: height and width of all examples."""
        examples = np.arange(step * self.batch_size, min((step + 1) * self.batch_size, len(sizes)), dtype=np.int32)
        boxes = centre_boxes(sizes[examples], self.fraction)
        return Selection(examples, boxes, np.zeros(len(examples), bool), self.size)


@functools.lru_cache(maxsize=2)
def _order(seed: int, epoch: int, count: int) -> Int[np.ndarray, " n"]:
    return sample_order(seed, epoch, count)
