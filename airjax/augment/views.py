"""The weighted views of test-time augmentation. (§5)"""

from jax import Array
from jaxtyping import Shaped

from airjax.augment.transforms import mirror, reflect_pad


def tta_views(
    images: Shaped[Array, "n h w c"], level: int, *, mirrored: bool = True, uniform: bool = False
) -> list[tuple[float, Shaped[Array, "n h w c"]]]:
    """Return the weighted views of test-time augmentation, of level 0, 1 or 2. The weights add up to 1. (§5)

    Without mirrored views each image stands for both; with uniform all weights are the same. Raises ValueError for
    another level.
    """
    if level not in (0, 1, 2):
        raise ValueError(f"the level of test-time augmentation is {level!r}, but it must be 0, 1 or 2")
    views = [(1.0, images)]
    if level == 2:
        size = images.shape[1]
        padded = reflect_pad(images, 1)
        views = [(0.5, images)] + [(0.25, padded[:, s : s + size, s : s + size]) for s in (0, 2)]
    if uniform:
        views = [(1 / len(views), view) for _, view in views]
    if level == 0 or not mirrored:
        return views
    return [(weight / 2, each) for weight, view in views for each in (view, mirror(view))]
