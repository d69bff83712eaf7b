"""Sums over pixels, in the form that is fast on a platform. (docs/performance.md)"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float


def leave_alone(arrays: Any) -> Any:
    """Let the compiler decide what is written to memory, and in which precision; or let one device's sums be all."""
    return arrays


class Reductions(NamedTuple):
    """How a platform adds up the pixels of x [n,h,w,c], and what it has to write to memory."""

    sums: Callable[[Array], Array]  # x -> [c]
    two_sums: Callable[[Array, Array], tuple[Array, Array]]  # x, y -> [c], [c]
    # Any arrays -> the same, written to memory in their own dtype. Otherwise an accelerator's compiler keeps arrays of
    # half precision as float32 between kernels, and computes them again in every kernel that reads them.
    materialize: Callable[[Any], Any]
    over_devices: Callable[[Any], Any] = leave_alone  # sums of this device's pixels -> those of all that have the batch
    devices: int = 1  # that a batch is cut over


def sums_by_products(x: Float[Array, "n h w c"]) -> Float[Array, " c"]:
    """Add up the pixels of each image by a product with ones, and then the images.

    On a CPU XLA's own sum over so many rows takes longer (docs/performance.md, "What was tried"), and is less accurate.
    """
    pixels = x.reshape(x.shape[0], -1, x.shape[-1])
    ones = jnp.ones(pixels.shape[1], x.dtype)
    return jnp.einsum("nsc,s->nc", pixels, ones, precision=lax.Precision.HIGHEST).sum(0)


def two_sums_by_products(
    x: Float[Array, "n h w c"], y: Float[Array, "n h w c"]
) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
    """Apply `sums_by_products` to each."""
    return sums_by_products(x), sums_by_products(y)


def sums_by_reduce(x: Float[Array, "n h w c"]) -> Float[Array, " c"]:
    """Add up the pixels by XLA's own reduction."""
    return x.sum((0, 1, 2))


def two_sums_by_reduce(
    x: Float[Array, "n h w c"], y: Float[Array, "n h w c"]
) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
    """Add up both in one reduction: one kernel instead of two."""
    zero = jnp.zeros((), x.dtype)
    total, other = lax.reduce((x, y), (zero, zero), lambda a, b: (a[0] + b[0], a[1] + b[1]), (0, 1, 2))
    return total, other


CPU = Reductions(sums_by_products, two_sums_by_products, leave_alone)
ACCELERATOR = Reductions(sums_by_reduce, two_sums_by_reduce, lax.optimization_barrier)


@functools.lru_cache(maxsize=64)
def across_devices(reductions: Reductions, axis: str, devices: int) -> Reductions:
    """Return the reductions for a batch that is cut over so many devices, an axis of a mesh; equal ones if repeated."""
    return reductions._replace(over_devices=functools.partial(lax.psum, axis_name=axis), devices=devices)


def at_least_float32(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return x, half precision as float32: compilers round after every operation, torch only at the end."""
    return x.astype(jnp.float32) if x.dtype.itemsize < 4 else x
