"""The optax chain: decay before momentum, Nesterov, the scheduled rate last, per parameter group. (§4.2-4.5)"""

from collections.abc import Hashable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.typing import DTypeLike

from airjax.optim.schedule import triangle
from airjax.recipes.precision import precision_of
from airjax.recipes.recipe import Recipe
from airjax.utils.reprs import one_line


class Hyperparameters(NamedTuple):
    """The numbers that may change without recompiling, in the units of a loss summed over the batch."""

    learning_rate: Array  # [] of all parameters but the BatchNorm biases
    weight_decay: Array  # [] fraction removed per step, before momentum
    momentum: Array  # []
    label_smoothing: Array  # []

    def __repr__(self) -> str:
        return one_line(self)


def hyperparameters(recipe: Recipe) -> Hyperparameters:
    """The recipe's numbers, converted from their decoupled form. (§4.2)"""
    values = (recipe.sgd_learning_rate, recipe.sgd_weight_decay, recipe.momentum, recipe.label_smoothing)
    return Hyperparameters(*(jnp.asarray(value, precision_of(recipe).statistics) for value in values))


def label_params(params: Any) -> Any:
    """Name the group of every parameter: "norm_bias", "whiten_bias" or "other"."""

    def label(path: tuple[Any, ...], _: Array) -> str:
        names = [entry.key for entry in path]
        if names[-2:] == ["whiten", "bias"]:
            return "whiten_bias"
        return "norm_bias" if names[-1] == "bias" else "other"

    return jax.tree.map_with_path(label, params)


def make_optimizer(
    recipe: Recipe, hyper: Hyperparameters, train_whiten_bias: bool
) -> optax.GradientTransformationExtraArgs:
    """Gradients of the summed loss -> updates. The state has the same tree whether or not the whitening bias trains."""

    def group(learning_rate: Array, dtype: DTypeLike) -> optax.GradientTransformation:
        return optax.chain(
            optax.add_decayed_weights((hyper.weight_decay / learning_rate).astype(dtype)),
            optax.trace(hyper.momentum.astype(dtype), nesterov=True),
            optax.scale_by_learning_rate(lambda count: learning_rate * triangle(recipe, jnp.asarray(count))),
        )

    precision = precision_of(recipe)
    other = group(hyper.learning_rate, precision.params)
    norm_bias = group(hyper.learning_rate * recipe.bias_scale, precision.statistics)
    groups: dict[Hashable, optax.GradientTransformation] = {
        "other": other,
        "norm_bias": norm_bias,
        "whiten_bias": other if train_whiten_bias else held(other),
    }
    return optax.partition(groups, label_params)


def held(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """No update at all, with inner's state passed through.

    A zero gradient would not do: momentum and weight decay would still move the parameter.
    """

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        return jax.tree.map(jnp.zeros_like, updates), state

    return optax.GradientTransformation(inner.init, update)
