"""SGD in torch's units: the mean loss's gradient, decay, Nesterov momentum, the scheduled rate last. (§7)"""

import optax

from airjax.kernels.backend import Precision
from airjax.optim.groups import group_dtype
from airjax.optim.hyperparameters import Hyperparameters
from airjax.optim.momentum import momentum_steps
from airjax.recipes.recipe import Recipe


def sgd_chain(recipe: Recipe, precision: Precision, hyper: Hyperparameters, group: str) -> optax.GradientTransformation:
    """Return the transformation of one group's gradients, of the summed loss, into updates.

    The gradient of the mean loss is that of the sum, divided here: its backward pass would underflow in half precision.
    """
    dtype = group_dtype(recipe, group, precision)
    return optax.chain(
        optax.scale(1 / recipe.step_examples),
        *momentum_steps(recipe, hyper.weight_decay, hyper.momentum, hyper.learning_rate, dtype),
    )
