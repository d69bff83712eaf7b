"""The network's layers as functions of arrays, channels last. (§1)"""

import functools
import math
import os
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike

from airjax.kernels.onednn import onednn_available, onednn_conv
from airjax.utils.platform import default_platform

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
    if wanted == "native" or default_platform() != "cpu":
        return "native"
    if wanted == "onednn" and not onednn_available():
        raise ValueError("AIRJAX_CONVOLUTION is onednn, but that does not load; pip install 'airjax[cpu]'")
    return "onednn" if onednn_available(dtype) else "native"


def conv(
    x: Array, kernel: Array, padding: tuple[tuple[int, int], tuple[int, int]], convolution: Convolution = "native"
) -> Array:
    """Convolution with stride 1. x [N,H,W,I], kernel [h,w,I,O] (HWIO), padding ((top, bottom), (left, right))."""
    # Accelerators round float32 operands unless told not to; half precision is not affected.
    precision = lax.Precision.HIGHEST if x.dtype in (jnp.float32, jnp.float64) else None
    with jax.named_scope("conv"):
        if convolution == "onednn":
            return onednn_conv(x, kernel, padding)
        if convolution == "matmul":
            columns = kernel.reshape(-1, kernel.shape[-1])
            return jnp.matmul(patches(x, kernel.shape, padding), columns, precision=precision)
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


def max_pool(x: Array, size: int) -> Array:
    """Max-pool over disjoint size x size windows; rows and columns that fill no window are dropped.

    A tie's gradient goes to the first element, as in torch. What the gradient needs is a byte for each window; the
    gradient of XLA's own reduce_window (select-and-scatter) is slow everywhere.
    """
    with jax.named_scope("pool"):
        out: Any = _max_pool(x, size)
    return out


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _max_pool(x: Array, size: int) -> Array:
    first, *others = _pixels(at_least_float32(x), size)
    for other in others:
        first = lax.select(first >= other, first, other)
    return first.astype(x.dtype)


def _max_pool_forward(x: Array, size: int) -> tuple[Any, Any]:
    best, *others = _pixels(at_least_float32(x), size)
    taken = jnp.zeros(best.shape, jnp.uint8)
    for number, other in enumerate(others, start=1):
        kept = best >= other
        best, taken = lax.select(kept, best, other), lax.select(kept, taken, jnp.full_like(taken, number))
    out, taken = materialize((_max_pool(x, size), taken))
    return out, (taken, jnp.zeros((0, *x.shape[1:3], 0), x.dtype))


