"""Logits with test-time augmentation. (§5)"""

import jax
import jax.numpy as jnp
from jax import Array

from airjax.images import normalize, tta_views
from airjax.layers import Convolution
from airjax.model import Variables, apply_eval
from airjax.precision import precision_of
from airjax.recipe import CLASSES, Recipe

EVAL_BATCH = {"cpu": 200, "other": 2000}  # images per forward pass: on a CPU, what its caches hold


def eval_batch(recipe: Recipe) -> int:
    """Images per forward pass of an evaluation on this backend."""
    return min(EVAL_BATCH.get(jax.default_backend(), EVAL_BATCH["other"]), recipe.test_examples)


def tta_logits(
    recipe: Recipe,
    variables: Variables,
    images: Array,
    level: int | None = None,
    convolution: Convolution = "native",
) -> Array:
    """Weighted mean of the logits [N,10] over the views of images [N,H,W,3] uint8. level defaults to the recipe's."""
    normalized = normalize(images, precision_of(recipe).compute)
    views = tta_views(normalized, recipe.tta_level if level is None else level)
    logits = jnp.zeros((images.shape[0], CLASSES), precision_of(recipe).statistics)
    for weight, view in views:
        logits = logits + weight * apply_eval(recipe, variables, view, convolution)
    return logits
