"""The gradient of pool, BatchNorm and GELU in two kernels, written in Pallas for Triton. (docs/performance.md)

XLA's own take four passes over the activations: GELU's gradient is written, read for BatchNorm's sums, read again for
its result, and the pool spreads what was written then. Here GELU's gradient is computed twice and never written, and
the second kernel writes where the pool took its pixels from. It is off by default: an H200 gains next to nothing by it
(docs/performance.md). Both kernels see activations as rows of pixels [p,c].
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import Float, UInt8

TILE = 4096  # elements that a program holds at a time: 32 for each of its threads
CHANNELS = 64  # of a tile, at most
PROGRAMS = 264  # that add up the pixels of some channels: two for each multiprocessor of a large GPU
WARPS = 4


Shape = tuple[int, ...]  # of two


class Tiles(NamedTuple):
    """How an array [p,c] is cut for the programs of a kernel. Triton's sizes are powers of two; the rest is masked."""

    pixels: int  # of a tile
    channels: int  # of a tile
    down: int  # tiles over all pixels
    across: int  # tiles over all channels


def tiles_of(shape: Shape) -> Tiles:
    """Return the tiles of an array [p,c]."""
    pixels, channels = shape
    width = min(CHANNELS, pl.next_power_of_2(channels))
    height = min(TILE // width, pl.next_power_of_2(pixels))
    return Tiles(height, width, pl.cdiv(pixels, height), pl.cdiv(channels, width))


def gradient_sums(
    x: Float[Array, "p c"], cotangent: Float[Array, "p c"], normal: Float[Array, "3 c"], *, interpret: bool = False
) -> Float[Array, "2 c"]:
    """Add up BatchNorm's cotangent d over all pixels, and d times the normalised x.

    Args:
        x: what BatchNorm was given.
        cotangent: that of GELU's result, in x's dtype.
        normal: BatchNorm's mean, 1 / sqrt(variance + epsilon), and bias, in float32.
        interpret: compute by XLA's own operations, for tests on a CPU.
    """
    tiles = tiles_of(x.shape)
    programs = min(PROGRAMS, tiles.down)
    out = jax.ShapeDtypeStruct((2, programs, x.shape[1]), jnp.float32)
    kernel = functools.partial(_sums_kernel, shape=x.shape, tiles=tiles, programs=programs)
    return _call(kernel, out, (programs, tiles.across), interpret)(x, cotangent, normal).sum(1)


def apply_gradient(
    x: Float[Array, "p c"],
    cotangent: Float[Array, "p c"],
    normal: Float[Array, "3 c"],
    sums: Float[Array, "2 c"],
    taken: UInt8[Array, "p c"] | None = None,
    width: int = 1,
    *,
    interpret: bool = False,
) -> Float[Array, "q c"]:
    """Compute the gradient by x, or by what a 2x2 pool made x of: then there are q = 4 p rows, else q = p.

    Args:
        x, cotangent, normal, interpret: as for `gradient_sums`.
        sums: its results.
        taken: which pixel of its window the pool took, by rows; None: there is no pool.
        width: pixels of x in a row of an image, for the pool.
    """
    tiles, (pixels, channels) = tiles_of(x.shape), x.shape
    out = jax.ShapeDtypeStruct((pixels * (1 if taken is None else 4), channels), x.dtype)
    kernel = functools.partial(_apply_kernel, shape=x.shape, tiles=tiles, width=None if taken is None else width)
    arguments = (x, cotangent, normal, sums, *(() if taken is None else (taken,)))
    return _call(kernel, out, (tiles.down, tiles.across), interpret)(*arguments)


def _call(kernel: Any, out: Any, grid: tuple[int, int], interpret: bool) -> Any:
    parameters = plgpu.CompilerParams(num_warps=WARPS)
    return pl.pallas_call(kernel, out_shape=out, grid=grid, compiler_params=parameters, interpret=interpret)


def _sums_kernel(x: Any, cotangent: Any, normal: Any, sums: Any, *, shape: Shape, tiles: Tiles, programs: int) -> None:
    number = pl.program_id(0)
    channels, inside = _channels(tiles, shape)
    rows_of_normal = _rows_of(normal, 3, channels, inside)

    def add(turn: Array, found: tuple[Array, Array]) -> tuple[Array, Array]:
        _, at, mask = _pixels(turn * programs + number, channels, inside, tiles, shape)
        gradient, centred = _through_gelu(x, cotangent, rows_of_normal, at, mask)
        return found[0] + gradient.sum(0), found[1] + (gradient * centred).sum(0)

    zero = jnp.zeros(tiles.channels, jnp.float32)
    found = lax.fori_loop(0, pl.cdiv(tiles.down, programs), add, (zero, zero))
    for place, value in enumerate(found):
        plgpu.store(sums.at[place, number, channels], value, mask=inside)


def _apply_kernel(
    x: Any, cotangent: Any, normal: Any, sums: Any, *rest: Any, shape: Shape, tiles: Tiles, width: int | None
) -> None:
    *taken, out = rest
    channels, inside = _channels(tiles, shape)
    rows_of_normal = _rows_of(normal, 3, channels, inside)
    total, along = (row / shape[0] for row in _rows_of(sums, 2, channels, inside))
    rows, at, mask = _pixels(pl.program_id(0), channels, inside, tiles, shape)
    gradient, centred = _through_gelu(x, cotangent, rows_of_normal, at, mask)
    value = ((gradient - total - centred * along) * rows_of_normal[1]).astype(out.dtype)
    if width is None:
        plgpu.store(out.at[at], value, mask=mask)
        return
    choice = plgpu.load(taken[0].at[at], mask=mask, other=0).astype(jnp.int32)
    for pixel in range(4):
        down, right = divmod(pixel, 2)
        # A pixel of x is twice as far down, and twice as far right, in an image of twice the width.
        target = (2 * (rows // width) + down) * (2 * width) + 2 * (rows % width) + right
        chosen = jnp.where(choice == pixel, value, jnp.zeros_like(value))
        plgpu.store(out.at[target[:, None], channels[None, :]], chosen, mask=mask)


def _channels(tiles: Tiles, shape: Shape) -> tuple[Array, Array]:
    channels = pl.program_id(1) * tiles.channels + jnp.arange(tiles.channels, dtype=jnp.int32)
    return channels, channels < shape[1]


def _pixels(
    tile: Any, channels: Array, inside: Array, tiles: Tiles, shape: Shape
) -> tuple[Array, tuple[Array, Array], Array]:
    # The rows of a tile, where its elements are, and which of these there are.
    rows = tile * tiles.pixels + jnp.arange(tiles.pixels, dtype=jnp.int32)
    mask = (rows < shape[0])[:, None] & inside[None, :]
    return rows, (rows[:, None], channels[None, :]), mask


def _rows_of(ref: Any, count: int, channels: Array, inside: Array) -> list[Array]:
    # The rows of a small array, each [1,c].
    return [plgpu.load(ref.at[row, channels], mask=inside, other=0.0)[None, :] for row in range(count)]


def _through_gelu(x: Any, cotangent: Any, normal: list[Array], at: Any, mask: Array) -> tuple[Array, Array]:
    # The gradient by BatchNorm's result, and what it normalised before it added the bias, both in float32.
    mean, scale, bias = normal
    centred = (plgpu.load(x.at[at], mask=mask, other=0.0).astype(jnp.float32) - mean) * scale
    gradient = plgpu.load(cotangent.at[at], mask=mask, other=0.0).astype(jnp.float32)
    return gradient * gelu_slope(centred + bias), centred


def gelu_slope(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Compute the derivative of the exact GELU in float32, Phi(x) + x phi(x), from one exponential.

    Pallas has no error function for Triton. This is formula 7.1.26 of Abramowitz and Stegun, whose error is below
    1.5e-7, and whose exponential is the density's.
    """
    bell = jnp.exp(-0.5 * x * x)
    k = 1 / (1 + 0.3275911 * math.sqrt(0.5) * jnp.abs(x))
    series = 1.061405429
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = series * k + coefficient
    tail = 0.5 * series * k * bell  # Phi(-|x|)
    return jnp.where(x < 0, tail, 1 - tail) + x * bell * (2 * math.pi) ** -0.5
