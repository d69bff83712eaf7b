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
# multiplies it (docs/performance.md): 94, with 7e8, takes 0.35 of the time with AMX and 0.6 with AVX-512; mini, with
# 4e7, takes 0.8 of it.
LARGE = 2e8


def resolve_precision(recipe: Recipe, platform: str | None = None) -> Recipe:
    """Return the recipe with `auto` replaced by a platform's arithmetic; None is the platform of this process.

    Raises ValueError for float64 while jax_enable_x64 is off, where it would silently become float32.
    """
    if recipe.precision == "float64" and not jax.config.read("jax_enable_x64"):
        raise ValueError("precision float64 needs 64-bit types: set JAX_ENABLE_X64=1 in the environment")
    if recipe.precision != "auto":
        return recipe
    return recipe.override(precision="float32" if (platform or default_platform()) == "cpu" else "bfloat16")


def bfloat16_pays(recipe: Recipe, platform: str | None = None) -> bool:
    """Return whether a CPU trains large networks, one at a time, much faster in bfloat16 than in float32.

    That is where oneDNN convolves and the processor multiplies bfloat16 itself. It depends on the machine, so only a
    command that says what it chooses may go by it.
    """
    large = recipe.step_flops() / recipe.batch_size > LARGE
    on_cpu = (platform or default_platform()) == "cpu"
    return large and on_cpu and default_convolution(jnp.bfloat16, "cpu") == "onednn"


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
