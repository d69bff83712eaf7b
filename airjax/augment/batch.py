"""The batch of a step: gathered by its draws, augmented and normalised. (§3)"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike
from jaxtyping import Float, Int, UInt8

from airjax.augment.draws import Draws
from airjax.augment.transforms import cutout, jitter, normalize, take_moved
from airjax.recipes.recipe import Recipe
from airjax.utils.reprs import one_line


class Batch(NamedTuple):
    """What one optimizer step sees."""

    images: Float[Array, "b h w c"]  # normalised and augmented
    labels: Int[Array, " b"]
    weights: Float[Array, " b"] | None = None  # how much each example's loss counts; None: all of them 1

    def __repr__(self) -> str:
        return one_line(self)


class Selection(NamedTuple):
    """The training examples of one network, out of the data set's."""

    indices: Int[Array, " n"]  # its examples, in its own order; one may appear several times
    weights: Float[Array, " n"] | None = None  # how much the loss of each counts; None: all of them 1

    def __repr__(self) -> str:
        return one_line(self)


def batch_at(
    recipe: Recipe,
    images: UInt8[Array, "n h w c"],
    labels: Int[Array, " n"],
    draws: Draws,
    step: Int[Array, ""],
    selection: Selection | None = None,
    *,
    dtype: DTypeLike = jnp.float32,
    take: Callable[..., Array] = take_moved,
    part: Callable[[Array], Array] | None = None,
) -> Batch:
    """Gather the batch of a 0-based step from a data set's images and labels, and augment it in dtype.

    With a selection, the draws are about its examples, and images and labels are those that it selects from. take moves
    images, as `take_moved` does. part takes from what there is of every example [b] what is of one device's.
    """
    epoch, chosen = examples_at(recipe, draws.order, step)
    if part is not None:
        epoch, chosen = part(epoch) if epoch.ndim else epoch, part(chosen)
    examples, weights = chosen, None
    if selection is not None:
        examples = selection.indices[chosen]
        weights = None if selection.weights is None else selection.weights[chosen]
    augmented = augment_examples(recipe, images, draws, epoch, chosen, examples, dtype=dtype, take=take)
    return Batch(augmented, labels[examples], weights)


def augment_examples(
    recipe: Recipe,
    images: UInt8[Array, "n h w c"],
    draws: Draws,
    epoch: Int[Array, "*b"] | int,
    chosen: Int[Array, " b"],
    examples: Int[Array, " b"],
    *,
    dtype: DTypeLike = jnp.float32,
    take: Callable[..., Array] = take_moved,
) -> Float[Array, "b h w c"]:
    """Gather examples of images, normalised and augmented as an epoch's draws of the chosen ones say. (§3)

    examples are the places of the chosen ones among the images.
    """
    augmentation = recipe.augmentation
    shifts = None if draws.shifts is None else draws.shifts[epoch, chosen]
    moves = draws.flips[chosen], draws.mirrors[epoch, chosen], shifts
    moved = take(images, augmentation.translate, examples, *moves, augmentation.padding)
    augmented = normalize(moved, recipe.inputs, dtype)
    if draws.jitter is not None:
        augmented = jitter(augmented, draws.jitter[epoch, chosen])
    if draws.corners is not None:
        augmented = cutout(augmented, draws.corners[epoch, chosen], augmentation.cutout)
    return augmented


def examples_at(
    recipe: Recipe, order: Int[Array, "e n"], step: Int[Array, ""]
) -> tuple[Int[Array, "*b"], Int[Array, " b"]]:
    """Return the epoch of a step's b examples, one for all or one for each, and which examples they are. (§3)"""
    size = recipe.batch_size
    if recipe.augmentation.drop_remainder:
        epoch, position = step // recipe.steps_per_epoch, step % recipe.steps_per_epoch
        return epoch, lax.dynamic_slice(order, (epoch, position * size), (1, size))[0]
    place = step * size + jnp.arange(size, dtype=step.dtype)
    epoch, position = place // recipe.train_examples, place % recipe.train_examples
    return epoch, order[epoch, position]
