"""The weighted views of test-time augmentation. (§5)"""

from jax import Array

from airjax.augment.transforms import mirror, reflect_pad


def tta_views(images: Array, level: int) -> list[tuple[float, Array]]:
    """The weighted views of test-time augmentation: level 0, 1 or 2. The weights add up to 1. (§5)

    Raises ValueError for another level.
    """
    if level == 0:
        return [(1.0, images)]
    if level == 1:
        return [(0.5, images), (0.5, mirror(images))]
    if level != 2:
        raise ValueError(f"the level of test-time augmentation is {level!r}, but it must be 0, 1 or 2")
    size = images.shape[1]
    padded = reflect_pad(images, 1)
    shifted = [padded[:, s : s + size, s : s + size] for s in (0, 2)]
    return [(0.25, images), (0.25, mirror(images))] + [
        (0.125, view) for window in shifted for view in (window, mirror(window))
    ]
