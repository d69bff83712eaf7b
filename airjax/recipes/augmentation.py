"""What happens to images: augmentation in training, views at test time. (§3, §5)"""

import math
from dataclasses import dataclass
from typing import Literal

from airjax.recipes.inputs import LARGEST_IMAGE
from airjax.recipes.ranges import above, below, between
from airjax.utils.fields import Range, check_fields

Flip = Literal["none", "random", "alternating", "alternating-hash"]
Order = Literal["reshuffle", "replacement", "fixed", "flip-flop"]
CutoutSampling = Literal["random", "without-replacement", "low-discrepancy"]
CropSampling = Literal["random", "without-replacement", "joint", "low-discrepancy"]
Padding = Literal["reflect", "zero"]
CutoutForm = Literal["inside", "clipped"]


_RANGES: dict[str, Range] = {
    "translate": between(0, 15, " pixels"),
    "cutout": between(0, LARGEST_IMAGE, " pixels"),
    "brightness": between(0, 10),
    "contrast": below(0, 1),
}
_TTA_RANGES: dict[str, Range] = {"tta_level": between(0, 2), "tta_fraction": above(0, 1)}


@dataclass(frozen=True)
class Augmentation:
    """How training images are drawn, mirrored, moved and cut. (§3)"""

    flip: Flip = "alternating"
    """Horizontal flip: none; random each epoch; alternating from a random start; alternating from an index hash."""
    order: Order = "reshuffle"
    """Order of the examples: a new permutation each epoch; sampled with replacement; the data set's own order; a new
    permutation every other epoch, and the same one backwards in between (flip-flop)."""
    drop_remainder: bool = True
    """End an epoch with its last whole batch and leave out the rest, or let a batch go on into the next epoch."""
    translate: int = 2
    """Largest random shift, in pixels."""
    cutout: int = 0
    """Side of the square set to the mean colour, in pixels; 0 for none."""
    padding: Padding = "reflect"
    """What a shift moves in from outside the image: its reflection, or black pixels (zero)."""
    cutout_form: CutoutForm = "inside"
    """Where the square lies: inside the image; or its centre at any pixel, clipped at the borders."""
    brightness: float = 0.0
    """Largest random number added to all of an image's normalised pixels, or subtracted; 0 for none."""
    contrast: float = 0.0
    """Largest random distance from 1 of the factor that these pixels are then multiplied by; 0 for none."""
    crop_sampling: CropSampling = "random"
    """How an image's shifts are drawn over the epochs: independently; no shift twice before each has come once; no pair
    of flip and shift twice before each has come once (joint); low-discrepancy, so that any few cover all evenly."""
    cutout_sampling: CutoutSampling = "random"
    """How the places of an image's square are drawn over the epochs: as shifts are, but never jointly with the flip."""
    antithetic: bool = False
    """Whether shift and square lie on the opposite side of the middle in every other epoch."""

    def __post_init__(self) -> None:
        check_fields(self, _RANGES)
        if self.cutout_form == "clipped" and self.cutout % 2:
            raise ValueError(
                f"cutout is {self.cutout}, but a clipped square has an even side: half of it on each side of its centre"
            )
        if self.crop_sampling == "joint" and self.flip == "random":
            raise ValueError(
                "crop-sampling is joint, but flip is random, which draws each epoch's flip by itself; "
                "set flip to alternating, or crop-sampling to without-replacement"
            )

    def require_size(self, image_size: int) -> None:
        """Raise ValueError for images that are too small for the shifts or the square."""
        if self.translate >= image_size:
            raise ValueError(f"translate is {self.translate}, but it must be less than the images' {image_size} pixels")
        if self.cutout > image_size:
            raise ValueError(f"cutout is {self.cutout}, but it must be at most the images' {image_size} pixels")


@dataclass(frozen=True)
class Tta:
    """Test-time augmentation: the mean over views of an image. (§5)"""

    tta_level: int = 2
    """Test-time augmentation: 0 none, 1 mirror, 2 mirror and two one-pixel shifts."""
    tta_mirror: bool = True
    """Whether views are mirrored, too. Not for images whose class depends on the side, such as digits."""
    tta_fraction: float = 1.0
    """Fraction of the images that get all views: those least certain by the plain image, which serves the rest."""
    tta_uniform: bool = False
    """Give every view the same weight."""

    def __post_init__(self) -> None:
        check_fields(self, _TTA_RANGES)

    @property
    def num_views(self) -> int:
        """Views of an image that has all of them."""
        return (1, 1, 3)[self.tta_level] * (2 if self.tta_mirror and self.tta_level else 1)

    @property
    def passes_per_image(self) -> float:
        """Forward passes for each test image, on average: selected images have a plain one before their views."""
        return 1 + self.tta_fraction * self.num_views if self.selects(self.tta_level) else float(self.num_views)

    def selects(self, level: int) -> bool:
        """Say whether, at a level, only some images have all views."""
        return level > 0 and self.tta_fraction < 1

    def num_selected(self, num_images: int) -> int:
        """Return how many of so many images have all views: their fraction, rounded up."""
        return math.ceil(round(self.tta_fraction * num_images, 6))  # 0.07 * 100 is 7.000000000000001
