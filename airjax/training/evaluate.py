"""Evaluate networks: logits with test-time augmentation, in passes that fit a platform's caches. (§5)"""

import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float, Int, Shaped, UInt8

from airjax.augment.transforms import normalize
from airjax.augment.views import tta_views
from airjax.kernels.backend import Backend
from airjax.nn.build import Variables, apply_eval, init_variables
from airjax.recipes.recipe import Recipe
from airjax.training.backend import backend_of
from airjax.training.compile import compile_function
from airjax.training.members import Strategy, over_members
from airjax.utils.seeds import make_key

EVAL_BATCH = {"cpu": 200, "other": 2000}  # images per forward pass: on a CPU, as many as fit its caches

# Forward passes of a call with oneDNN's convolutions, which are as fast in a loop inside a program: every call
# page-faults the whole temporary buffer.
EVAL_PASSES = 20


class EvalPlan(NamedTuple):
    """How many images an evaluation computes at once."""

    batch: int  # images of a forward pass
    passes: int  # forward passes of a call

    @property
    def images(self) -> int:
        """Images of a call."""
        return self.batch * self.passes


def eval_batch(recipe: Recipe, backend: Backend) -> int:
    """Return the number of images per forward pass of an evaluation."""
    return min(EVAL_BATCH.get(backend.platform, EVAL_BATCH["other"]), recipe.test_examples)


