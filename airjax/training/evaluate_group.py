"""Evaluate a group of networks, each of which may have images of its own that all views are for. (§5)"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Shaped, UInt8

from airjax.kernels.backend import Backend
from airjax.nn.build import Variables, init_variables
from airjax.recipes.recipe import Recipe
from airjax.training.compile import compile_function
from airjax.training.eval_parts import chosen_parts, compile_choice, compile_part, parts_of
from airjax.training.evaluate import (
    EvalPlan,
    evaluated_part,
    evaluation_backend,
    selected_plan,
    tta_logits_in_passes,
)
from airjax.training.members import Strategy, over_members
from airjax.training.selective import least_confident
from airjax.utils.seeds import make_key


def compile_group_evaluation(
    recipe: Recipe,
    backend: Backend,
    strategy: Strategy,
    num_networks: int,
    plan: EvalPlan,
    images: Shaped[Array, "n ..."],
) -> tuple[Any, ...]:
    """Compile all that `group_logits` of images on the device needs, and return the programs of the networks."""
    compile_part(images.shape, images.dtype, plan.images)
    if recipe.evaluation.selects(recipe.evaluation.tta_level):
        compile_choice(images.shape, images.dtype, (num_networks, selected_plan(recipe, plan).images))
    return compile_group_logits(recipe, backend, strategy, num_networks, plan)


def group_logits(
    recipe: Recipe,
    backend: Backend,
    strategy: Strategy,
    variables: Variables,
    images: UInt8[Array, "n h w c"],
    plan: EvalPlan,
) -> Float[np.ndarray, "k n l"]:
    """Compute the logits of k networks, whose variables have an axis [k], on images on the device.

    Where the recipe selects images for all views, it selects for each network its own.
    """
    evaluation, count = recipe.evaluation, len(images)
    compiled = compile_group_logits(recipe, backend, strategy, len(jax.tree.leaves(variables)[0]), plan)
    parts = [np.asarray(compiled[0](variables, part)) for part, _ in parts_of(images, plan.images)]
    logits = np.concatenate(parts, axis=1)[:, :count]
    if evaluation.selects(evaluation.tta_level):
        chosen = least_confident(logits, evaluation.num_selected(count))
        size = selected_plan(recipe, plan).images
        parts = [np.asarray(compiled[1](variables, part)) for part, _ in chosen_parts(images, chosen, size)]
        selected = np.concatenate(parts, axis=1)[:, : chosen.shape[1]]
        np.put_along_axis(logits, chosen[:, :, None], selected, axis=1)
    return logits


def compile_group_logits(
    recipe: Recipe, backend: Backend, strategy: Strategy, num_networks: int, plan: EvalPlan
) -> tuple[Any, ...]:
    """Compile (variables of k networks, images [b,h,w,c] uint8) -> logits [k,b,l], with b the images of the plan.

    Where the recipe selects images for all views, that is of plain images, and a second program is that of all views,
    of each network's own images [k,b,h,w,c], with b the images of `selected_plan`.
    """
    level, second = recipe.evaluation.tta_level, selected_plan(recipe, plan)
    recipe, backend = evaluated_part(recipe), evaluation_backend(backend)
    if not recipe.evaluation.selects(level):
        return (_compile_group_logits(recipe, backend, strategy, num_networks, plan, level, False),)
    return (
        _compile_group_logits(recipe, backend, strategy, num_networks, plan, 0, False),
        _compile_group_logits(recipe, backend, strategy, num_networks, second, level, True),
    )


@functools.lru_cache(maxsize=64)
def _compile_group_logits(
    recipe: Recipe,
    backend: Backend,
    strategy: Strategy,
    num_networks: int,
    plan: EvalPlan,
    level: int,
    own_images: bool,
) -> Any:
    def logits(variables: Variables, images: Array) -> Array:
        return tta_logits_in_passes(recipe, backend, variables, images, plan.passes, plan, level)

    one = {"frozen": {}} | jax.eval_shape(lambda: init_variables(recipe, backend, make_key(0)))
    variables = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((num_networks, *leaf.shape), leaf.dtype), one)
    size = recipe.inputs.image_size
    networks = (num_networks,) if own_images else ()
    images = jax.ShapeDtypeStruct((*networks, plan.images, size, size, recipe.inputs.channels), jnp.uint8)
    over = over_members(strategy, logits, (True, own_images))
    return compile_function(over, variables, images, convolution=backend.convolution)
