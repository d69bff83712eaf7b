"""Augmentations as functions of images and draws. (§3)"""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Bool, Float, Int, Real, Shaped

from airjax.kernels.reductions import at_least_float32
from airjax.recipes.augmentation import Padding
from airjax.recipes.inputs import Inputs


def normalize(images: Real[Array, "n h w c"], inputs: Inputs, dtype: DTypeLike) -> Float[Array, "n h w c"]:
    """Shift and scale images to zero mean and unit variance per channel. (§3)

    Computed in dtype, so that half precision rounds after each of the three operations, as released.
    """
    mean, std = (np.array(constant, dtype) for constant in (inputs.mean, inputs.std))
    shape = (1, 1, 1, inputs.channels)
    return (images.astype(dtype) / np.array(255, dtype) - mean.reshape(shape)) / std.reshape(shape)


def mirror(images: Shaped[Array, "n h w c"]) -> Shaped[Array, "n h w c"]:
    """Swap left and right."""
    return jnp.flip(images, axis=2)


def mirror_where(images: Shaped[Array, "n h w c"], mask: Bool[Array, " n"]) -> Shaped[Array, "n h w c"]:
    """Mirror the images that mask selects."""
    return jnp.where(mask[:, None, None, None], mirror(images), images)


def reflect_pad(images: Shaped[Array, "n h w c"], pixels: int) -> Shaped[Array, "n h+2*{pixels} w+2*{pixels} c"]:
    """Pad height and width by reflection, the edge not repeated."""
    return jnp.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)), mode="reflect")


def reflect(indices: Int[Array, "*shape"], size: int) -> Int[Array, "*shape"]:
    """Map indices into an image padded by reflection, the edge not repeated, to the pixels 0 to size-1 shown there."""
    indices = jnp.abs(indices)
    return jnp.minimum(indices, 2 * (size - 1) - indices)


def cutout(images: Float[Array, "n h w c"], corners: Int[Array, "n 2"], size: int) -> Float[Array, "n h w c"]:
    """Set a square of each image to 0, the mean colour, so far as it is inside. corners: its top and left. (§3)"""
    corners = corners.astype(jnp.int32)
    offset = jnp.arange(images.shape[1], dtype=jnp.int32)[None, None, :] - corners[:, :, None]  # [n,2,h]
    inside = (offset >= 0) & (offset < size)
    square = inside[:, 0, :, None, None] & inside[:, 1, None, :, None]
    return jnp.where(square, jnp.zeros((), images.dtype), images)


def jitter(images: Float[Array, "n h w c"], changes: Float[Array, "n 2"]) -> Float[Array, "n h w c"]:
    """Add to each image its number and multiply the sum by its factor: brightness and contrast. (§3)"""
    exact = at_least_float32(images)
    added, factor = (changes[:, k, None, None, None].astype(exact.dtype) for k in (0, 1))
    return ((exact + added) * factor).astype(images.dtype)


def alternating_flip(
    images: Shaped[Array, "n h w c"], flips: Bool[Array, " n"], epoch: int | Int[Array, ""]
) -> Shaped[Array, "n h w c"]:
    """Mirror the images of flips in even epochs, the others in odd ones.

    So any two consecutive epochs show all 2n distinct inputs.
    """
    return mirror_where(images, flips ^ (jnp.asarray(epoch) % 2 == 1))


def pixel_origins(
    size: int,
    translate: int,
    flips: Bool[Array, " n"],
    mirrors: Bool[Array, " n"],
    shifts: Int[Array, "n 2"] | None,
    padding: Padding = "reflect",
) -> tuple[Int[Array, "n {size}"], Int[Array, "n {size}"]]:
    """Return the row and the column in the original that each pixel of n augmented images comes from. (§3)

    Flip, pad, crop and mirror, in that order. shifts: top and left of the crop in the image padded by translate pixels;
    None without translation. With the padding zero, what comes from outside is below 0, or size or more.
    """
    indices = jnp.arange(size, dtype=jnp.int32)[None]
    # A flip of what was shifted is the opposite shift of what was flipped, and reflecting it makes no difference.
    rows, cols = indices, jnp.where((flips ^ mirrors)[:, None], indices[:, ::-1], indices)
    if shifts is not None:
        top, left = jnp.split(shifts.astype(jnp.int32) - translate, 2, axis=1)
        rows, cols = rows + top, cols + jnp.where(flips[:, None], -left, left)
        if padding == "reflect":
            rows, cols = reflect(rows, size), reflect(cols, size)
    return jnp.broadcast_to(rows, cols.shape), cols


def take_moved(
    images: Shaped[Array, "n h w c"],
    translate: int,
    examples: Int[Array, " b"],
    flips: Bool[Array, " b"],
    mirrors: Bool[Array, " b"],
    shifts: Int[Array, "b 2"] | None,
    padding: Padding = "reflect",
) -> Shaped[Array, "b h w c"]:
    """Gather examples of images, flipped, cropped and mirrored by their draws. (§3)

    One gather, which XLA fuses with what is done to the pixels: nothing is padded, and nothing moved twice. With the
    padding zero, what is outside of an image is 0: black, of pixels that are not normalised yet.
    """
    size = images.shape[1]
    rows, cols = pixel_origins(size, translate, flips, mirrors, shifts, padding)
    if padding == "reflect" or shifts is None:
        return _take_pixels(images, examples, rows, cols)
    within = [(indices >= 0) & (indices < size) for indices in (rows, cols)]
    moved = _take_pixels(images, examples, jnp.clip(rows, 0, size - 1), jnp.clip(cols, 0, size - 1))
    inside = within[0][:, :, None, None] & within[1][:, None, :, None]
    return jnp.where(inside, moved, jnp.zeros((), images.dtype))


def _take_pixels(images: Array, examples: Array, rows: Array, cols: Array) -> Array:
    # None of these count from the end. What counts them from there is a kernel of its own on a GPU.
    pixels = images.at[examples[:, None, None], rows[:, :, None], cols[:, None, :]]
    return pixels.get(mode="promise_in_bounds", wrap_negative_indices=False)
