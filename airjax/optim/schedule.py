"""Step -> factor: the learning rate's triangle and the lookahead's decay. (§4.5, §4.7)"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from airjax.kernels.backend import statistics_dtype
from airjax.recipes.recipe import Recipe


def triangle(recipe: Recipe, step: Int[Array, "*t"]) -> Float[Array, "*t"]:
    """Compute the learning-rate factor of a 0-based step: up to 1 at the peak, then down. (§4.5)"""
    # Cast first: an integer array over a Python number is float32 even where float64 is asked for.
    step = jnp.asarray(step, statistics_dtype(recipe.precision))
    schedule = recipe.schedule
    warmup = int(recipe.total_steps * schedule.schedule_peak)
    rise = schedule.schedule_start + (1 - schedule.schedule_start) * step / max(warmup, 1)
    fall = 1 - (1 - schedule.schedule_end) * (step - warmup) / (recipe.total_steps - warmup)
    return jnp.where(step < warmup, rise, fall)


def lookahead_decay(recipe: Recipe, steps_done: Int[Array, "*t"]) -> Float[Array, "*t"]:
    """Compute the fraction of the slow weights kept when steps_done steps are complete: a cubic ramp. (§4.7)"""
    progress = jnp.asarray(steps_done, statistics_dtype(recipe.precision)) / recipe.total_steps
    assert recipe.averaging is not None
    return recipe.averaging.lookahead_decay * jax.lax.integer_pow(progress, 3)
