"""Evaluate a group of networks, each of which may have images of its own that all views are for. (§5)"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Shaped, UInt8

from airjax.kernels.backend import Backend
from airjax.nn.build import Variables, init_variables
from airjax.recipes.recipe import Recipe
from airjax.training.compile import compile_function, compiled_once
from airjax.training.eval_parts import chosen_parts, compile_choice, compile_part, parts_of
from airjax.training.eval_plans import EvalPlan, EvalRound, eval_rounds
from airjax.training.evaluate import evaluated_part, evaluation_backend, tta_logits_in_passes
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
    for one in eval_rounds(recipe, recipe.evaluation.tta_level, plan):
        if one.selected:
            compile_choice(images.shape, images.dtype, (num_networks, one.plan.images))
        else:
            compile_part(images.shape, images.dtype, one.plan.images)
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
    evaluation, count, num_networks = recipe.evaluation, len(images), len(jax.tree.leaves(variables)[0])
    rounds = eval_rounds(recipe, evaluation.tta_level, plan)
    first, *rest = compile_group_logits(recipe, backend, strategy, num_networks, plan)
    parts = [np.asarray(first(variables, part)) for part, _ in parts_of(images, plan.images)]
    logits = np.concatenate(parts, axis=1)[:, :count]
    for one, compiled in zip(rounds[1:], rest, strict=True):
        chosen = least_confident(logits, evaluation.num_selected(count))
        parts = [np.asarray(compiled(variables, part)) for part, _ in chosen_parts(images, chosen, one.plan.images)]
        selected = np.concatenate(parts, axis=1)[:, : chosen.shape[1]]
        np.put_along_axis(logits, chosen[:, :, None], selected, axis=1)
    return logits


def compile_group_logits(
    recipe: Recipe, backend: Backend, strategy: Strategy, num_networks: int, plan: EvalPlan
) -> tuple[Any, ...]:
    """Compile (variables of k networks, images [b,h,w,c] uint8) -> logits [k,b,l] for each of `eval_rounds`.

    b are the images of a call. A round of selected images takes each network's own ones, [k,b,h,w,c].
    """
    rounds = eval_rounds(recipe, recipe.evaluation.tta_level, plan)
    recipe, backend = evaluated_part(recipe), evaluation_backend(backend)
    return tuple(_compile_group_logits(recipe, backend, strategy, num_networks, one) for one in rounds)


@compiled_once(maxsize=64)
def _compile_group_logits(
    recipe: Recipe,
    backend: Backend,
    strategy: Strategy,
    num_networks: int,
    one: EvalRound,
) -> Any:
    level, plan, own_images = one

    def logits(variables: Variables, images: Array) -> Array:
        return tta_logits_in_passes(recipe, backend, variables, images, plan.passes, plan, level)

    network = {"frozen": {}} | jax.eval_shape(lambda: init_variables(recipe, backend, make_key(0)))
    variables = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((num_networks, *leaf.shape), leaf.dtype), network)
    size = recipe.inputs.image_size
    networks = (num_networks,) if own_images else ()
    images = jax.ShapeDtypeStruct((*networks, plan.images, size, size, recipe.inputs.channels), jnp.uint8)
    over = over_members(strategy, logits, (True, own_images))
    return compile_function(over, variables, images, convolution=backend.convolution)
