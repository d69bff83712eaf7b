"""Images and draws -> images. Shapes: N images of H x W pixels and C channels, channels last. (§3, §5)"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import DTypeLike

from airjax.draws import Draws
from airjax.precision import precision_of
from airjax.recipe import IMAGE_SIZE, Recipe
from airjax.reprs import one_line

CIFAR_MEAN = (0.4914, 0.4822, 0.4465)  # per channel, of pixels in [0, 1]
CIFAR_STD = (0.2470, 0.2435, 0.2616)


class Batch(NamedTuple):
    """What one optimizer step sees."""

    images: Array  # [B,H,W,C], normalised and augmented
    labels: Array  # [B] int32
    weights: Array | None = None  # [B]: how much each example's loss counts; None: all of them 1

    def __repr__(self) -> str:
        return one_line(self)


class Selection(NamedTuple):
    """The training examples of one network, out of the data set's."""

    indices: Array  # [N] int32: its examples, in its own order; one may appear several times
    weights: Array | None = None  # [N]: how much the loss of each counts; None: all of them 1

    def __repr__(self) -> str:
        return one_line(self)


def normalize(images: Array, dtype: DTypeLike) -> Array:
    """images [N,H,W,3] uint8 -> zero mean and unit variance per channel, computed in dtype. (§3)"""
    mean, std = (np.array(constant, dtype) for constant in (CIFAR_MEAN, CIFAR_STD))
    shape = (1, 1, 1, 3)
    return (images.astype(dtype) / np.array(255, dtype) - mean.reshape(shape)) / std.reshape(shape)


def mirror(images: Array) -> Array:
    """Swap left and right."""
    return jnp.flip(images, axis=2)


def mirror_where(images: Array, mask: Array) -> Array:
    """Mirror the images that mask [N] bool selects."""
    return jnp.where(mask[:, None, None, None], mirror(images), images)


def reflect_pad(images: Array, pixels: int) -> Array:
    """Pad height and width by reflection, the edge not repeated."""
    return jnp.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)), mode="reflect")


def reflect(places: Array, size: int) -> Array:
    """The place in 0 to size-1 that each of places shows in an image padded by reflection, the edge not repeated."""
    places = jnp.abs(places)
    return jnp.minimum(places, 2 * (size - 1) - places)


def cutout(images: Array, corners: Array, size: int) -> Array:
    """Set a square of each image to 0, the mean colour. corners [N,2] int: top and left in [0, H-size]. (§3)"""
    corners = corners.astype(jnp.int32)
    offset = jnp.arange(images.shape[1], dtype=jnp.int32)[None, None, :] - corners[:, :, None]  # [N,2,H]
    inside = (offset >= 0) & (offset < size)
    square = inside[:, 0, :, None, None] & inside[:, 1, None, :, None]
    return jnp.where(square, jnp.zeros((), images.dtype), images)


def alternating_flip(images: Array, flips: Array, epoch: int | Array) -> Array:
    """Mirror the images of flips [N] in even epochs, the others in odd ones.

    So any two consecutive epochs show all 2N distinct inputs.
    """
    return mirror_where(images, flips ^ (jnp.asarray(epoch) % 2 == 1))


def pixel_origins(recipe: Recipe, flips: Array, mirrors: Array, shifts: Array | None) -> tuple[Array, Array]:
    """Where each pixel of N augmented images comes from: its row [N,H] and its column [N,W] in the original. (§3)

    Flip, pad, crop and mirror, in that order. flips and mirrors [N] bool; shifts [N,2]: top and left of the crop in the
    padded image; None without translation.
    """
    places = jnp.arange(IMAGE_SIZE, dtype=jnp.int32)[None]
    # From the result back to the original: the last to be done is the first to be undone.
    rows, cols = places, jnp.where(mirrors[:, None], places[:, ::-1], places)
    if shifts is not None:
        top, left = jnp.split(shifts.astype(jnp.int32) - recipe.translate, 2, axis=1)
        rows, cols = reflect(rows + top, IMAGE_SIZE), reflect(cols + left, IMAGE_SIZE)
    return jnp.broadcast_to(rows, cols.shape), jnp.where(flips[:, None], IMAGE_SIZE - 1 - cols, cols)


def take_moved(
    recipe: Recipe, images: Array, examples: Array, flips: Array, mirrors: Array, shifts: Array | None
) -> Array:
    """The examples [B] of images [N,H,W,C], flipped, cropped and mirrored by their draws [B]: [B,H,W,C]. (§3)

    One gather, which XLA fuses with what is done to the pixels: nothing is padded, and nothing moved twice.
    """
    rows, cols = pixel_origins(recipe, flips, mirrors, shifts)
    return images[examples[:, None, None], rows[:, :, None], cols[:, None, :]]


def batch_at(
    recipe: Recipe, images: Array, labels: Array, draws: Draws, step: Array, selection: Selection | None = None
) -> Batch:
    """The batch of a 0-based step [] int, gathered from images [N,H,W,3] uint8 and labels [N], and augmented.

    With a selection, the draws are about its examples, and images and labels are those that it selects from.
    """
    epoch, position = step // recipe.steps_per_epoch, step % recipe.steps_per_epoch
    chosen = lax.dynamic_slice(draws.order, (epoch, position * recipe.batch_size), (1, recipe.batch_size))[0]
    examples, weights = chosen, None
    if selection is not None:
        examples = selection.indices[chosen]
        weights = None if selection.weights is None else selection.weights[chosen]
    shifts = None if draws.shifts is None else draws.shifts[epoch, chosen]
    moved = take_moved(recipe, images, examples, draws.flips[chosen], draws.mirrors[epoch, chosen], shifts)
    augmented = normalize(moved, precision_of(recipe).compute)
    if draws.corners is not None:
        augmented = cutout(augmented, draws.corners[epoch, chosen], recipe.cutout)
    return Batch(augmented, labels[examples], weights)


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
