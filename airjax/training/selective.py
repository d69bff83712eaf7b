"""Which images all views of test-time augmentation are for: the least confident. (§5)"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, UInt8

from airjax.recipes.recipe import Recipe


def least_confident(logits: Float[Array | np.ndarray, "*k n l"], count: int) -> Any:
    """Return the indices [*k, count] of the images whose largest probability is the smallest, the smallest first. (§5)

    On the host for a numpy array, and else in what is traced; images that tie are in their own order.
    """
    xp = np if isinstance(logits, np.ndarray) else jnp
    odds = xp.exp(logits - logits.max(-1, keepdims=True)).sum(-1)  # one over the largest probability
    return xp.argsort(-odds, axis=-1, stable=True)[..., :count]


def selective_logits(
    recipe: Recipe,
    images: UInt8[Array, "n h w c"],
    logits_of: Callable[[Array, int], Array],
    level: int,
) -> Float[Array, "n l"]:
    """Compute the logits of a test set by logits_of(images, level), with all views for the images the recipe selects.

    (§5) A function that can be traced, for when all images go through one program.
    """
    if not recipe.evaluation.selects(level):
        return logits_of(images, level)
    logits = logits_of(images, 0)
    chosen = least_confident(logits, recipe.evaluation.num_selected(len(images)))
    return logits.at[chosen].set(logits_of(images[chosen], level))
