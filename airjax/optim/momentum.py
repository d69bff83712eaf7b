"""What every optimizer does with a gradient: decay, Nesterov momentum, the scheduled rate last. (§4.2-4.5)"""

import jax.numpy as jnp
import optax
from jax import Array
from jax.typing import DTypeLike

from airjax.optim.schedule import learning_rate_factor
from airjax.recipes.recipe import Recipe


def momentum_steps(
    recipe: Recipe,
    decay: Array,
    momentum: Array | float,
    rate: Array | float,
    dtype: DTypeLike,
    num_steps: int | None = None,
    *,
    nesterov: bool = True,
) -> tuple[optax.GradientTransformation, ...]:
    """Return the transformations of a group's gradients, to be chained.

    Args:
        recipe: whose schedule the rate follows.
        decay: multiple of the parameters that is added to their gradients.
        momentum: fraction of the sum of gradients so far that is kept.
        rate: learning rate at factor 1.
        dtype: of the parameters and of their momentum.
        num_steps: over which the schedule extends; None is all of the recipe's.
        nesterov: whether the momentum is Nesterov's.
    """
    return (
        optax.add_decayed_weights(decay.astype(dtype)),
        optax.trace(jnp.asarray(momentum, dtype), nesterov=nesterov),
        optax.scale_by_learning_rate(lambda count: rate * learning_rate_factor(recipe, jnp.asarray(count), num_steps)),
    )
