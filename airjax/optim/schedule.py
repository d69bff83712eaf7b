"""Step -> factor: the learning rate's schedule and the lookahead's decay. (§4.5, §4.7, §7)"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from airjax.kernels.backend import statistics_dtype
from airjax.recipes.optimizer import Piecewise, Schedule, Triangle
from airjax.recipes.recipe import Recipe


def learning_rate_factor(recipe: Recipe, step: Int[Array, "*t"], num_steps: int | None = None) -> Float[Array, "*t"]:
    """Compute the learning-rate factor of a 0-based step by the recipe's schedule.

    The schedule extends over num_steps, which by default are all of the recipe's but those of its tail; in these the
    factor is the one at the schedule's end, or the tail's floor.
    """
    # Cast first: an integer array over a Python number is float32 even where float64 is asked for.
    step = jnp.asarray(step, statistics_dtype(recipe.precision))
    schedule, total = recipe.schedule, recipe.schedule_steps if num_steps is None else num_steps
    if recipe.ending is not None and num_steps is None:
        factor = _factor(schedule, total, jnp.minimum(step, total))
        return jnp.maximum(factor, recipe.ending.tail_floor)
    return _factor(schedule, total, step)


def _factor(schedule: Schedule, total: int, step: Array) -> Array:
    if isinstance(schedule, Piecewise):
        return _piecewise(schedule, total, step)
    return _triangle(schedule, total, step)


def _triangle(schedule: Triangle, total: int, step: Array) -> Array:
    # Up to 1 at the peak, then down. (§4.5)
    warmup = int(total * schedule.schedule_peak)
    rise = schedule.schedule_start + (1 - schedule.schedule_start) * step / max(warmup, 1)
    fall = 1 - (1 - schedule.schedule_end) * (step - warmup) / (total - warmup)
    return jnp.where(step < warmup, rise, fall)


def _piecewise(schedule: Piecewise, total: int, step: Array) -> Array:
    # 1, times the factor once for every drop that is reached. (§7)
    values = jnp.array(
        [schedule.schedule_factor**drops for drops in range(len(schedule.schedule_drops) + 1)], step.dtype
    )
    drops = (step >= round(total * drop) for drop in schedule.schedule_drops)
    return values[sum((drop.astype(jnp.int32) for drop in drops), start=jnp.zeros(step.shape, jnp.int32))]


def lookahead_decay(recipe: Recipe, steps_done: Int[Array, "*t"]) -> Float[Array, "*t"]:
    """Compute the fraction of the slow weights kept when steps_done steps are complete: a cubic ramp. (§4.7)"""
    progress = jnp.asarray(steps_done, statistics_dtype(recipe.precision)) / recipe.total_steps
    assert recipe.averaging is not None
    return recipe.averaging.lookahead_decay * jax.lax.integer_pow(progress, 3)
