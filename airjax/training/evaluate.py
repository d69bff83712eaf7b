"""Evaluate networks: logits with test-time augmentation, in passes that fit a platform's caches. (§5)"""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float, Int, Shaped, UInt8

from airjax.augment.transforms import normalize
from airjax.augment.views import sides_of, take_view, views_of
from airjax.kernels.backend import Backend
from airjax.nn.build import Variables, apply_first, apply_rest, init_variables
from airjax.recipes.recipe import Recipe
from airjax.training.backend import backend_of
from airjax.training.compile import compile_function, compiled_once
from airjax.training.data_parallel import gather_parts, own_part
from airjax.training.eval_parts import compile_choice, compile_part, parts_of
from airjax.training.eval_plans import EvalPlan, EvalRound, eval_plan, eval_rounds
from airjax.training.selective import least_confident
from airjax.utils.seeds import make_key


def level_of(recipe: Recipe, level: int | None) -> int:
    """Return the level of test-time augmentation; None is the recipe's. Raises ValueError unless it is 0, 1 or 2."""
    level = recipe.evaluation.tta_level if level is None else level
    return recipe.override(tta_level=level).evaluation.tta_level


def tta_logits(
    recipe: Recipe,
    variables: Variables,
    images: UInt8[Array, "n h w c"],
    level: int | None = None,
    *,
    backend: Backend | None = None,
) -> Float[Array, "n l"]:
    """Compute the weighted mean of the logits over the views of images. level defaults to the recipe's.

    All these images have all views, whatever fraction of a test set the recipe selects (`airjax.training.selective`).
    A backend of None is this process's. Raises ValueError for a level other than 0, 1 or 2.
    """
    backend = backend or backend_of(recipe)
    views = weighted_views(recipe, backend, variables, images, level_of(recipe, level))
    # One after another: only one view needs memory at a time.
    return _sum_up(backend, ((weight, apply_rest(recipe, backend, variables, x)) for weight, x in views))


def _joined_logits(
    recipe: Recipe, backend: Backend, variables: Variables, images: UInt8[Array, "n h w c"], level: int
) -> Float[Array, "n l"]:
    # `tta_logits` by one forward pass of all views: it is compiled once, and needs so many times the memory.
    weights, views = zip(*weighted_views(recipe, backend, variables, images, level), strict=True)
    joined = apply_rest(recipe, backend, variables, jnp.concatenate(views))
    return _sum_up(backend, zip(weights, jnp.split(joined, len(views)), strict=True))


def _sum_up(backend: Backend, weighted: Iterable[tuple[float, Array]]) -> Array:
    logits = jnp.zeros((), backend.precision.statistics)
    for weight, part in weighted:
        logits = logits + weight * part
    return logits


def weighted_views(
    recipe: Recipe, backend: Backend, variables: Variables, images: UInt8[Array, "n h w c"], level: int
) -> list[tuple[float, Array]]:
    """Return the views of a level with their weights, each as what `airjax.nn.build.apply_first` makes of it.

    That is computed once for all crops of an image.
    """
    evaluation = recipe.evaluation
    views = views_of(level, mirrored=evaluation.tta_mirror, uniform=evaluation.tta_uniform)
    normalized = normalize(images, recipe.inputs, backend.precision.compute)
    plain, mirrored = (
        None if side is None else apply_first(recipe, backend, variables, side)
        for side in sides_of(normalized, level, views)
    )
    assert plain is not None
    return [(view.weight, take_view(plain, mirrored, view, level)) for view in views]


