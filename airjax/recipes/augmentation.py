"""What happens to images: augmentation in training, views at test time. (§3, §5)"""

from dataclasses import dataclass
from typing import Literal

from airjax.recipes.inputs import LARGEST_IMAGE
from airjax.recipes.ranges import between
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
}


@dataclass(frozen=True)
class Augmentation:
    """How training images are drawn, mirrored, moved and cut. (§3)"""

    flip: Flip = "alternating"
    """Horizontal flip: none; random each epoch; alternating from a random start; alternating from an index hash."""
    order: Order = "reshuffle"
    """Order of the examples: a new permutation each epoch; sampled with replacement; the data set's own order; a new
    permutation every other epoch, and the same one backwards in between (flip-flop)."""
    translate: int = 2
    """Largest random shift, in pixels."""
    cutout: int = 0
    """Side of the square set to the mean colour, in pixels; 0 for none."""
    padding: Padding = "reflect"
    """What a shift moves in from outside the image: its reflection, or black pixels (zero)."""
    cutout_form: CutoutForm = "inside"
    """Where the square lies: inside the image; or its centre at any pixel, clipped at the borders."""
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

    def __post_init__(self) -> None:
        check_fields(self, {"tta_level": between(0, 2)})

    @property
    def num_views(self) -> int:
        """Forward passes for each test image."""
        return (1, 1, 3)[self.tta_level] * (2 if self.tta_mirror and self.tta_level else 1)
