"""From a recipe to its optimizer: the one place that knows which transformation an optimizer is."""

from collections.abc import Hashable

import optax

from airjax.kernels.backend import Precision
from airjax.optim import groups
from airjax.optim.hyperparameters import Hyperparameters
from airjax.optim.nesterov import nesterov_chain
from airjax.optim.sgd import sgd_chain
from airjax.recipes.optimizer import Sgd
from airjax.recipes.recipe import Recipe


def make_optimizer(
    recipe: Recipe, precision: Precision, hyper: Hyperparameters, frozen: tuple[str, ...] = ()
) -> optax.GradientTransformationExtraArgs:
    """Return the transformation of gradients of the summed loss into updates.

    frozen names groups of parameters (`label_params`) that get no update; the state has the same tree either way.
    """
    chains: dict[Hashable, optax.GradientTransformation] = {}
    for group in recipe.network.parameter_groups:
        chain = make_chain(recipe, precision, hyper, group)
        chains[group] = groups.freeze(chain) if group in frozen else chain
    return optax.partition(chains, groups.label_params)


def make_chain(
    recipe: Recipe, precision: Precision, hyper: Hyperparameters, group: str
) -> optax.GradientTransformation:
    """Return the transformation of one group's gradients."""
    optimizer = recipe.optimizer
    if isinstance(optimizer, Sgd):
        return sgd_chain(recipe, precision, hyper, group)
    return nesterov_chain(recipe, optimizer, precision, hyper, group)
