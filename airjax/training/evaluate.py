"""Logits with test-time augmentation. (§5)"""

import math
from dataclasses import replace
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from airjax.augment.transforms import normalize
from airjax.augment.views import tta_views
from airjax.kernels.layers import Convolution
from airjax.nn.airbench import Variables, apply_eval
from airjax.recipes.precision import precision_of
from airjax.recipes.recipe import CLASSES, Recipe
from airjax.utils.platform import default_platform

EVAL_BATCH = {"cpu": 200, "other": 2000}  # images per forward pass: on a CPU, what its caches hold

# With oneDNN's convolutions, which can be looped over inside of a program: a call costs the pages of all its memory.
EVAL_PASSES = 20


class EvalPlan(NamedTuple):
    """How many images an evaluation takes at once."""

    batch: int  # images of a forward pass
    passes: int  # forward passes of a call


def eval_batch(recipe: Recipe) -> int:
    """Images per forward pass of an evaluation on this backend."""
    return min(EVAL_BATCH.get(default_platform(), EVAL_BATCH["other"]), recipe.test_examples)


def eval_plan(recipe: Recipe, convolution: Convolution) -> EvalPlan:
    """The fastest way through the recipe's test images, with hardly an image too many in the last call."""
    batch = eval_batch(recipe)
    if convolution != "onednn":
        return EvalPlan(batch, 1)
    passes = math.ceil(recipe.test_examples / batch)
    calls = math.ceil(passes / EVAL_PASSES)
    passes = math.ceil(passes / calls)
    return EvalPlan(math.ceil(recipe.test_examples / (calls * passes)), passes)


def level_of(recipe: Recipe, level: int | None) -> int:
    """The level of test-time augmentation; None is the recipe's. Raises ValueError unless it is 0, 1 or 2."""
    return recipe.tta_level if level is None else replace(recipe, tta_level=level).tta_level


def tta_logits(
    recipe: Recipe,
    variables: Variables,
    images: Array,
    level: int | None = None,
    convolution: Convolution = "native",
) -> Array:
    """Weighted mean of the logits [N,10] over the views of images [N,H,W,3] uint8. level defaults to the recipe's.

    Raises ValueError for a level other than 0, 1 or 2.
    """
    normalized = normalize(images, precision_of(recipe).compute)
    views = tta_views(normalized, level_of(recipe, level))
    logits = jnp.zeros((images.shape[0], CLASSES), precision_of(recipe).statistics)
    for weight, view in views:
        logits = logits + weight * apply_eval(recipe, variables, view, convolution)
    return logits


def tta_logits_in_passes(
    recipe: Recipe,
    variables: Variables,
    images: Array,
    count: Array | int,
    plan: EvalPlan,
    level: int | None = None,
    convolution: Convolution = "native",
) -> Array:
    """`tta_logits` [N,10] of images [N,H,W,3] uint8, N = passes * batch, by count passes; the rest are zero."""
    if plan.passes == 1:
        return tta_logits(recipe, variables, images, level, convolution)

    def body(done: Array, logits: Array) -> Array:
        part = lax.dynamic_slice_in_dim(images, done * plan.batch, plan.batch)
        new = tta_logits(recipe, variables, part, level, convolution)
        return lax.dynamic_update_slice_in_dim(logits, new, done * plan.batch, axis=0)

    logits = jnp.zeros((images.shape[0], CLASSES), precision_of(recipe).statistics)
    return lax.fori_loop(0, count, body, logits)
