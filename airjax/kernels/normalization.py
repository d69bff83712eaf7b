"""BatchNorm and biases, with gradients whose sums are fast and exact. (§1)"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from airjax.kernels.reductions import Reductions, at_least_float32, leave_alone

Moments = Callable[[Array, Reductions], tuple[Array, Array]]  # x [n,h,w,c] -> mean [c], biased variance [c]


def add_bias(x: Float[Array, "n h w c"], bias: Float[Array, " c"], reductions: Reductions) -> Float[Array, "n h w c"]:
    """Add a bias, in x's dtype. The bias' gradient is summed in float32 at least, as in torch."""
    out: Any = _add_bias(x, bias, reductions)
    return out


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _add_bias(x: Array, bias: Array, reductions: Reductions) -> Array:
    del reductions
    return x + bias.astype(x.dtype).reshape(1, 1, 1, -1)


def _add_bias_forward(x: Array, bias: Array, reductions: Reductions) -> tuple[Any, Any]:
    return _add_bias(x, bias, reductions), bias


def _add_bias_backward(reductions: Reductions, bias: Array, cotangent: Array) -> tuple[Array, Array]:
    return cotangent, reductions.sums(at_least_float32(cotangent)).astype(bias.dtype)


_add_bias.defvjp(_add_bias_forward, _add_bias_backward)


def batch_moments(x: Float[Array, "n h w c"], reductions: Reductions) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
    """Compute the mean and the biased variance of each channel, in float32 at least.

    Two passes, because E[x2] - E[x]2 cancels. bfloat16 needs only one: its own rounding is larger than what cancels in
    float32, which that of float16, with three more bits, is not.
    """
    count, exact, add = count_pixels(x, reductions), at_least_float32(x), reductions.over_devices
    if x.dtype == jnp.bfloat16:
        mean, square = (part / count for part in add(reductions.two_sums(exact, jnp.square(exact))))
        return mean, jnp.maximum(square - jnp.square(mean), 0)
    mean = add(reductions.sums(exact)) / count
    return mean, add(reductions.sums(jnp.square(exact - mean.reshape(1, 1, 1, -1)))) / count


def count_pixels(x: Float[Array, "n h w c"], reductions: Reductions) -> int:
    """Count the pixels of a batch, of which x is what this device has."""
    return reductions.devices * (x.size // x.shape[-1])


def batch_norm(
    x: Float[Array, "n h w c"],
    bias: Float[Array, " c"],
    epsilon: float,
    scale: Float[Array, " c"] | None = None,
    *,
    reductions: Reductions,
    moments: Moments = batch_moments,
    groups: int = 1,
) -> tuple[Float[Array, "n h w c"], Float[Array, " c"], Float[Array, " c"]]:
    """Normalise each channel to mean 0 and variance 1, scale it, and add a bias; also return the moments that it had.

    The result has x's dtype; the arithmetic is in bias'. A scale of None is 1. The moments are for running statistics:
    no gradient flows through them. Of several groups, consecutive equal parts of a batch, each has its own moments, and
    their means are returned; a batch on several devices has a number of groups that these share equally.
    """
    if groups == 1:
        out: Any = _batch_norm(x, bias, scale, epsilon, reductions, moments)
        return out
    alone, own = reductions._replace(over_devices=leave_alone, devices=1), groups // reductions.devices

    def of_group(part: Array, bias: Array, scale: Array | None) -> Any:
        return _batch_norm(part, bias, scale, epsilon, alone, moments)

    parts = x.reshape(own, x.shape[0] // own, *x.shape[1:])
    out, *found = jax.vmap(of_group, in_axes=(0, None, None))(parts, bias, scale)
    mean, variance = reductions.over_devices([moment.sum(0) for moment in found])
    return out.reshape(x.shape), mean / groups, variance / groups


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _batch_norm(
    x: Array, bias: Array, scale: Array | None, epsilon: float, reductions: Reductions, moments: Moments
) -> tuple[Array, Array, Array]:
    mean, variance = moments(x, reductions)
    return normalize_channels(x, mean, variance, bias, epsilon, scale), mean, variance


def _batch_norm_forward(
    x: Array, bias: Array, scale: Array | None, epsilon: float, reductions: Reductions, moments: Moments
) -> tuple[Any, Any]:
    out: Any = _batch_norm(x, bias, scale, epsilon, reductions, moments)
    return out, (x, scale, *out[1:])


def _batch_norm_backward(
    epsilon: float, reductions: Reductions, _: Moments, saved: tuple[Array, Array | None, Array, Array], cotangents: Any
) -> tuple[Array, Array, Array | None]:
    # The same as autodiff computes, with its sums in the form that is fast here.
    x, scale, mean, variance = saved
    count, factor = count_pixels(x, reductions), lax.rsqrt(variance + epsilon)
    # Written to memory once, instead of being computed again for the sums and for their results.
    gradient = reductions.materialize(cotangents[0]).astype(mean.dtype)
    centred = (x.astype(mean.dtype) - mean.reshape(1, 1, 1, -1)) * factor.reshape(1, 1, 1, -1)
    total, along = reductions.two_sums(gradient, gradient * centred)
    # Every device's pixels moved the moments; bias and scale get this device's part of their gradients, as kernels do.
    whole_total, whole_along = reductions.over_devices((total, along))
    rest = gradient - (whole_total / count).reshape(1, 1, 1, -1) - centred * (whole_along / count).reshape(1, 1, 1, -1)
    whole = factor if scale is None else factor * scale
    by_x = (rest * whole.reshape(1, 1, 1, -1)).astype(x.dtype)
    return by_x, total, None if scale is None else along


_batch_norm.defvjp(_batch_norm_forward, _batch_norm_backward)


def normalize_channels(
    x: Float[Array, "*pixels c"],
    mean: Float[Array, " c"],
    variance: Float[Array, " c"],
    bias: Float[Array, " c"],
    epsilon: float,
    scale: Float[Array, " c"] | None = None,
) -> Float[Array, "*pixels c"]:
    """Compute (x - mean) / sqrt(variance + epsilon) * scale + bias per channel, in mean's dtype and returned in x's.

    A scale of None is 1.
    """
    shape = (1,) * (x.ndim - 1) + (-1,)
    factor = lax.rsqrt(variance + epsilon)
    if scale is not None:
        factor = factor * scale
    normalized = (x.astype(mean.dtype) - mean.reshape(shape)) * factor.reshape(shape) + bias.reshape(shape)
    return normalized.astype(x.dtype)
