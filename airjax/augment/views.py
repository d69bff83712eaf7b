"""The weighted views of test-time augmentation. (§5)"""

from typing import NamedTuple

from jax import Array
from jaxtyping import Shaped

from airjax.augment.transforms import mirror, reflect_pad


class View(NamedTuple):
    """One view of an image: a crop of it as it is padded for the level, perhaps mirrored."""

    weight: float  # those of all views add up to 1
    offset: int  # of the crop's first row and column
    mirrored: bool


def views_of(level: int, *, mirrored: bool = True, uniform: bool = False) -> list[View]:
    """Return the views of a level of test-time augmentation: 0, 1 or 2. (§5)

    Without mirrored views each image stands for both; with uniform all weights are the same. Raises ValueError for
    another level.
    """
    if level not in (0, 1, 2):
        raise ValueError(f"the level of test-time augmentation is {level!r}, but it must be 0, 1 or 2")
    crops = [(0.5, 1), (0.25, 0), (0.25, 2)] if level == 2 else [(1.0, 0)]
    if uniform:
        crops = [(1 / len(crops), offset) for _, offset in crops]
    if level == 0 or not mirrored:
        return [View(weight, offset, False) for weight, offset in crops]
    return [View(weight / 2, offset, side) for weight, offset in crops for side in (False, True)]


def sides_of(
    images: Shaped[Array, "n h w c"], level: int, views: list[View]
) -> tuple[Shaped[Array, "n _ _ c"], Shaped[Array, "n _ _ c"] | None]:
    """Return images with the pixels around them that the views of a level are cropped from, and the same mirrored.

    None where no view needs it.
    """
    padded = reflect_pad(images, _padding(level)) if _padding(level) else images
    return padded, mirror(padded) if any(view.mirrored for view in views) else None


def take_view(
    plain: Shaped[Array, "n h w c"], mirrored: Shaped[Array, "n h w c"] | None, view: View, level: int
) -> Shaped[Array, "n _ _ c"]:
    """Cut a view out of both sides of images, or out of what a layer without padding of its own made of them."""
    last = 2 * _padding(level)
    if not view.mirrored:
        x, left = plain, view.offset
    else:
        assert mirrored is not None
        x, left = mirrored, last - view.offset
    height, width = x.shape[1] - last, x.shape[2] - last
    return x[:, view.offset : view.offset + height, left : left + width]


def _padding(level: int) -> int:
    return 1 if level == 2 else 0
