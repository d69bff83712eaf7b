"""Which backend a recipe computes with here: looked up on the host, before anything is traced."""

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from airjax.kernels.backend import PRECISIONS, Backend, Driver, make_backend
from airjax.kernels.convolution import Convolution, default_convolution
from airjax.recipes.recipe import Recipe
from airjax.training.data_parallel import check_shares
from airjax.utils.platform import default_platform

# FLOPs of a training step for each of its examples, from which on bfloat16 is faster by half or more on a CPU that
# multiplies it (docs/performance.md): 94, with 7e8, takes 0.35 of the time with AMX and 0.6 with AVX-512. mini, with
# 4e7, gains a sixth.
LARGE = 2e8


def resolve_precision(recipe: Recipe, platform: str | None = None) -> Recipe:
    """Return the recipe with `auto` replaced by a platform's arithmetic; None is the platform of this process.

    That is bfloat16, but float32 on a CPU that does not multiply bfloat16 itself, and on any for small networks.

    Raises ValueError for float64 while jax_enable_x64 is off, where it would silently become float32.
    """
    if recipe.precision == "float64" and not jax.config.read("jax_enable_x64"):
        raise ValueError("precision float64 needs 64-bit types: set JAX_ENABLE_X64=1 in the environment")
    if recipe.precision != "auto":
        return recipe
    half = (platform or default_platform()) != "cpu" or _pays_on_a_cpu(recipe)
    return recipe.override(precision="bfloat16" if half else "float32")


def _pays_on_a_cpu(recipe: Recipe) -> bool:
    large = recipe.step_flops() / recipe.batch_size > LARGE
    return large and default_convolution(jnp.bfloat16, "cpu") == "onednn"  # whose instructions this processor has


def backend_of(
    recipe: Recipe,
    *,
    convolution: Convolution | None = None,
    driver: Driver | None = None,
    mesh: Mesh | None = None,
) -> Backend:
    """Return what a recipe computes with on the default platform; None is the fastest there for one network.

    Raises ValueError where the devices of a mesh cannot share the recipe's batches equally.
    """
    recipe, platform = resolve_precision(recipe), default_platform()
    compute, groups = PRECISIONS[recipe.precision].compute, recipe.network.batchnorm_groups
    check_shares(mesh, "batch-size", recipe.batch_size)
    check_shares(mesh, "what proxy-keep leaves of a batch", recipe.step_examples)
    if groups > 1:
        check_shares(mesh, "batchnorm-groups", groups)
    convolution = convolution or default_convolution(compute, platform)
    return make_backend(recipe.precision, platform, convolution, driver, mesh)
