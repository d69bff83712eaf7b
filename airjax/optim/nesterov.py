"""SGD as an optax chain per parameter group: decay, Nesterov momentum, the scheduled rate last. (§4.2-4.5)"""

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from airjax.kernels.backend import Precision, statistics_dtype
from airjax.optim.schedule import triangle
from airjax.recipes.recipe import Recipe
from airjax.utils.reprs import one_line


class Hyperparameters(NamedTuple):
    """The numbers that may change without recompiling, in the units of a loss summed over the batch."""

    learning_rate: Float[Array, ""]  # of all parameters but the BatchNorm biases
    weight_decay: Float[Array, ""]  # fraction removed per step, before momentum
    momentum: Float[Array, ""]
    label_smoothing: Float[Array, ""]

    def __repr__(self) -> str:
        return one_line(self)


def hyperparameters(recipe: Recipe) -> Hyperparameters:
    """Convert the recipe's numbers from their decoupled form. (§4.2)"""
    return Hyperparameters(*(jnp.asarray(value, statistics_dtype(recipe.precision)) for value in _sgd_values(recipe)))


def stack_hyperparameters(recipes: Sequence[Recipe]) -> Hyperparameters:
    """Return `hyperparameters` of each of k recipes, every one [k]."""
    dtype = statistics_dtype(recipes[0].precision)
    columns = zip(*(_sgd_values(recipe) for recipe in recipes), strict=True)
    return Hyperparameters(*(jnp.asarray(np.array(column, dtype)) for column in columns))


def _sgd_values(recipe: Recipe) -> tuple[float, float, float, float]:
    rate, decay = recipe.sgd_learning_rate, recipe.sgd_weight_decay
    return rate, decay, recipe.optimizer.momentum, recipe.loss.label_smoothing


def label_params(params: Any) -> Any:
    """Name the group of every parameter: "norm_bias", "whiten_bias" or "other"."""

    def label(path: tuple[Any, ...], _: Array) -> str:
        names = [entry.key for entry in path]
        if names[-2:] == ["whiten", "bias"]:
            return "whiten_bias"
        return "norm_bias" if names[-1] == "bias" else "other"

    return jax.tree.map_with_path(label, params)


def make_optimizer(
    recipe: Recipe, precision: Precision, hyper: Hyperparameters, frozen: tuple[str, ...] = ()
) -> optax.GradientTransformationExtraArgs:
    """Return the transformation of gradients of the summed loss into updates.

    frozen names groups of parameters (`label_params`) that get no update; the state has the same tree either way.
    """

    def group(name: str, learning_rate: Array, dtype: DTypeLike) -> optax.GradientTransformation:
        chain = optax.chain(
            optax.add_decayed_weights((hyper.weight_decay / learning_rate).astype(dtype)),
            optax.trace(hyper.momentum.astype(dtype), nesterov=True),
            optax.scale_by_learning_rate(lambda count: learning_rate * triangle(recipe, jnp.asarray(count))),
        )
        return freeze(chain) if name in frozen else chain

    groups: dict[Hashable, optax.GradientTransformation] = {
        "other": group("other", hyper.learning_rate, precision.params),
        "norm_bias": group("norm_bias", hyper.learning_rate * recipe.optimizer.bias_scale, precision.statistics),
        "whiten_bias": group("whiten_bias", hyper.learning_rate, precision.params),
    }
    return optax.partition(groups, label_params)


def freeze(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """Return a transformation whose updates are zero and that leaves inner's state as it is.

    A zero gradient would not do: momentum and weight decay would still move the parameter.
    """

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        return jax.tree.map(jnp.zeros_like, updates), state

    return optax.GradientTransformation(inner.init, update)