def _max_pool_backward(size: int, saved: tuple[Array, Array], outer: Array) -> tuple[Array]:
    taken, (_, height, width, _) = saved[0], saved[1].shape
    count, rows, columns, channels = outer.shape
    # The gradient is computed once, not for every pixel of its window, and moved as bits: a CPU selects no halves.
    outer = lax.optimization_barrier(outer)
    bits = lax.bitcast_convert_type(outer, f"uint{8 * outer.dtype.itemsize}")
    place = jnp.arange(size**2, dtype=jnp.uint8).reshape(1, 1, size, 1, size, 1)
    windows = (count, rows, 1, columns, 1, channels)
    spread = jnp.where(taken.reshape(windows) == place, bits.reshape(windows), jnp.zeros((), bits.dtype))
    spread = spread.reshape(count, rows * size, columns * size, channels)
    dropped = ((0, 0), (0, height - rows * size), (0, width - columns * size), (0, 0))
    return (lax.bitcast_convert_type(jnp.pad(spread, dropped), outer.dtype),)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def _pixels(x: Array, size: int) -> list[Array]:
    # The pixels of all windows: of each the first, of each the second, and so on, by rows.
    height, width = (x.shape[axis] // size * size for axis in (1, 2))
    return [x[:, row:height:size, column:width:size] for row in range(size) for column in range(size)]


def materialize(arrays: Any) -> Any:
    """The same arrays, which an accelerator has to write to memory in their own dtype.

    Left to itself its compiler keeps halves as float32 where they are only moved from one kernel to the next, and
    computes them again in every kernel that reads them (docs/performance.md).
    """
    return arrays if default_platform() == "cpu" else lax.optimization_barrier(arrays)


def at_least_float32(x: Array) -> Array:
    """x, half precision as float32: compilers round after every operation on halves, and torch only at the end."""
    return x.astype(jnp.float32) if x.dtype.itemsize < 4 else x


def gelu(x: Array) -> Array:
    """The exact GELU, x * Phi(x), not its tanh approximation; Phi from erf, as in torch.

    jax.nn.gelu takes erfc, which stays accurate at large negative x and costs almost three times as much.
    """
    with jax.named_scope("gelu"):
        out: Any = _gelu(x)
    return out


@jax.custom_vjp
def _gelu(x: Array) -> Array:
    wide = at_least_float32(x)
    return (wide * _normal_cdf(wide)).astype(x.dtype)


def _gelu_forward(x: Array) -> tuple[Any, Any]:
    return _gelu(x), x


def _gelu_backward(x: Array, outer: Array) -> tuple[Array]:
    wide = at_least_float32(x)
    density = jnp.exp(-0.5 * wide * wide) * (2 * math.pi) ** -0.5
    return ((at_least_float32(outer) * (_normal_cdf(wide) + wide * density)).astype(x.dtype),)


_gelu.defvjp(_gelu_forward, _gelu_backward)


def _normal_cdf(x: Array) -> Array:
    return 0.5 + 0.5 * lax.erf(x * 0.5**0.5)


def channel_sums(x: Array) -> Array:
    """Sums [C] over all but the last axis of x [N,H,W,C].

    On a CPU the pixels of each image are added by a product with ones, and then the images: XLA's own sum over so many
    rows takes three times as long, and is less accurate (docs/performance.md).
    """
    if default_platform() != "cpu":
        return x.sum((0, 1, 2))
    pixels = x.reshape(x.shape[0], -1, x.shape[-1])
    ones = jnp.ones(pixels.shape[1], x.dtype)
    return jnp.einsum("nsc,s->nc", pixels, ones, precision=lax.Precision.HIGHEST).sum(0)


def two_channel_sums(x: Array, y: Array) -> tuple[Array, Array]:
    """`channel_sums` of x and y [N,H,W,C], in one reduction on an accelerator: one kernel instead of two."""
    if default_platform() == "cpu":
        return channel_sums(x), channel_sums(y)
    zero = jnp.zeros((), x.dtype)
    total, other = lax.reduce((x, y), (zero, zero), lambda a, b: (a[0] + b[0], a[1] + b[1]), (0, 1, 2))
    return total, other


def add_bias(x: Array, bias: Array) -> Array:
    """x [N,H,W,C] plus bias [C], in x's dtype. The bias' gradient adds up in float32 at least, as in torch."""
    out: Any = _add_bias(x, bias)
    return out


@jax.custom_vjp
def _add_bias(x: Array, bias: Array) -> Array:
    return x + bias.astype(x.dtype).reshape(1, 1, 1, -1)


def _add_bias_forward(x: Array, bias: Array) -> tuple[Any, Any]:
    return _add_bias(x, bias), bias


def _add_bias_backward(bias: Array, outer: Array) -> tuple[Array, Array]:
    return outer, channel_sums(at_least_float32(outer)).astype(bias.dtype)


_add_bias.defvjp(_add_bias_forward, _add_bias_backward)


def batch_moments(x: Array) -> tuple[Array, Array]:
    """Mean [C] and biased variance [C] of x [N,H,W,C], in float32 at least.

    Two passes: the fast formula cancels. Halves take one: their own rounding hides what cancels in float32.
    """
    count, wide = x.size // x.shape[-1], at_least_float32(x)
    if x.dtype.itemsize < 4:
        mean, square = (part / count for part in two_channel_sums(wide, jnp.square(wide)))
        return mean, jnp.maximum(square - jnp.square(mean), 0)
    mean = channel_sums(wide) / count
    return mean, channel_sums(jnp.square(wide - mean.reshape(1, 1, 1, -1))) / count


def batch_norm(x: Array, bias: Array, epsilon: float) -> tuple[Array, Array, Array]:
    """x [N,H,W,C] with channels of mean 0 and variance 1, plus bias [C]; and the moments [C] that they had.

    The result has x's dtype, the arithmetic bias'. The moments are for running statistics: no gradient flows through
    them.
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
    # Written once, and not computed anew for the sums and for what comes of them.
    gradient = materialize(outer[0]).astype(mean.dtype)
    centred = (x.astype(mean.dtype) - mean.reshape(1, 1, 1, -1)) * scale.reshape(1, 1, 1, -1)
    total, along = two_channel_sums(gradient, gradient * centred)
    rest = gradient - (total / count).reshape(1, 1, 1, -1) - centred * (along / count).reshape(1, 1, 1, -1)
    return (rest * scale.reshape(1, 1, 1, -1)).astype(x.dtype), total


_batch_norm.defvjp(_batch_norm_forward, _batch_norm_backward)


def normalize_channels(x: Array, mean: Array, variance: Array, bias: Array, epsilon: float) -> Array:
    """(x - mean) / sqrt(variance + epsilon) + bias, per channel, in mean's dtype and returned in x's; all [C] but x."""
    shape = (1,) * (x.ndim - 1) + (-1,)
    scale = lax.rsqrt(variance + epsilon)
    wide = (x.astype(mean.dtype) - mean.reshape(shape)) * scale.reshape(shape) + bias.reshape(shape)
    return wide.astype(x.dtype)
