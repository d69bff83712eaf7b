"""Lookahead and the tail: every few steps the network is replaced by a moving average of itself. (§4.7, §4.10)

The slow copy covers the trained parameters and BatchNorm's running statistics, not the momentum.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from airjax.kernels.backend import statistics_dtype
from airjax.kernels.reductions import at_least_float32
from airjax.recipes.recipe import Recipe


class LookaheadState(NamedTuple):
    """The slow copy of the network."""

    slow: Any  # the same tree as the fast copy, which trains


def lookahead_init(fast: Any) -> LookaheadState:
    """Start from a copy: the fast tree may be donated later."""
    return LookaheadState(jax.tree.map(jnp.copy, fast))


def lookahead_update(
    fast: Any, state: LookaheadState, decay: Float[Array, ""], sync: Bool[Array, ""]
) -> tuple[Any, LookaheadState]:
    """Set, where sync holds, slow := decay * slow + (1 - decay) * fast and fast := slow.

    This is a select, because a branch on an accelerator waits for the host.
    """

    def moved(slow: Array, current: Array) -> Array:
        # This form keeps a tensor that no longer changes exactly where it is. Half precision would round the
        # difference, and a decay of zero not give back the fast copy.
        wide = at_least_float32(slow)
        return (wide + (1 - decay).astype(wide.dtype) * (at_least_float32(current) - wide)).astype(slow.dtype)

    slow = jax.tree.map(lambda s, f: jnp.where(sync, moved(s, f), s), state.slow, fast)
    return jax.tree.map(lambda s, f: jnp.where(sync, s, f), slow, fast), LookaheadState(slow)


def tail_update(
    recipe: Recipe, fast: Any, state: LookaheadState, steps_done: Int[Array, ""]
) -> tuple[Any, LookaheadState]:
    """Average the network with its past, once the recipe's tail has begun; until then, take a copy. (§4.10)"""
    tail = recipe.ending
    assert tail is not None
    since = steps_done - (recipe.schedule_steps - tail.tail_lead)
    slow = jax.tree.map(lambda s, f: jnp.where(since > 0, s, f), state.slow, fast)
    sync = (since > 0) & (since % tail.tail_every == 0)
    decay = jnp.asarray(tail.tail_decay, statistics_dtype(recipe.precision))
    return lookahead_update(fast, LookaheadState(slow), decay, sync)
