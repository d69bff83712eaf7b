"""Which kind of network or optimizer a recipe has, where only one will do."""

from airjax.recipes.network import AirbenchNet
from airjax.recipes.network_resnet import ResNet18
from airjax.recipes.optimizer import Nesterov
from airjax.recipes.optimizer_muon import Muon
from airjax.recipes.recipe import Recipe


def airbench_network(recipe: Recipe) -> AirbenchNet:
    """Return the recipe's network. Raises ValueError for one of another kind."""
    if not isinstance(recipe.network, AirbenchNet):
        raise ValueError("this recipe's network is not one of airbench's; choose 94, 95, 96 or one made from them")
    return recipe.network


def nesterov_optimizer(recipe: Recipe) -> Nesterov:
    """Return the recipe's optimizer. Raises ValueError for one of another kind."""
    if not isinstance(recipe.optimizer, Nesterov):
        raise ValueError("this recipe's optimizer is not airbench's; choose 94, 95, 96 or one made from them")
    return recipe.optimizer


def is_residual(recipe: Recipe) -> bool:
    """Say whether the recipe's network is a ResNet-18."""
    return isinstance(recipe.network, ResNet18)


def has_muon(recipe: Recipe) -> bool:
    """Say whether the recipe's optimizer is Muon."""
    return isinstance(recipe.optimizer, Muon)
