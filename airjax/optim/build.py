"""From a recipe to its optimizer: the one place that knows which transformation an optimizer is."""

from collections.abc import Hashable

import optax

from airjax.kernels.backend import Precision
from airjax.optim import groups
from airjax.optim.heavy_ball import GROUPS, heavy_ball_chain
from airjax.optim.hyperparameters import Hyperparameters
from airjax.optim.muon import muon_chain
from airjax.optim.nesterov import nesterov_chain
from airjax.optim.sgd import sgd_chain
from airjax.recipes.optimizer import Sgd
from airjax.recipes.optimizer_heavy_ball import HeavyBall
from airjax.recipes.optimizer_muon import Muon
from airjax.recipes.recipe import Recipe


def make_optimizer(
    recipe: Recipe, precision: Precision, hyper: Hyperparameters, frozen: tuple[str, ...] = ()
) -> optax.GradientTransformationExtraArgs:
    """Return the transformation of gradients of the summed loss into updates.

    frozen names groups of parameters (`label_params`) that get no update; the state has the same tree either way.
    Raises ValueError for a group that there is not.
    """
    names, label = recipe.network.parameter_groups, groups.label_params
    if isinstance(recipe.optimizer, Muon):
        names, label = ("conv", *names), groups.label_convolutions
    if isinstance(recipe.optimizer, HeavyBall):
        names, label = GROUPS, groups.label_decaying
    unknown = set(frozen) - set(names)
    if unknown:  # else it would go on to move
        raise ValueError(f"frozen names {', '.join(sorted(unknown))}, but the groups are {', '.join(names)}")
    chains: dict[Hashable, optax.GradientTransformation] = {}
    for group in names:
        chain = make_chain(recipe, precision, hyper, group)
        chains[group] = groups.freeze(chain) if group in frozen else chain
    return optax.partition(chains, label)


def make_chain(
    recipe: Recipe, precision: Precision, hyper: Hyperparameters, group: str
) -> optax.GradientTransformation:
    """Return the transformation of one group's gradients."""
    optimizer = recipe.optimizer
    if isinstance(optimizer, Sgd):
        return sgd_chain(recipe, precision, hyper, group)
    if isinstance(optimizer, Muon):
        return muon_chain(recipe, optimizer, precision, hyper, group)
    if isinstance(optimizer, HeavyBall):
        return heavy_ball_chain(recipe, precision, hyper, group)
    return nesterov_chain(recipe, optimizer, precision, hyper, group)
