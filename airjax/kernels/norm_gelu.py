"""A pool, BatchNorm and GELU with one gradient, in the two kernels of `airjax.kernels.triton`. (§1)"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from airjax.kernels import triton
from airjax.kernels.gelu import gelu
from airjax.kernels.normalization import Moments, normalize_channels
from airjax.kernels.pool import max_pool_choices
from airjax.kernels.reductions import Reductions


def norm_gelu(
    x: Float[Array, "n h w c"],
    bias: Float[Array, " c"],
    epsilon: float,
    pooled: bool,
    reductions: Reductions,
    moments: Moments,
    interpret: bool = False,
) -> tuple[Float[Array, "n _ _ c"], Float[Array, " c"], Float[Array, " c"]]:
    """Compute the GELU of `airjax.kernels.normalization.batch_norm` of x, or of x after a 2x2 max-pool if pooled.

    Also return the moments, through which no gradient flows. The gradient is computed in float32 and rounded to x's
    dtype once, at its end. interpret is for tests on a CPU. Raises ValueError for float64.
    """
    if x.dtype == jnp.float64:
        raise ValueError("fused gradients compute in float32: make_ops(..., fuse_gradients=False) serves float64")
    out: Any = _norm_gelu(x, bias, epsilon, pooled, reductions, moments, interpret)
    return out


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5, 6))
def _norm_gelu(
    x: Array, bias: Array, epsilon: float, pooled: bool, reductions: Reductions, moments: Moments, interpret: bool
) -> tuple[Array, Array, Array]:
    return _norm_gelu_forward(x, bias, epsilon, pooled, reductions, moments, interpret)[0]


def _norm_gelu_forward(
    x: Array, bias: Array, epsilon: float, pooled: bool, reductions: Reductions, moments: Moments, interpret: bool
) -> tuple[Any, Any]:
    del interpret
    like, taken = jnp.zeros((0, *x.shape[1:3], 0), x.dtype), None
    if pooled:
        with jax.named_scope("pool"):
            x, taken = max_pool_choices(x, 2, reductions)
    mean, variance = moments(x, reductions)
    out = gelu(normalize_channels(x, mean, variance, bias, epsilon))
    return (out, mean, variance), (x, taken, mean, variance, bias, like)


def _norm_gelu_backward(
    epsilon: float, pooled: bool, reductions: Reductions, _: Moments, interpret: bool, saved: Any, cotangents: Any
) -> tuple[Array, Array]:
    x, taken, mean, variance, bias, like = saved
    flat = (x.size // x.shape[-1], x.shape[-1])
    # Written to memory: XLA does not fuse into these kernels, and would keep half precision as float32 before them.
    cotangent = reductions.materialize(cotangents[0].astype(x.dtype)).reshape(flat)
    normal = jnp.stack([mean, lax.rsqrt(variance + epsilon), bias.astype(mean.dtype)])
    pixels = x.reshape(flat)
    sums = triton.gradient_sums(pixels, cotangent, normal, interpret=interpret)
    choices = None if taken is None else taken.reshape(flat)
    out = triton.apply_gradient(pixels, cotangent, normal, sums, choices, x.shape[2], interpret=interpret)
    to_bias = sums[0].astype(bias.dtype)
    if not pooled:
        return out.reshape(x.shape), to_bias
    count, rows, columns, channels = x.shape
    (_, height, width, _), spread = like.shape, out.reshape(count, 2 * rows, 2 * columns, channels)
    dropped = ((0, 0), (0, height - 2 * rows), (0, width - 2 * columns), (0, 0))
    return jnp.pad(spread, dropped), to_bias


_norm_gelu.defvjp(_norm_gelu_forward, _norm_gelu_backward)
