"""Max-pool with a gradient of a byte for each window, and the blur that may come before a stride. (§1, Table 3)"""

import functools
import itertools
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
        first = lax.max(first, other)  # NaN where one of them is, so that a training that diverged does not look well
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

    A tie's gradient goes to the first element, as in torch; a NaN is the largest of its windows. A pixel may be the
    largest of several windows: their gradients are summed in float32 at least. XLA's own gradient of reduce_window
    (select-and-scatter) is slow everywhere.
    """
    with jax.named_scope("pool"):
        out: Any = _overlapping(x)
    return out


@jax.custom_vjp
def _overlapping(x: Array) -> Array:
    return _overlapping_choices(x)[0]


def _overlapping_choices(x: Array) -> tuple[Array, Array]:
    # The maxima, and which pixel of its window each is, by rows.
    rows, columns = ((size + 1) // 2 for size in x.shape[1:3])
    padded = jnp.pad(at_least_float32(x), ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    best, *others = (
        padded[:, row : row + 2 * rows - 1 : 2, column : column + 2 * columns - 1 : 2]
        for row, column in itertools.product(range(3), repeat=2)
    )
    taken = jnp.zeros(best.shape, jnp.uint8)
    for number, other in enumerate(others, start=1):
        kept = (best >= other) | jnp.isnan(best)
        best, taken = lax.select(kept, best, other), lax.select(kept, taken, jnp.full_like(taken, number))
    return best.astype(x.dtype), taken


def _overlapping_forward(x: Array) -> tuple[Array, tuple[Array, Array]]:
    out, taken = _overlapping_choices(x)
    return out, (taken, jnp.zeros((0, *x.shape[1:3], 0), x.dtype))


def _overlapping_backward(saved: tuple[Array, Array], cotangent: Array) -> tuple[Array]:
    taken, (_, height, width, _) = saved[0], saved[1].shape
    count, rows, columns, channels = cotangent.shape
    # One window more to the right and below, whose choice is none.
    taken = jnp.pad(taken, ((0, 0), (0, 1), (0, 1), (0, 0)), constant_values=9)
    wide = jnp.pad(at_least_float32(lax.optimization_barrier(cotangent)), ((0, 0), (0, 1), (0, 1), (0, 0)))

    def part(row: int, column: int) -> Array:
        # What the pixels at (row, column) of their windows have of them; 2 is 0 of the next window.
        total = jnp.zeros(cotangent.shape, wide.dtype)
        for below, right in itertools.product(range(1 if row == 1 else 2), range(1 if column == 1 else 2)):
            place = 3 * (row - 2 * below) + column - 2 * right
            here = (slice(None), slice(below, below + rows), slice(right, right + columns))
            total = total + jnp.where(taken[here] == place, wide[here], 0)
        return total

    # Pixels by fours: the one in the middle of a window, and those right of it, below it, and below and right.
    fours = jnp.stack([jnp.stack([part(row, 1), part(row, 2)], axis=3) for row in (1, 2)], axis=2)
    whole = fours.reshape(count, 2 * rows, 2 * columns, channels)
    return (whole[:, :height, :width].astype(cotangent.dtype),)


_overlapping.defvjp(_overlapping_forward, _overlapping_backward)


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