def tta_logits_in_passes(
    recipe: Recipe,
    backend: Backend,
    variables: Variables,
    images: UInt8[Array, "n h w c"],
    count: Int[Array, ""] | int,
    plan: EvalPlan,
    level: int | None = None,
) -> Float[Array, "n l"]:
    """Compute `tta_logits` of n = passes * batch images by count passes; those of the rest are of no use.

    Where loops are fast, the views of an image go through the network together, and fewer images at once.
    """
    if plan.passes == 1 and backend.convolution != "onednn":
        return tta_logits(recipe, variables, images, level, backend=backend)
    level = level_of(recipe, level)
    views = len(views_of(level, mirrored=recipe.evaluation.tta_mirror))
    size = math.ceil(plan.batch / views)

    def body(done: Array, logits: Array) -> Array:
        # The last slice starts where it ends with the images, at some that are done.
        part = lax.dynamic_slice_in_dim(images, done * size, size)
        new = _joined_logits(recipe, backend, variables, part, level)
        return lax.dynamic_update_slice_in_dim(logits, new, done * size, axis=0)

    logits = jnp.zeros((images.shape[0], recipe.inputs.num_classes), backend.precision.statistics)
    return lax.fori_loop(0, -(-count * plan.batch // size), body, logits)


def compile_logits(recipe: Recipe, level: int, backend: Backend, plan: EvalPlan | None = None) -> Any:
    """Compile (variables, images [b,h,w,c] uint8, passes) -> logits [b,l], with b the images of a plan.

    A plan of None is that of `eval_plan`. Recipes and backends that differ only in what no evaluation depends on use
    the same program.
    """
    return _compile_logits(
        evaluated_part(recipe), level, evaluation_backend(backend), plan or eval_plan(recipe, backend)
    )


def batched_logits(
    recipe: Recipe,
    backend: Backend,
    variables: Variables,
    images: UInt8[Array | np.ndarray, "n h w c"],
    level: int,
    plan: EvalPlan | None = None,
) -> Float[np.ndarray, "n l"]:
    """Compute the logits of images, in calls of one size; the last is padded. A plan of None is that of `eval_plan`.

    Where the recipe selects images for all views, it selects among these.
    """
    if not len(images):
        return np.zeros((0, recipe.inputs.num_classes), np.float32)
    first, *rest = eval_rounds(recipe, level, plan or eval_plan(recipe, backend))
    logits = _logits_by_calls(recipe, backend, variables, images, first)
    for one in rest:
        chosen = least_confident(logits, recipe.evaluation.num_selected(len(images)))
        logits[chosen] = _logits_by_calls(recipe, backend, variables, images, one, chosen)
    return logits


def compile_evaluation(
    recipe: Recipe, level: int, backend: Backend, plan: EvalPlan, images: Shaped[Array, "n ..."]
) -> None:
    """Compile all that `batched_logits` of images on the device needs."""
    for one in eval_rounds(recipe, level, plan):
        if one.selected:
            compile_choice(images.shape, images.dtype, (one.plan.images,), backend.mesh)
        else:
            compile_part(images.shape, images.dtype, one.plan.images, backend.mesh)
        compile_logits(recipe, one.level, backend, one.plan)


@compiled_once(maxsize=64)
def _compile_logits(recipe: Recipe, level: int, backend: Backend, plan: EvalPlan) -> Any:
    variables = jax.eval_shape(lambda: init_variables(recipe, backend, make_key(0)))
    size = recipe.inputs.image_size
    images = jax.ShapeDtypeStruct((plan.images, size, size, recipe.inputs.channels), jnp.uint8)

    def logits(variables: Variables, images: Array, count: Array) -> Array:
        part = own_part(backend.mesh, images)  # the devices share the images, and all get all logits
        return gather_parts(backend.mesh, tta_logits_in_passes(recipe, backend, variables, part, count, plan, level))

    arguments = {"frozen": {}} | variables, images, jax.ShapeDtypeStruct((), jnp.int32)
    return compile_function(logits, *arguments, convolution=backend.convolution, mesh=backend.mesh)


def _logits_by_calls(
    recipe: Recipe,
    backend: Backend,
    variables: Variables,
    images: UInt8[Array | np.ndarray, "n h w c"],
    one: EvalRound,
    chosen: Int[np.ndarray, " m"] | None = None,
) -> Float[np.ndarray, "_ l"]:
    plan = one.plan
    compiled, parts = compile_logits(recipe, one.level, backend, plan), []
    for part, count in parts_of(images, plan.images, chosen):
        parts.append(np.asarray(compiled(variables, part, np.int32(plan.passes_for(count))))[:count])
    return np.concatenate(parts)


def evaluation_backend(backend: Backend) -> Backend:
    """Return the backend with what only training depends on as it is in every evaluation."""
    return backend._replace(driver="loop", unroll=1)


def evaluated_part(recipe: Recipe) -> Recipe:
    """Return the recipe with everything that an evaluation does not depend on as it is by default."""
    # Running statistics know no groups, which a batch of the default size might not have.
    network = replace(recipe.network, batchnorm_groups=1)
    default = Recipe(network=network, evaluation=recipe.evaluation, inputs=recipe.inputs)
    return default.override(precision=recipe.precision)
