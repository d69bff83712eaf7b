"""The batch of a step: gathered by its draws, augmented and normalised. (§3)"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike

from airjax.augment.draws import Draws
from airjax.augment.transforms import cutout, normalize, take_moved
from airjax.recipes.recipe import Recipe
from airjax.utils.reprs import one_line


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


def batch_at(
    recipe: Recipe,
    images: Array,
    labels: Array,
    draws: Draws,
    step: Array,
    selection: Selection | None = None,
    *,
    dtype: DTypeLike = jnp.float32,
    take: Callable[..., Array] = take_moved,
) -> Batch:
    """Gather the batch of a 0-based step [] int from images [N,H,W,C] uint8 and labels [N], and augment it in dtype.

    With a selection, the draws are about its examples, and images and labels are those that it selects from. take moves
    images, as `take_moved` does.
    """
    augmentation = recipe.augmentation
    epoch, position = step // recipe.steps_per_epoch, step % recipe.steps_per_epoch
    chosen = lax.dynamic_slice(draws.order, (epoch, position * recipe.batch_size), (1, recipe.batch_size))[0]
    examples, weights = chosen, None
    if selection is not None:
        examples = selection.indices[chosen]
        weights = None if selection.weights is None else selection.weights[chosen]
    shifts = None if draws.shifts is None else draws.shifts[epoch, chosen]
    moved = take(images, augmentation.translate, examples, draws.flips[chosen], draws.mirrors[epoch, chosen], shifts)
    augmented = normalize(moved, recipe.inputs, dtype)
    if draws.corners is not None:
        augmented = cutout(augmented, draws.corners[epoch, chosen], augmentation.cutout)
    return Batch(augmented, labels[examples], weights)
