"""What selecting the hardest examples of a batch is made of. (§4.8)"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import optax
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


def mark(losses: Float[Array, " b"], chosen: Int[Array, " k"]) -> Float[Array, " b"]:
    """Return 1 for each example that is chosen, and 0 for the others: the gradient of the chosen losses' sum."""
    return jnp.zeros_like(losses).at[chosen].set(1)


def at_step(opt_state: optax.OptState, step: Int[Array, ""]) -> optax.OptState:
    """Return an optimizer's state as of a step: it counts its own updates, but the schedule is that of all steps."""
    return optax.tree.set(opt_state, count=step)
