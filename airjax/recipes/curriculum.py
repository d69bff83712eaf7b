"""How large training images are over time (§3), and how a training ends after its schedule (§4.10)."""

from dataclasses import dataclass

from airjax.recipes.inputs import SIDES
from airjax.recipes.ranges import between
from airjax.utils.fields import Range, check_fields

_CURRICULUM_RANGES: dict[str, Range] = {
    "curriculum_sizes": SIDES,
    "curriculum_epochs": (
        lambda epochs: all(0 < epoch <= 10_000 for epoch in epochs) and list(epochs) == sorted(set(epochs)),
        "of epochs above 0 and at most 10000, in ascending order",
    ),
}
_TAIL_RANGES: dict[str, Range] = {
    "tail_steps": between(1, 1_000_000, " steps"),
    "tail_floor": between(0, 1),
    "tail_lead": between(0, 1_000_000, " steps"),
    "tail_every": between(1, 1_000_000, " steps"),
    "tail_decay": between(0, 1),
}


@dataclass(frozen=True)
class Curriculum:
    """Smaller training images at first: augmented at full size, then scaled down bilinearly. (§3)"""

    curriculum_sizes: tuple[int, ...] = (24, 28)
    """Height and width of the training images in pixels, one size after another; after the last, the data's own."""
    curriculum_epochs: tuple[float, ...] = (3.0, 6.0)
    """Epochs after which each of these sizes ends."""
    curriculum_antialias: bool = False
    """Average over all pixels that a smaller one covers, instead of interpolating between two in each direction."""

    def __post_init__(self) -> None:
        check_fields(self, _CURRICULUM_RANGES)
        if len(self.curriculum_sizes) != len(self.curriculum_epochs):
            raise ValueError(
                f"curriculum-sizes has {len(self.curriculum_sizes)} sizes, but curriculum-epochs "
                f"{len(self.curriculum_epochs)}: one for each size, at which it ends"
            )

    def require_size(self, image_size: int) -> None:
        """Raise ValueError for images that are smaller than those of the curriculum."""
        if max(self.curriculum_sizes) > image_size:
            raise ValueError(
                f"curriculum-sizes is {self.curriculum_sizes}, but images of {image_size} pixels are only scaled down: "
                f"make each of them at most {image_size}, or leave the curriculum out"
            )

    def first_steps(self, steps_per_epoch: int) -> tuple[tuple[int, int | None], ...]:
        """Return the first step (from 0) of each size, with the size; None is the data's own."""
        starts = 0, *(round(epoch * steps_per_epoch) for epoch in self.curriculum_epochs)
        return tuple(zip(starts, (*self.curriculum_sizes, None), strict=True))


@dataclass(frozen=True)
class Tail:
    """Last steps, at a small learning rate, in which the network is averaged with its past every few steps. (§4.10)"""

    tail_steps: int = 4
    """Steps of the training that come after the end of the learning rate's schedule, at the factor of its end."""
    tail_floor: float = 0.05
    """Least learning-rate factor, in the schedule and after it."""
    tail_lead: int = 8
    """Steps before the schedule's end at which the average starts, as a copy of the network."""
    tail_every: int = 4
    """Steps from then on between two averages, each of which replaces the network."""
    tail_decay: float = 0.7
    """Fraction of the old average that each new one keeps."""

    def __post_init__(self) -> None:
        check_fields(self, _TAIL_RANGES)
