"""SGD with plain momentum in torch's units, of which BatchNorms outside of shortcuts do not decay. (§9)"""

import jax.numpy as jnp
import optax

from airjax.kernels.backend import Precision
from airjax.optim.groups import group_dtype
from airjax.optim.hyperparameters import Hyperparameters
from airjax.optim.momentum import momentum_steps
from airjax.recipes.recipe import Recipe

GROUPS = ("decaying", "norm_decaying", "norm_fixed", "whiten_bias")  # of `airjax.optim.groups.label_decaying`


def heavy_ball_chain(
    recipe: Recipe, precision: Precision, hyper: Hyperparameters, group: str
) -> optax.GradientTransformation:
    """Return the transformation of one group's gradients, of the summed loss, into updates."""
    dtype = group_dtype(recipe, group, precision)
    decay = jnp.zeros_like(hyper.weight_decay) if group == "norm_fixed" else hyper.weight_decay
    return optax.chain(
        optax.scale(1 / recipe.step_examples),
        *momentum_steps(recipe, decay, hyper.momentum, hyper.learning_rate, dtype, nesterov=False),
    )
