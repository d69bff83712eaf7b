"""Evaluate networks on a tree of images: both test crops, decoded once for all networks, with mirrored views. (§9)"""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, UInt8

from airjax.kernels.backend import Backend
from airjax.nn.build import Variables, apply_rest
from airjax.recipes.recipe import Recipe
from airjax.stream.batches import open_batches
from airjax.stream.tree import Tree
from airjax.stream.views import EvalView
from airjax.training.compile import compile_lowered, compiled_once
from airjax.training.data_parallel import gather_parts, num_devices, over_devices, shard_batch
from airjax.training.evaluate import evaluated_part, evaluation_backend, weighted_views
from airjax.training.events import CropResult
from airjax.training.stream_data import batch_shape, prefetch, shape_of, share_of

CROP_BATCH = {"cpu": 50, "other": 500}  # images of a forward pass, on each device


class CropLogits(NamedTuple):
    """The logits of k networks on one test crop of m images."""

    view: EvalView
    plain: Float[np.ndarray, "k m l"]
    tta: Float[np.ndarray, "k m l"]  # with the recipe's test-time augmentation


def view_logits(
    recipe: Recipe, backend: Backend, variables: Variables, images: UInt8[Array, "b h w 3"]
) -> Float[Array, "2 b l"]:
    """Compute the logits of plain images, and their weighted mean over the recipe's views, of which those are one."""
    views = weighted_views(recipe, backend, variables, images, recipe.evaluation.tta_level)
    logits = [apply_rest(recipe, backend, variables, x) for _, x in views]
    return jnp.stack([logits[0], sum(weight * one for (weight, _), one in zip(views, logits, strict=True))])


def eval_views(recipe: Recipe, backend: Backend) -> list[EvalView]:
    """Return the recipe's test crops, in its order."""
    assert recipe.cropping is not None
    devices = num_devices(backend.mesh)
    batch = min(CROP_BATCH.get(backend.platform, CROP_BATCH["other"]), math.ceil(recipe.test_examples / devices))
    pairs = zip(recipe.cropping.test_sizes, recipe.cropping.test_fractions, strict=True)
    return [EvalView(batch * devices, size, fraction) for size, fraction in pairs]


def prepare_crop(recipe: Recipe, backend: Backend, variables: Variables, view: EvalView) -> None:
    """Compile what the evaluation of a network on a test crop needs, so far as it is not."""
    images = batch_shape(backend.mesh, view.batch_size, view.size, view.size, recipe.inputs.channels)
    compile_views(recipe, backend, variables, images)


def crop_logits(
    recipe: Recipe,
    backend: Backend,
    networks: Sequence[Variables],
    tree: Tree,
    view: EvalView,
    *,
    workers: int = 0,
) -> CropLogits:
    """Compute the logits of networks on a test crop of all images; the last batch is padded, so one program serves.

    The devices of a mesh share every batch, and each process decodes the images of its own; all get all logits.

    Raises DataError for an image that cannot be decoded, with its name.
    """
    mesh, parts = backend.mesh, []
    share = share_of(mesh)
    with open_batches(tree.val, view, workers=workers, share=share) as batches:
        images = (_padded(batch.images, view.batch_size // share.processes) for batch in batches)
        for batch in prefetch(images, functools.partial(shard_batch, mesh)):
            parts.append([compile_views(recipe, backend, one, batch)(one, batch) for one in networks])
    count = len(tree.val_labels)
    joined = [np.concatenate([np.asarray(part[k]) for part in parts], axis=1)[:, :count] for k in range(len(networks))]
    plain, tta = np.stack(joined, axis=1)
    return CropLogits(view, plain, tta)


def measure_crop(found: CropLogits, member: int, tree: Tree) -> CropResult:
    """Return how well one of the networks does."""
    plain, tta = (accuracy_on(tree, logits[member]) for logits in (found.plain, found.tta))
    return CropResult(found.view.size, found.view.fraction, plain, tta)


def accuracy_on(tree: Tree, logits: Float[np.ndarray, "m l"]) -> float:
    """Return the fraction of a tree's test images whose largest logit is at the label."""
    return float((logits.argmax(1) == tree.val_labels).mean())


def compile_views(recipe: Recipe, backend: Backend, variables: Variables, images: Array | jax.ShapeDtypeStruct) -> Any:
    """Compile `view_logits` for arrays like these and where these are, once: (variables, images) -> logits.

    The devices of the backend's mesh have a part of the images each, and all get all logits.
    """
    leaves, tree = jax.tree.flatten(jax.tree.map(shape_of, (variables, images)))
    return _compile_views(evaluated_part(recipe), evaluation_backend(backend), tuple(leaves), tree)


@compiled_once(maxsize=16)
def _compile_views(recipe: Recipe, backend: Backend, leaves: tuple[Any, ...], tree: Any) -> Any:
    mesh = backend.mesh

    def logits(variables: Variables, images: Array) -> Array:
        own = view_logits(recipe, backend, variables, images)
        return gather_parts(mesh, own.swapaxes(0, 1)).swapaxes(0, 1)

    lowered = jax.jit(over_devices(mesh, logits, (False, True))).lower(*jax.tree.unflatten(tree, leaves))
    return compile_lowered(lowered, backend.platform, backend.convolution)


def _padded(images: UInt8[np.ndarray, "n h w 3"], count: int) -> UInt8[np.ndarray, "{count} h w 3"]:
    return np.concatenate([images, np.zeros((count - len(images), *images.shape[1:]), np.uint8)])
