"""Derandomised sequences over the epochs, as functions of what is drawn: none twice, evenly spread, in pairs. (§3)"""

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Int

_TAKEN = np.iinfo(np.int64).max // 2  # more than any penalty


def without_replacement(digits: Int[Array, "e m"]) -> Int[Array, "e m"]:
    """Turn columns of digits, the i-th of which is in [0, p - i), into columns of different numbers in [0, p).

    Digit i says which of the numbers that are left, in ascending order, comes next: the Lehmer code. Every sequence of
    e different numbers has exactly one, so that uniform digits give uniform sequences. e is p at most.
    """
    epochs = len(digits)
    rows = jnp.arange(epochs, dtype=jnp.int32)[:, None]

    def insert(done: Array, numbers: Array) -> Array:
        # From the last to the first: what comes later makes room for the number at this place.
        place = jnp.int32(epochs - 1) - done.astype(jnp.int32)  # with 64-bit types it counts in those
        above = (rows > place) & (numbers >= lax.dynamic_slice_in_dim(numbers, place, 1))
        return numbers + above.astype(numbers.dtype)

    return lax.fori_loop(0, epochs, insert, digits)


def low_discrepancy(side: int, count: int) -> Int[np.ndarray, "{count} 2"]:
    """List different cells of a square of side x side cells, any first few of which cover it evenly.

    Each is the one that leaves the smallest wrap-around discrepancy (Hickernell 1998) of the cells so far, the first of
    equal ones in reading order. Moved over the borders all together they are as even. count is side x side at most.
    """
    distance = np.arange(side, dtype=np.int64)
    # 2 side^2 times the discrepancy's 3/2 - d (1 - d), whose products it sums over pairs of cells: whole numbers.
    kernel = 3 * side**2 - 2 * distance * (side - distance)
    penalty = np.zeros((side, side), np.int64)
    cells = np.zeros((count, 2), np.int32)
    for number in range(count):
        row, column = cells[number] = np.unravel_index(np.argmin(penalty), penalty.shape)
        penalty += np.outer(np.roll(kernel, row), np.roll(kernel, column))
        penalty[row, column] = _TAKEN
    return cells


def antithetic(positions: Int[Array, "e n 2"], largest: int) -> Int[Array, "2*e n 2"]:
    """Follow the positions in [0, largest] of every epoch by those on the opposite side of the middle."""
    return _alternate(positions, largest - positions)


def flip_flop(orders: Int[Array, "e n"]) -> Int[Array, "2*e n"]:
    """Follow the order of every epoch by the same one backwards (Rajput, Lee and Papailiopoulos 2022)."""
    return _alternate(orders, orders[:, ::-1])


def _alternate(even: Array, odd: Array) -> Array:
    return jnp.stack([even, odd], axis=1).reshape(2 * len(even), *even.shape[1:])
