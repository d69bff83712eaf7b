"""What a network takes and gives: the size of its images, their statistics, and the number of classes."""

from dataclasses import dataclass

from airjax.utils.fields import Range, check_fields

LARGEST_IMAGE = 512  # pixels
LARGEST_CLASSES = 100_000

# Of fields that are the side of an image, or several.
SIDE: Range = (lambda side: 1 <= side <= LARGEST_IMAGE, f"from 1 to {LARGEST_IMAGE} pixels")
SIDES: Range = (
    lambda sides: len(sides) > 0 and all(1 <= side <= LARGEST_IMAGE for side in sides),
    f"of at least one size from 1 to {LARGEST_IMAGE} pixels",
)

_RANGES: dict[str, Range] = {
    "image_size": SIDE,
    "channels": (lambda channels: 1 <= channels <= 4, "from 1 to 4"),
    "num_classes": (lambda count: 2 <= count <= LARGEST_CLASSES, f"from 2 to {LARGEST_CLASSES}"),
    "mean": (lambda mean: all(-10 <= value <= 10 for value in mean), "of numbers from -10 to 10"),
    "std": (lambda std: all(0 < value <= 10 for value in std), "of numbers above 0 and at most 10"),
}


@dataclass(frozen=True)
class Inputs:
    """The images and classes of a data set, so far as a network and its training depend on them. Defaults: CIFAR-10's.

    Two data sets with the same inputs share compiled programs.
    """

    image_size: int = 32
    """Height and width, in pixels."""
    channels: int = 3
    """Channels of the images, from 1 to 4."""
    num_classes: int = 10
    """Classes that an image can belong to."""
    mean: tuple[float, ...] = (0.4914, 0.4822, 0.4465)
    """Mean of each channel, of pixels in [0, 1]."""
    std: tuple[float, ...] = (0.2470, 0.2435, 0.2616)
    """Standard deviation of each channel, of pixels in [0, 1]."""

    def __post_init__(self) -> None:
        check_fields(self, _RANGES, "inputs.")
        for name in ("mean", "std"):
            if len(getattr(self, name)) != self.channels:
                raise ValueError(
                    f"inputs.{name} has {len(getattr(self, name))} numbers, but images have {self.channels} channels"
                )
