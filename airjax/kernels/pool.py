"""Max-pool with a gradient of a byte for each window, and the blur that may come before a stride. (§1, Table 3)"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float, UInt

from airjax.kernels.reductions import Reductions, at_least_float32

# Side of the largest windows whose pixels are compared one after another. Larger ones, the last pool's of large images,
# would be a program of thousands of operations.
ONE_BY_ONE = 8


def max_pool(x: Float[Array, "n h w c"], size: int, reductions: Reductions) -> Float[Array, "n h//{size} w//{size} c"]:
    """Take the maximum of disjoint size x size windows; rows and columns that fill no window are dropped.

    A tie's gradient goes to the first element, as in torch. The gradient needs one byte for each window, or two of more
    than 16 x 16 pixels; that of XLA's own reduce_window (select-and-scatter) is slow everywhere.
    """
    with jax.named_scope("pool"):
        out: Any = _max_pool(x, size, reductions)
    return out


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _max_pool(x: Array, size: int, reductions: Reductions) -> Array:
    if size > ONE_BY_ONE:
        return _windows(x, size).max(3)
    first, *others = _pixels(at_least_float32(x), size)
    for other in others:
        first = lax.select(first >= other, first, other)
    return first.astype(x.dtype)


def max_pool_choices(
    x: Float[Array, "n h w c"], size: int, reductions: Reductions
) -> tuple[Float[Array, "n h//{size} w//{size} c"], UInt[Array, "n h//{size} w//{size} c"]]:
    """Return `max_pool` of x, and which pixel of its window each result is: numbered by rows, the first of equals."""
    if size > ONE_BY_ONE:
        taken = _windows(x, size).argmax(3).astype(_number_type(size))
        return reductions.materialize((_max_pool(x, size, reductions), taken))
    best, *others = _pixels(at_least_float32(x), size)
    taken = jnp.zeros(best.shape, _number_type(size))
    for number, other in enumerate(others, start=1):
        kept = best >= other
        best, taken = lax.select(kept, best, other), lax.select(kept, taken, jnp.full_like(taken, number))
    return reductions.materialize((_max_pool(x, size, reductions), taken))


def _max_pool_forward(x: Array, size: int, reductions: Reductions) -> tuple[Any, Any]:
    out, taken = max_pool_choices(x, size, reductions)
    return out, (taken, jnp.zeros((0, *x.shape[1:3], 0), x.dtype))


def _max_pool_backward(size: int, reductions: Reductions, saved: tuple[Array, Array], cotangent: Array) -> tuple[Array]:
    del reductions
    taken, (_, height, width, _) = saved[0], saved[1].shape
    count, rows, columns, channels = cotangent.shape
    # The gradient is computed once, not for every pixel of its window, and moved as bits: a CPU has no fast select in
    # half precision.
    cotangent = lax.optimization_barrier(cotangent)
    bits = lax.bitcast_convert_type(cotangent, f"uint{8 * cotangent.dtype.itemsize}")
    index = jnp.arange(size**2, dtype=_number_type(size)).reshape(1, 1, size, 1, size, 1)
    windows = (count, rows, 1, columns, 1, channels)
    spread = jnp.where(taken.reshape(windows) == index, bits.reshape(windows), jnp.zeros((), bits.dtype))
    spread = spread.reshape(count, rows * size, columns * size, channels)
    dropped = ((0, 0), (0, height - rows * size), (0, width - columns * size), (0, 0))
    return (lax.bitcast_convert_type(jnp.pad(spread, dropped), cotangent.dtype),)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def _number_type(size: int) -> Any:
    # That holds the number of any pixel of a window.
    return jnp.uint8 if size**2 <= 256 else jnp.uint16


def _windows(x: Array, size: int) -> Array:
    # [n, rows, columns, pixels of a window by rows, c]
    count, height, width, channels = x.shape
    rows, columns = height // size, width // size
    parts = x[:, : rows * size, : columns * size].reshape(count, rows, size, columns, size, channels)
    return parts.swapaxes(2, 3).reshape(count, rows, columns, size**2, channels)


def _pixels(x: Array, size: int) -> list[Array]:
    # The first pixel of every window, the second of every window, and so on, by rows.
    height, width = (x.shape[axis] // size * size for axis in (1, 2))
    return [x[:, row:height:size, column:width:size] for row in range(size) for column in range(size)]


def overlapping_max_pool(x: Float[Array, "n h w c"]) -> Float[Array, "n (h+1)//2 (w+1)//2 c"]:
    """Take the maximum of 3x3 windows that begin at every second pixel, one before the first. (Table 3)

    A tie's gradient goes to the first element, as in torch: it is XLA's own, for pixels may be the largest of several
    windows.
    """
    lowest = np.array(-np.inf, x.dtype)
    with jax.named_scope("pool"):
        return lax.reduce_window(x, lowest, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (1, 1), (0, 0)))


def blur(x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """Filter rows and columns with [1 2 1] / 4; outside of the image is 0. (Table 3)

    Half precision is summed in float32 and rounded once.
    """
    wide = at_least_float32(x)
    for axis in (1, 2):
        padded = jnp.pad(wide, [(1, 1) if axis == one else (0, 0) for one in range(4)])
        before, here, after = (
            lax.slice_in_dim(padded, start, start + wide.shape[axis], axis=axis) for start in range(3)
        )
        wide = (before + here + here + after) / 4
    return wide.astype(x.dtype)


def mean_pool(x: Float[Array, "n h w c"]) -> Float[Array, "n c"]:
    """Return the mean of each channel over all pixels, summed in float32 at least."""
    return at_least_float32(x).mean((1, 2)).astype(x.dtype)
