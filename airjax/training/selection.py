"""What selecting the hardest examples of a batch is made of. (§4.8)"""

from dataclasses import replace

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

from airjax.augment.batch import Batch
from airjax.recipes.recipe import Recipe


def proxy_recipe(recipe: Recipe) -> Recipe:
    """Return the recipe by which the proxy of a recipe with a selection trains."""
    selection = recipe.selection
    assert selection is not None
    averaging = recipe.averaging if selection.proxy_lookahead else None
    return replace(recipe, network=selection.network_for(recipe.network), averaging=averaging)


def hardest(losses: Float[Array, " b"], count: int) -> Int[Array, " {count}"]:
    """Return the indices of the count largest losses, ascending; of equal losses the first are taken.

    A loss that is not a number counts as the largest, so that a network that diverges is not hidden.
    """
    return jnp.sort(lax.top_k(losses, count)[1])


def take_examples(batch: Batch, chosen: Int[Array, " k"]) -> Batch:
    """Return the chosen examples of a batch."""
    return jax.tree.map(lambda array: array[chosen], batch)
