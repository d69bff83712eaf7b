"""Boxes cut, resized and mirrored on the device, against means of areas and against OpenCV."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from airjax.augment.area import resize_boxes

resize = jax.jit(resize_boxes, static_argnames="size")


def one(image: np.ndarray, box: tuple[int, ...], size: int, *, mirror: bool = False) -> np.ndarray:
    return np.asarray(
        resize(jnp.asarray(image[None]), jnp.asarray([box], jnp.int32), jnp.asarray([mirror]), size=size)
    )[0]


def test_pixels_are_means_of_the_areas_that_they_cover() -> None:
    image = np.arange(6 * 9, dtype=np.uint8).reshape(6, 9, 1).repeat(3, axis=2)
    # Pixels are 9 row + column. All rows and columns 1 to 6 in 2x2: means of 3x3.
    assert one(image, (0, 1, 6, 6), 2)[..., 0].tolist() == [[9 + 2, 9 + 5], [36 + 2, 36 + 5]]
    # 3x3 in 2x2: a pixel and a half each way; the corner's weights are 4/9, 2/9, 2/9 and 1/9.
    corner = (4 * image[0, 0, 0] + 2 * image[0, 1, 0] + 2 * int(image[1, 0, 0]) + int(image[1, 1, 0])) / 9
    assert one(image, (0, 0, 3, 3), 2)[0, 0, 0] == round(corner)
    assert np.array_equal(one(image, (1, 2, 4, 4), 4), image[1:5, 2:6])


def test_a_mirrored_box_is_the_box_mirrored() -> None:
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    plain, mirrored = (one(image, (3, 5, 21, 33), 8, mirror=mirror) for mirror in (False, True))
    assert np.array_equal(mirrored, plain[:, ::-1])
    assert not np.array_equal(mirrored, plain)


@pytest.mark.parametrize("size", [16, 24])
def test_boxes_of_any_size_are_within_one_level_of_opencv_s(size: int) -> None:
    cv2 = pytest.importorskip("cv2")
    generator = np.random.default_rng(size)
    images = generator.integers(0, 256, (64, 50, 70, 3), np.uint8)
    corners = generator.integers(0, (20, 30), (64, 2))
    sides = generator.integers(5, np.array([50, 70]) - corners + 1)
    boxes = np.concatenate([corners, sides], axis=1).astype(np.int32)
    assert 3 < (sides < size).all(axis=1).sum() < 60, "some grow"
    assert 5 < ((sides >= size).all(axis=1)).sum() < 60, "some shrink"
    found = np.asarray(resize(jnp.asarray(images), jnp.asarray(boxes), jnp.zeros(64, bool), size=size)).astype(int)
    wanted = np.stack(
        [
            cv2.resize(image[top : top + h, left : left + w], (size, size), interpolation=cv2.INTER_AREA)
            for image, (top, left, h, w) in zip(images, boxes, strict=True)
        ]
    )
    # OpenCV interpolates in fixed point and sums areas in float32; the others round differently.
    assert np.abs(found - wanted).max() <= 1
    assert (found == wanted).mean() > 0.9


@pytest.mark.parametrize(("size", "length"), [(160, 104), (160, 52), (192, 112), (224, 144), (224, 68), (160, 8)])
def test_a_side_that_grows_takes_the_two_pixels_of_the_formula(size: int, length: int) -> None:
    # By whole numbers: pixel t is between t L // size and the next, (t + 1) - (first + 1) size / L of the way.
    image = np.random.default_rng(0).integers(0, 256, (length, 8, 3)).astype(np.uint8)
    target = np.arange(size)
    first = target * length // size
    part = np.maximum((target + 1) * length - (first + 1) * size, 0) / length
    part[first >= length - 1] = 0
    second = np.minimum(first + 1, length - 1)
    column = (1 - part)[:, None] * image[first, 0] + part[:, None] * image[second, 0]
    found = one(image, (0, 0, length, 8), size)[:, 0].astype(float)
    assert np.abs(found - column).max() <= 0.5 + 1e-4