def eval_plan(recipe: Recipe, backend: Backend) -> EvalPlan:
    """Return the fastest sizes for the recipe's test images, with as little padding as possible in the last call."""
    batch = eval_batch(recipe, backend)
    if backend.convolution != "onednn":
        return EvalPlan(batch, 1)
    passes = math.ceil(recipe.test_examples / batch)
    calls = math.ceil(passes / EVAL_PASSES)
    passes = math.ceil(passes / calls)
    return EvalPlan(math.ceil(recipe.test_examples / (calls * passes)), passes)


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

    A backend of None is this process's. Raises ValueError for a level other than 0, 1 or 2.
    """
    backend = backend or backend_of(recipe)
    precision = backend.precision
    normalized = normalize(images, recipe.inputs, precision.compute)
    logits = jnp.zeros((images.shape[0], recipe.inputs.num_classes), precision.statistics)
    for weight, view in tta_views(normalized, level_of(recipe, level), mirrored=recipe.evaluation.tta_mirror):
        logits = logits + weight * apply_eval(recipe, backend, variables, view)
    return logits


def tta_logits_in_passes(
    recipe: Recipe,
    backend: Backend,
    variables: Variables,
    images: UInt8[Array, "n h w c"],
    count: Int[Array, ""] | int,
    plan: EvalPlan,
    level: int | None = None,
) -> Float[Array, "n l"]:
    """Compute `tta_logits` of n = passes * batch images by count passes; the rest are zero."""
    if plan.passes == 1:
        return tta_logits(recipe, variables, images, level, backend=backend)

    def body(done: Array, logits: Array) -> Array:
        part = lax.dynamic_slice_in_dim(images, done * plan.batch, plan.batch)
        new = tta_logits(recipe, variables, part, level, backend=backend)
        return lax.dynamic_update_slice_in_dim(logits, new, done * plan.batch, axis=0)

    logits = jnp.zeros((images.shape[0], recipe.inputs.num_classes), backend.precision.statistics)
    return lax.fori_loop(0, count, body, logits)


def compile_logits(recipe: Recipe, level: int, backend: Backend, plan: EvalPlan | None = None) -> Any:
    """Compile (variables, images [b,h,w,c] uint8, passes) -> logits [b,l], with b the images of a plan.

    A plan of None is that of `eval_plan`. Recipes and backends that differ only in what no evaluation depends on use
    the same program.
    """
    return _compile_logits(_evaluated(recipe), level, _of_evaluation(backend), plan or eval_plan(recipe, backend))


def batched_logits(
    recipe: Recipe,
    backend: Backend,
    variables: Variables,
    images: UInt8[Array | np.ndarray, "n h w c"],
    level: int,
    plan: EvalPlan | None = None,
) -> Float[np.ndarray, "n l"]:
    """Compute the logits of images, in calls of one size; the last is padded. A plan of None is that of `eval_plan`."""
    if not len(images):
        return np.zeros((0, recipe.inputs.num_classes), np.float32)
    plan, parts = plan or eval_plan(recipe, backend), []
    compiled = compile_logits(recipe, level, backend, plan)
    for part, count in parts_of(images, plan.images):
        passes = np.int32(-(-count // plan.batch))
        parts.append(np.asarray(compiled(variables, part, passes))[:count])
    return np.concatenate(parts)


def group_logits(
    recipe: Recipe,
    backend: Backend,
    strategy: Strategy,
    variables: Variables,
    images: UInt8[Array, "n h w c"],
    plan: EvalPlan,
) -> Float[np.ndarray, "k n l"]:
    """Compute the logits of k networks, whose variables have an axis [k], on images on the device."""
    compiled = compile_group_logits(recipe, backend, strategy, len(jax.tree.leaves(variables)[0]), plan)
    parts = [np.asarray(compiled(variables, part)) for part, _ in parts_of(images, plan.images)]
    return np.concatenate(parts, axis=1)[:, : len(images)]


def compile_group_logits(
    recipe: Recipe, backend: Backend, strategy: Strategy, num_networks: int, plan: EvalPlan
) -> Any:
    """Compile (variables of k networks, images [b,h,w,c] uint8) -> logits [k,b,l], with b the images of the plan."""
    return _compile_group_logits(_evaluated(recipe), _of_evaluation(backend), strategy, num_networks, plan)


def parts_of(
    images: Shaped[Array | np.ndarray, "n ..."], size: int
) -> Iterator[tuple[Shaped[Array, "{size} ..."], int]]:
    """Cut images into parts of one size on the device, the last filled up with zeros; yield how many each holds."""
    for start in range(0, len(images), size):
        count = min(size, len(images) - start)
        if isinstance(images, Array):
            yield compile_part(images.shape, images.dtype, size)(images, np.int32(start)), count
        else:
            part = np.zeros((size, *images.shape[1:]), images.dtype)
            part[:count] = images[start : start + count]
            yield jnp.asarray(part), count


@functools.lru_cache(maxsize=64)
def compile_part(shape: tuple[int, ...], dtype: Any, size: int) -> Any:
    """Compile (images of this shape, start []) -> size of them from start on, with zeros past the last.

    One program serves every start: sliced eagerly, each part of a test set would be compiled on the clock.
    """

    def part(images: Array, start: Array) -> Array:
        return jnp.take(images, start + jnp.arange(size, dtype=jnp.int32), axis=0, mode="fill", fill_value=0)

    return compile_function(part, jax.ShapeDtypeStruct(shape, dtype), jax.ShapeDtypeStruct((), jnp.int32))


@functools.lru_cache(maxsize=64, typed=True)  # True is 1 to a cache, but no level of test-time augmentation
def _compile_logits(recipe: Recipe, level: int, backend: Backend, plan: EvalPlan) -> Any:
    variables = jax.eval_shape(lambda: init_variables(recipe, backend, make_key(0)))
    size = recipe.inputs.image_size
    images = jax.ShapeDtypeStruct((plan.images, size, size, recipe.inputs.channels), jnp.uint8)
    function = functools.partial(tta_logits_in_passes, recipe, backend, plan=plan, level=level)
    passes = jax.ShapeDtypeStruct((), jnp.int32)
    return compile_function(function, {"frozen": {}} | variables, images, passes, convolution=backend.convolution)


@functools.lru_cache(maxsize=64)
def _compile_group_logits(
    recipe: Recipe, backend: Backend, strategy: Strategy, num_networks: int, plan: EvalPlan
) -> Any:
    def logits(variables: Variables, images: Array) -> Array:
        return tta_logits_in_passes(recipe, backend, variables, images, plan.passes, plan)

    one = {"frozen": {}} | jax.eval_shape(lambda: init_variables(recipe, backend, make_key(0)))
    variables = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((num_networks, *leaf.shape), leaf.dtype), one)
    size = recipe.inputs.image_size
    images = jax.ShapeDtypeStruct((plan.images, size, size, recipe.inputs.channels), jnp.uint8)
    over = over_members(strategy, logits, (True, False))
    return compile_function(over, variables, images, convolution=backend.convolution)


def _of_evaluation(backend: Backend) -> Backend:
    # The backend with what only training depends on as it is in every evaluation.
    return backend._replace(driver="loop", unroll=1)


def _evaluated(recipe: Recipe) -> Recipe:
    # The recipe with everything that an evaluation does not depend on as it is by default.
    default = Recipe(network=recipe.network, evaluation=recipe.evaluation, inputs=recipe.inputs)
    return default.override(precision=recipe.precision)
