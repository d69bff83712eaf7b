"""The numbers of an optimizer that are arguments of compiled programs."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from airjax.kernels.backend import statistics_dtype
from airjax.recipes.recipe import Recipe
from airjax.utils.reprs import one_line


class Hyperparameters(NamedTuple):
    """The numbers that may change without recompiling, in the units in which the recipe's optimizer applies them.

    `Nesterov`: of the loss summed over the batch; the decay is the fraction removed per step. `Sgd` and `HeavyBall`:
    torch's, of the mean loss. `Muon`: rate and momentum of the convolutions, decay of biases and head.
    """

    learning_rate: Float[Array, ""]  # at factor 1
    weight_decay: Float[Array, ""]  # before momentum
    momentum: Float[Array, ""]
    label_smoothing: Float[Array, ""]

    def __repr__(self) -> str:
        return one_line(self)


def hyperparameters(recipe: Recipe) -> Hyperparameters:
    """Return the recipe's numbers as its optimizer applies them; those of `Nesterov` are converted. (§4.2)"""
    return Hyperparameters(*(jnp.asarray(value, statistics_dtype(recipe.precision)) for value in _sgd_values(recipe)))


def stack_hyperparameters(recipes: Sequence[Recipe]) -> Hyperparameters:
    """Return `hyperparameters` of each of k recipes, every one [k]."""
    dtype = statistics_dtype(recipes[0].precision)
    columns = zip(*(_sgd_values(recipe) for recipe in recipes), strict=True)
    return Hyperparameters(*(jnp.asarray(np.array(column, dtype)) for column in columns))


def _sgd_values(recipe: Recipe) -> tuple[float, float, float, float]:
    rate, decay = recipe.sgd_learning_rate, recipe.sgd_weight_decay
    return rate, decay, recipe.optimizer.momentum, recipe.loss.label_smoothing
