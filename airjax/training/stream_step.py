"""One step of networks that learn from a tree of images, as a pure function, and how they start. (§9)"""

import functools
from typing import Any

import jax
from jax import Array
from jaxtyping import Bool, Float, Int, Key

from airjax.augment.batch import Batch
from airjax.augment.transforms import mirror_where, normalize
from airjax.kernels.backend import Backend
from airjax.nn.build import init_variables
from airjax.optim.hyperparameters import Hyperparameters
from airjax.recipes.recipe import Recipe
from airjax.training.compile import compile_lowered, compiled_once
from airjax.training.data_parallel import over_devices
from airjax.training.members import over_members
from airjax.training.run import split_key
from airjax.training.step import StepMetrics, TrainState, init_state, train_step
from airjax.training.stream_data import StreamBatch, shape_of


def stream_step(
    recipe: Recipe, backend: Backend, state: TrainState, batch: StreamBatch, hyper: Hyperparameters
) -> tuple[TrainState, StepMetrics]:
    """Take a step of k networks on one batch, which each sees mirrored in its own way.

    recipe and backend are static; state and hyper have an axis [k] in front, and so have the metrics. The images are
    normalised once. Whatever their size is, the function is the same; a program is compiled for each.
    """

    def one(
        state: TrainState,
        images: Float[Array, "b h w c"],
        labels: Int[Array, " b"],
        mirrors: Bool[Array, " b"],
        hyper: Hyperparameters,
    ) -> tuple[TrainState, StepMetrics]:
        return train_step(recipe, state, Batch(mirror_where(images, mirrors), labels), hyper, backend=backend)

    with jax.named_scope("batch"):
        images = normalize(batch.images, recipe.inputs, backend.precision.compute)
    # Not a loop, which slows a CPU's convolutions down; an accelerator can overlap the networks' kernels.
    by_member = (True, False, False, True, True)
    return over_members("interleaved", one, by_member)(state, images, batch.labels, batch.mirrors.T, hyper)


def start_networks(recipe: Recipe, backend: Backend, keys: Key[Array, " k"], hyper: Hyperparameters) -> TrainState:
    """Return the state of k networks before the first step, from their keys; every array has an axis [k] in front.

    The weights of a key are those that `airjax.training.run.start_run` draws.
    """

    def one(key: Key[Array, ""], hyper: Hyperparameters) -> TrainState:
        init_key, _ = split_key(key)
        return init_state(recipe, backend, init_variables(recipe, backend, init_key), hyper)

    return over_members("interleaved", one, (True, True))(keys, hyper)


def compile_start(recipe: Recipe, backend: Backend, keys: Key[Array, " k"], hyper: Hyperparameters) -> Any:
    """Compile `start_networks` on one device: (keys, hyper) -> state."""
    start = functools.partial(start_networks, recipe.split()[0], backend)
    return compile_lowered(jax.jit(start).lower(keys, hyper), backend.platform, backend.convolution, once=True)


def compile_step(
    recipe: Recipe, backend: Backend, state: TrainState, batch: StreamBatch, hyper: Hyperparameters
) -> Any:
    """Compile `stream_step` for arrays like these and where these are: (state, batch, hyper) -> (state, metrics).

    The state that is handed over is used up. On the backend's mesh the devices have a part of the batch each, and all
    have the state. Nothing is compiled twice in a process.
    """
    leaves, tree = jax.tree.flatten(jax.tree.map(shape_of, (state, batch, hyper)))
    return _compile_step(recipe.split()[0], backend, tuple(leaves), tree)


@compiled_once(maxsize=16)
def _compile_step(recipe: Recipe, backend: Backend, leaves: tuple[Any, ...], tree: Any) -> Any:
    step = over_devices(backend.mesh, functools.partial(stream_step, recipe, backend), (False, True, False))
    lowered = jax.jit(step, donate_argnums=0).lower(*jax.tree.unflatten(tree, leaves))
    return compile_lowered(lowered, backend.platform, backend.convolution)
