"""Muon: convolutions move by their momentum, made orthogonal; biases and head by SGD. (§4.6)

`optax.contrib.scale_by_muon` is another rule: its momentum is an average corrected for its start, which in the first
steps weighs the newest gradient otherwise; and in bfloat16 it rounds the coefficients of the iterations.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from jax.typing import DTypeLike
from jaxtyping import Float, Int

from airjax.kernels.backend import Precision
from airjax.optim.groups import group_dtype
from airjax.optim.hyperparameters import Hyperparameters
from airjax.optim.momentum import momentum_steps
from airjax.optim.schedule import learning_rate_factor
from airjax.recipes.optimizer_muon import Muon
from airjax.recipes.recipe import Recipe


def muon_chain(
    recipe: Recipe, optimizer: Muon, precision: Precision, hyper: Hyperparameters, group: str
) -> optax.GradientTransformation:
    """Return the transformation of one group's gradients, of the summed loss, into updates."""
    dtype = group_dtype(recipe, group, precision)
    if group == "conv":
        scheduled = functools.partial(_scheduled, recipe, hyper.learning_rate)
        steps = [
            optax.trace(hyper.momentum.astype(dtype), nesterov=True),
            orthogonalize(optimizer, precision),
            optax.scale_by_learning_rate(scheduled),
            renormalize(precision, optimizer.renormalizes(recipe.total_steps)),
        ]
        if optimizer.conv_weight_decay:
            decay = optimizer.conv_weight_decay * recipe.batch_size
            steps.append(decay_afterwards(precision, lambda count: decay * scheduled(count)))
        return optax.chain(*steps)
    rate = optimizer.head_learning_rate if group == "other" else optimizer.bias_learning_rate
    # The first convolution's bias has a schedule of its own, which ends where it is frozen, if it ever is.
    freezes = group == "whiten_bias" and recipe.network.freeze_epochs is not None
    steps = max(recipe.freeze_step, 1) if freezes else None
    return optax.chain(*momentum_steps(recipe, hyper.weight_decay / rate, optimizer.sgd_momentum, rate, dtype, steps))


def orthogonalize(optimizer: Muon, precision: Precision) -> optax.GradientTransformation:
    """Return a transformation of kernels HWIO, whose matrices have a row for each of their output channels."""
    dtype = rounded_to(optimizer, precision)

    def one(kernel: Float[Array, "h w i o"]) -> Float[Array, "h w i o"]:
        matrix = kernel.astype(precision.statistics).reshape(-1, kernel.shape[-1]).T
        return newton_schulz(matrix, optimizer, dtype).T.reshape(kernel.shape).astype(kernel.dtype)

    return optax.stateless(lambda updates, _: jax.tree.map(one, updates))


def rounded_to(optimizer: Muon, precision: Precision) -> DTypeLike:
    """Return the dtype of the matrices that Newton-Schulz iterations multiply."""
    return jnp.float64 if precision.statistics == jnp.float64 else jnp.dtype(optimizer.newton_schulz_precision)


def newton_schulz(matrix: Float[Array, "m n"], optimizer: Muon, dtype: DTypeLike) -> Float[Array, "m n"]:
    """Push the singular values of a matrix towards 1, by iterations of a polynomial of the fifth degree.

    Matrices are rounded to dtype before they are multiplied, and all terms of a polynomial are of the rounded one: else
    their errors would not cancel. Sums have the dtype of the matrix that is given.
    """
    if matrix.shape[0] > matrix.shape[1]:  # the smaller of the two products with its transpose
        return newton_schulz(matrix.T, optimizer, dtype).T
    first, third, fifth = optimizer.newton_schulz_coefficients

    def product(a: Array, b: Array) -> Array:
        return lax.dot(a, b, precision=lax.Precision.HIGHEST, preferred_element_type=wide)

    wide = matrix.dtype
    x = matrix / (jnp.linalg.norm(matrix) + optimizer.newton_schulz_epsilon)
    for _ in range(optimizer.newton_schulz_steps):
        x = x.astype(dtype)
        gram = product(x, x.T).astype(dtype)
        factor = third * gram.astype(wide) + fifth * product(gram, gram)
        x = first * x.astype(wide) + product(factor.astype(dtype), x)
    return x


def renormalize(precision: Precision, at: tuple[bool, ...]) -> optax.GradientTransformation:
    """Return a transformation that makes updates those of `renormalized` kernels, in the steps at which `at` says so.

    Where that is all of them it has no state; else it counts the updates, of a proxy its own.
    """

    def one(kernel: Array, update: Array) -> Array:
        wide = kernel.astype(precision.statistics)
        return (update.astype(wide.dtype) + (renormalized(wide) - wide)).astype(update.dtype)

    if all(at):
        return optax.stateless(lambda updates, params: jax.tree.map(one, params, updates))
    due = np.array(at)
    return counted(lambda step, kernel, update: jnp.where(jnp.asarray(due)[step], one(kernel, update), update))


def decay_afterwards(precision: Precision, fraction: Callable[[Array], Array]) -> optax.GradientTransformation:
    """Return a transformation that removes a fraction, by 0-based step, of the kernels that updates lead to.

    The step is one of the schedule, as of `optax.scale_by_learning_rate`: a proxy, which learns in some steps alone,
    sets it (`airjax.training.selection.at_step`).
    """

    def one(step: Array, kernel: Array, update: Array) -> Array:
        wide = update.astype(precision.statistics)
        return (wide - fraction(step) * (kernel.astype(wide.dtype) + wide)).astype(update.dtype)

    def init(params: Any) -> optax.ScaleByScheduleState:
        del params
        return optax.ScaleByScheduleState(jnp.zeros((), jnp.int32))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, optax.ScaleByScheduleState]:
        moved = jax.tree.map(functools.partial(one, state.count), params, updates)
        return moved, optax.ScaleByScheduleState(state.count + 1)

    return optax.GradientTransformation(init, update)


class StepCount(NamedTuple):
    """The state of a transformation that depends on how many updates there were."""

    steps_done: Int[Array, ""]


def counted(one: Callable[[Array, Array, Array], Array]) -> optax.GradientTransformation:
    """Return the transformation of updates by one(0-based step, kernel, update) -> update."""

    def init(params: Any) -> StepCount:
        del params
        return StepCount(jnp.zeros((), jnp.int32))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, StepCount]:
        moved = jax.tree.map(functools.partial(one, state.steps_done), params, updates)
        return moved, StepCount(state.steps_done + 1)

    return optax.GradientTransformation(init, update)


def renormalized(kernel: Float[Array, "h w i o"]) -> Float[Array, "h w i o"]:
    """Scale a kernel to the norm that o rows of norm 1 have together."""
    return kernel * (kernel.shape[-1] ** 0.5 / jnp.linalg.norm(kernel))


def _scheduled(recipe: Recipe, rate: Array, count: Any) -> Array:
    return rate * learning_rate_factor(recipe, jnp.asarray(count))
