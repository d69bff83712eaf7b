"""Images and draws -> images. Shapes: N images of H x W pixels and C channels, channels last. (§3, §5)"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import DTypeLike

from airjax.draws import Draws
from airjax.precision import precision_of
from airjax.recipe import IMAGE_SIZE, Recipe

CIFAR_MEAN = (0.4914, 0.4822, 0.4465)  # per channel, of pixels in [0, 1]
CIFAR_STD = (0.2470, 0.2435, 0.2616)


class Batch(NamedTuple):
    """What one optimizer step sees."""

    images: Array  # [B,H,W,C], normalised and augmented
    labels: Array  # [B] int32
    weights: Array | None = None  # [B]: how much each example's loss counts; None: all of them 1


class Selection(NamedTuple):
    """The training examples of one network, out of the data set's."""

    indices: Array  # [N] int32: its examples, in its own order; one may appear several times
    weights: Array | None = None  # [N]: how much the loss of each counts; None: all of them 1


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


def crop(images: Array, shifts: Array, size: int) -> Array:
    """Crop each image at its own place. images [N,H,W,C], shifts [N,2] int: top in [0, H-size], left in [0, W-size].

    Two separable passes of static slices and a select: XLA fuses them, where a gather per image would not be.
    """
    for axis in (1, 2):
        slices = [lax.slice_in_dim(images, s, s + size, axis=axis) for s in range(images.shape[axis] - size + 1)]
        chosen = shifts[:, axis - 1].astype(jnp.int32)
        images = lax.select_n(jnp.broadcast_to(chosen[:, None, None, None], slices[0].shape), *slices)
    return images


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


def augment(
    recipe: Recipe, images: Array, flips: Array, mirrors: Array, shifts: Array | None, corners: Array | None
) -> Array:
    """Augment normalised images [N,H,W,C] by their draws: flip, pad, crop, mirror, cutout, in that order. (§3)"""
    images = mirror_where(images, flips)
    if shifts is not None:
        images = crop(reflect_pad(images, recipe.translate), shifts, IMAGE_SIZE)
    images = mirror_where(images, mirrors)
    if corners is not None:
        images = cutout(images, corners, recipe.cutout)
    return images


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
    augmented = augment(
        recipe,
        normalize(images[examples], precision_of(recipe).compute),
        draws.flips[chosen],
        draws.mirrors[epoch, chosen],
        None if draws.shifts is None else draws.shifts[epoch, chosen],
        None if draws.corners is None else draws.corners[epoch, chosen],
    )
    return Batch(augmented, labels[examples], weights)


def tta_views(images: Array, level: int) -> list[tuple[float, Array]]:
    """The weighted views of test-time augmentation: level 0, 1 or 2. The weights add up to 1. (§5)"""
    if level == 0:
        return [(1.0, images)]
    if level == 1:
        return [(0.5, images), (0.5, mirror(images))]
    size = images.shape[1]
    padded = reflect_pad(images, 1)
    shifted = [padded[:, s : s + size, s : s + size] for s in (0, 2)]
    return [(0.25, images), (0.25, mirror(images))] + [
        (0.125, view) for window in shifted for view in (window, mirror(window))
    ]
