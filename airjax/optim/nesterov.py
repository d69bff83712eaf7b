"""SGD in decoupled hyperparameters, a group at a time: decay, Nesterov momentum, the scheduled rate last. (§4.2-4.5)"""

import optax

from airjax.kernels.backend import Precision
from airjax.optim.groups import group_dtype
from airjax.optim.hyperparameters import Hyperparameters
from airjax.optim.momentum import momentum_steps
from airjax.recipes.optimizer import Nesterov
from airjax.recipes.recipe import Recipe


def nesterov_chain(
    recipe: Recipe, optimizer: Nesterov, precision: Precision, hyper: Hyperparameters, group: str
) -> optax.GradientTransformation:
    """Return the transformation of one group's gradients, of the summed loss, into updates."""
    rate, dtype = hyper.learning_rate, group_dtype(recipe, group, precision)
    if group == "norm_bias":
        rate = rate * optimizer.bias_scale
    return optax.chain(*momentum_steps(recipe, hyper.weight_decay / rate, hyper.momentum, rate, dtype))
