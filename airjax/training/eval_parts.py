"""Images of an evaluation in parts of one size, on the device."""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh
from jaxtyping import Int, Shaped

from airjax.training.compile import compile_function
from airjax.training.data_parallel import mesh_of


def parts_of(
    images: Shaped[Array | np.ndarray, "n ..."], size: int, chosen: Int[np.ndarray, " m"] | None = None
) -> Iterator[tuple[Shaped[Array, "{size} ..."], int]]:
    """Cut images into parts of one size on the device, the last filled up with zeros; yield how many each holds.

    With chosen, only of the images with these indices, in their order.
    """
    if chosen is not None and isinstance(images, Array):
        yield from chosen_parts(images, chosen, size)
        return
    images, mesh = images if chosen is None else images[chosen], mesh_of(images)
    for start in range(0, len(images), size):
        count = min(size, len(images) - start)
        if isinstance(images, Array):
            yield compile_part(images.shape, images.dtype, size, mesh)(images, np.int32(start)), count
        else:
            part = np.zeros((size, *images.shape[1:]), images.dtype)
            part[:count] = images[start : start + count]
            yield jnp.asarray(part), count


def chosen_parts(
    images: Shaped[Array, "n ..."], chosen: Int[np.ndarray, "*k m"], size: int
) -> Iterator[tuple[Array, int]]:
    """Yield images of these indices, in parts [*k,size,...] as `parts_of`; k rows are those of k networks."""
    take = compile_choice(images.shape, images.dtype, (*chosen.shape[:-1], size), mesh_of(images))
    for start in range(0, chosen.shape[-1], size):
        part = np.full((*chosen.shape[:-1], size), len(images), np.int32)  # past the last image: zeros
        count = min(size, chosen.shape[-1] - start)
        part[..., :count] = chosen[..., start : start + count]
        yield take(images, part), count


@functools.lru_cache(maxsize=64)
def compile_part(shape: tuple[int, ...], dtype: Any, size: int, mesh: Mesh | None = None) -> Any:
    """Compile (images of this shape, start []) -> size of them from start on, with zeros past the last.

    One program serves every start: sliced eagerly, each part of a test set would be compiled on the clock.
    """

    def part(images: Array, start: Array) -> Array:
        return jnp.take(images, start + jnp.arange(size, dtype=jnp.int32), axis=0, mode="fill", fill_value=0)

    return compile_function(part, jax.ShapeDtypeStruct(shape, dtype), jax.ShapeDtypeStruct((), jnp.int32), mesh=mesh)


@functools.lru_cache(maxsize=64)
def compile_choice(shape: tuple[int, ...], dtype: Any, indices: tuple[int, ...], mesh: Mesh | None = None) -> Any:
    """Compile (images of this shape, whole numbers of the shape indices) -> their images, with zeros past the last."""

    def choice(images: Array, indices: Array) -> Array:
        return jnp.take(images, indices, axis=0, mode="fill", fill_value=0)

    arguments = jax.ShapeDtypeStruct(shape, dtype), jax.ShapeDtypeStruct(indices, jnp.int32)
    return compile_function(choice, *arguments, mesh=mesh)
