"""Which dtype holds what."""

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from airjax.recipes.recipe import Recipe
from airjax.utils.platform import default_platform


class Precision(NamedTuple):
    """The dtypes of one arithmetic."""

    params: DTypeLike  # trained parameters and their momentum
    compute: DTypeLike  # images, activations and the operands of convolutions
    statistics: DTypeLike  # BatchNorm, whitening, loss, schedule, hyperparameters


PRECISIONS = {
    "float32": Precision(jnp.float32, jnp.float32, jnp.float32),
    "bfloat16": Precision(jnp.float32, jnp.bfloat16, jnp.float32),
    # As released: half precision without master weights, except in BatchNorm.
    "float16": Precision(jnp.float16, jnp.float16, jnp.float32),
    "float64": Precision(jnp.float64, jnp.float64, jnp.float64),
}


def resolve_precision(recipe: Recipe, platform: str | None = None) -> Recipe:
    """The recipe with `auto` replaced by a platform's arithmetic; None is the platform of this process.

    Raises ValueError for float64 while jax_enable_x64 is off, where it would silently become float32.
    """
    if recipe.precision == "float64" and not jax.config.read("jax_enable_x64"):
        raise ValueError("precision float64 needs 64-bit types: set JAX_ENABLE_X64=1 in the environment")
    if recipe.precision != "auto":
        return recipe
    return replace(recipe, precision="float32" if (platform or default_platform()) == "cpu" else "bfloat16")


def precision_of(recipe: Recipe) -> Precision:
    """The dtypes of a recipe whose precision is resolved."""
    return PRECISIONS[resolve_precision(recipe).precision]
