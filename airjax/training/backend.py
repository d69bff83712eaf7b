"""Which backend a recipe computes with here: looked up on the host, before anything is traced."""

import jax

from airjax.kernels.backend import PRECISIONS, Backend, Driver, make_backend
from airjax.kernels.convolution import Convolution, default_convolution
from airjax.recipes.recipe import Recipe
from airjax.utils.platform import default_platform


def resolve_precision(recipe: Recipe, platform: str | None = None) -> Recipe:
    """Return the recipe with `auto` replaced by a platform's arithmetic; None is the platform of this process.

    Raises ValueError for float64 while jax_enable_x64 is off, where it would silently become float32.
    """
    if recipe.precision == "float64" and not jax.config.read("jax_enable_x64"):
        raise ValueError("precision float64 needs 64-bit types: set JAX_ENABLE_X64=1 in the environment")
    if recipe.precision != "auto":
        return recipe
    return recipe.override(precision="float32" if (platform or default_platform()) == "cpu" else "bfloat16")


def backend_of(recipe: Recipe, *, convolution: Convolution | None = None, driver: Driver | None = None) -> Backend:
    """Return what a recipe computes with on the default platform; None is the fastest there for one network."""
    recipe, platform = resolve_precision(recipe), default_platform()
    compute = PRECISIONS[recipe.precision].compute
    return make_backend(recipe.precision, platform, convolution or default_convolution(compute, platform), driver)
