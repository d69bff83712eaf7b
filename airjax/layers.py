"""The network's layers as functions of arrays, channels last. (§1)"""

from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array, lax

# native: the backend's convolution. matmul: one matrix product over patches, which vmap over kernels turns into one
# batched product, where a native convolution becomes a grouped one.
Convolution = Literal["native", "matmul"]


def conv(
    x: Array, kernel: Array, padding: tuple[tuple[int, int], tuple[int, int]], convolution: Convolution = "native"
) -> Array:
    """Convolution with stride 1. x [N,H,W,I], kernel [h,w,I,O] (HWIO), padding ((top, bottom), (left, right))."""
    # Accelerators round float32 operands unless told not to; half precision is not affected.
    precision = lax.Precision.HIGHEST if x.dtype in (jnp.float32, jnp.float64) else None
    if convolution == "matmul":
        return jnp.matmul(patches(x, kernel.shape, padding), kernel.reshape(-1, kernel.shape[-1]), precision=precision)
    return lax.conv_general_dilated(
        x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"), precision=precision
    )


def patches(x: Array, shape: tuple[int, ...], padding: tuple[tuple[int, int], tuple[int, int]]) -> Array:
    """The h x w windows [N,H',W',h*w*I] of x [N,H,W,I] after padding, for a kernel of shape (h, w, I, O)."""
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    rows, columns = x.shape[1] - shape[0] + 1, x.shape[2] - shape[1] + 1
    windows = [x[:, r : r + rows, c : c + columns] for r in range(shape[0]) for c in range(shape[1])]
    return jnp.concatenate(windows, axis=-1)


def conv_same(x: Array, kernel: Array, convolution: Convolution = "native") -> Array:
    """3x3 convolution that keeps the image size."""
    return conv(x, kernel, ((1, 1), (1, 1)), convolution)


def conv_pool(x: Array, kernel: Array, convolution: Convolution = "native") -> Array:
    """3x3 convolution, then 2x2 max-pool with stride 2 that drops an odd last row and column.

    The dropped row and column are never computed: without padding after the last one they do not exist.
    """
    height, width = x.shape[1:3]
    return max_pool(conv(x, kernel, ((1, 1 - height % 2), (1, 1 - width % 2)), convolution), 2)


def max_pool(x: Array, size: int) -> Array:
    """Max-pool over disjoint size x size windows; rows and columns that fill no window are dropped.

    Static slices and selects: a tie's gradient goes to the first element, as in torch, and the gradient of XLA's own
    reduce_window (select-and-scatter) is slow everywhere.
    """
    height, width = (x.shape[axis] // size * size for axis in (1, 2))
    pooled = None
    for row in range(size):
        for col in range(size):
            part = x[:, row:height:size, col:width:size]
            pooled = part if pooled is None else lax.select(pooled >= part, pooled, part)
    assert pooled is not None
    return pooled


def gelu(x: Array) -> Array:
    """The exact GELU, x * Phi(x), not its tanh approximation."""
    return jax.nn.gelu(x, approximate=False)


def batch_moments(x: Array) -> tuple[Array, Array]:
    """Mean [C] and biased variance [C] over all but the last axis. Two passes: the fast formula cancels."""
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axes)
    shape = (1,) * len(axes) + (-1,)
    return mean, jnp.square(x - mean.reshape(shape)).mean(axes)


def normalize_channels(x: Array, mean: Array, variance: Array, bias: Array, epsilon: float) -> Array:
    """(x - mean) / sqrt(variance + epsilon) + bias, per channel; all [C] but x."""
    shape = (1,) * (x.ndim - 1) + (-1,)
    scale = lax.rsqrt(variance + epsilon)
    return (x - mean.reshape(shape)) * scale.reshape(shape) + bias.reshape(shape)
