"""SGD in decoupled hyperparameters, a group at a time: decay, Nesterov momentum, the scheduled rate last. (§4.2-4.5)"""

import jax.numpy as jnp
import optax

from airjax.kernels.backend import Precision
from airjax.optim.groups import group_dtype
from airjax.optim.hyperparameters import Hyperparameters
from airjax.optim.schedule import learning_rate_factor
from airjax.recipes.optimizer import Nesterov
from airjax.recipes.recipe import Recipe


def nesterov_chain(
    recipe: Recipe, optimizer: Nesterov, precision: Precision, hyper: Hyperparameters, group: str
) -> optax.GradientTransformation:
    """Return the transformation of one group's gradients, of the summed loss, into updates."""
    rate, dtype = hyper.learning_rate, group_dtype(group, precision)
    if group == "norm_bias":
        rate = rate * optimizer.bias_scale
    return optax.chain(
        optax.add_decayed_weights((hyper.weight_decay / rate).astype(dtype)),
        optax.trace(hyper.momentum.astype(dtype), nesterov=True),
        optax.scale_by_learning_rate(lambda count: rate * learning_rate_factor(recipe, jnp.asarray(count))),
    )
