"""The network's layers as functions of arrays, channels last. (§1)"""

import functools
import os
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike

from airjax.onednn import onednn_available, onednn_conv

# native: the backend's convolution. onednn: another library's, on a CPU in float32. matmul: one matrix product over
# patches, which vmap over kernels turns into one batched product, where a native convolution becomes a grouped one.
Convolution = Literal["native", "onednn", "matmul"]


def default_convolution(dtype: DTypeLike) -> Convolution:
    """The fastest form for one network that computes in dtype on this backend, as measured (docs/performance.md).

    The variable AIRJAX_CONVOLUTION, native or onednn, decides instead where it is set. Raises ValueError for another
    value, and for onednn where that is not to be had.
    """
    wanted = os.environ.get("AIRJAX_CONVOLUTION") or None
    if wanted not in (None, "native", "onednn"):
        raise ValueError(f"AIRJAX_CONVOLUTION is {wanted!r}, but it must be native or onednn")
    if wanted == "native" or jax.default_backend() != "cpu":
        return "native"
    if wanted == "onednn" and not onednn_available():
        raise ValueError("AIRJAX_CONVOLUTION is onednn, but that does not load; pip install 'airjax[cpu]'")
    return "onednn" if onednn_available(dtype) else "native"


@jax.named_scope("conv")
def conv(
    x: Array, kernel: Array, padding: tuple[tuple[int, int], tuple[int, int]], convolution: Convolution = "native"
) -> Array:
    """Convolution with stride 1. x [N,H,W,I], kernel [h,w,I,O] (HWIO), padding ((top, bottom), (left, right))."""
    # Accelerators round float32 operands unless told not to; half precision is not affected.
    precision = lax.Precision.HIGHEST if x.dtype in (jnp.float32, jnp.float64) else None
    if convolution == "onednn":
        return onednn_conv(x, kernel, padding)
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


def conv_to_pool(x: Array, kernel: Array, convolution: Convolution = "native") -> Array:
    """3x3 convolution that keeps an even image size, and makes an odd one even: what a 2x2 max-pool makes use of.

    An odd last row and column, which the pool would drop, are never computed: without padding after them they do not
    exist.
    """
    height, width = x.shape[1:3]
    return conv(x, kernel, ((1, 1 - height % 2), (1, 1 - width % 2)), convolution)


@jax.named_scope("pool")
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


@jax.named_scope("gelu")
def gelu(x: Array) -> Array:
    """The exact GELU, x * Phi(x), not its tanh approximation; Phi from erf, as in torch.

    jax.nn.gelu takes erfc, which stays accurate at large negative x and costs almost three times as much.
    """
    return x * (0.5 + 0.5 * lax.erf(x * 0.5**0.5))


def channel_sums(x: Array) -> Array:
    """Sums [C] over all but the last axis of x [N,H,W,C].

    On a CPU the pixels of each image are added by a product with ones, and then the images: XLA's own sum over so many
    rows takes three times as long, and is less accurate (docs/performance.md).
    """
    if jax.default_backend() != "cpu":
        return x.sum((0, 1, 2))
    pixels = x.reshape(x.shape[0], -1, x.shape[-1])
    ones = jnp.ones(pixels.shape[1], x.dtype)
    return jnp.einsum("nsc,s->nc", pixels, ones, precision=lax.Precision.HIGHEST).sum(0)


def batch_moments(x: Array) -> tuple[Array, Array]:
    """Mean [C] and biased variance [C] of x [N,H,W,C]. Two passes: the fast formula cancels."""
    count = x.size // x.shape[-1]
    mean = channel_sums(x) / count
    return mean, channel_sums(jnp.square(x - mean.reshape(1, 1, 1, -1))) / count


def batch_norm(x: Array, bias: Array, epsilon: float) -> tuple[Array, Array, Array]:
    """x [N,H,W,C] with channels of mean 0 and variance 1, plus bias [C]; and the moments [C] that they had.

    The moments are for running statistics: no gradient flows back through them.
    """
    out: Any = _batch_norm(x, bias, epsilon)
    return out


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _batch_norm(x: Array, bias: Array, epsilon: float) -> tuple[Array, Array, Array]:
    mean, variance = batch_moments(x)
    return normalize_channels(x, mean, variance, bias, epsilon), mean, variance


def _batch_norm_forward(x: Array, bias: Array, epsilon: float) -> tuple[Any, Any]:
    out = batch_norm(x, bias, epsilon)
    return out, (x, *out[1:])


def _batch_norm_backward(epsilon: float, saved: tuple[Array, Array, Array], outer: Any) -> tuple[Array, Array]:
    # What autodiff finds, with its sums in the form that is fast here.
    x, mean, variance = saved
    count, scale = x.size // x.shape[-1], lax.rsqrt(variance + epsilon)
    centred, gradient = (x - mean.reshape(1, 1, 1, -1)) * scale.reshape(1, 1, 1, -1), outer[0]
    total, along = channel_sums(gradient), channel_sums(gradient * centred)
    rest = gradient - (total / count).reshape(1, 1, 1, -1) - centred * (along / count).reshape(1, 1, 1, -1)
    return rest * scale.reshape(1, 1, 1, -1), total


_batch_norm.defvjp(_batch_norm_forward, _batch_norm_backward)


def normalize_channels(x: Array, mean: Array, variance: Array, bias: Array, epsilon: float) -> Array:
    """(x - mean) / sqrt(variance + epsilon) + bias, per channel; all [C] but x."""
    shape = (1,) * (x.ndim - 1) + (-1,)
    scale = lax.rsqrt(variance + epsilon)
    return (x - mean.reshape(shape)) * scale.reshape(shape) + bias.reshape(shape)
