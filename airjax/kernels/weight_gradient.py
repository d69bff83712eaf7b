"""3x3 convolutions whose weight gradient a GPU's compiler recognises as one, of small images, too. (§1)

The weight gradient of a convolution is itself a convolution, with the gradient as its kernel. XLA hands it to cuDNN as
a backward-filter convolution, but only where that kernel has more rows and columns than the result. For images of 3x3
pixels it calls a forward convolution over as many channels as there are images: a few tiles of work, and two
transpositions. One more row and column of zeros, in the image as in the gradient, are all that it takes. On an H200 a
step is no faster for it (docs/performance.md, "What was tried").
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from airjax.kernels import convolution as forms
from airjax.kernels.convolution import Convolution, Padding


def conv_same(
    x: Float[Array, "n h w i"], kernel: Float[Array, "3 3 i o"], convolution: Convolution = "native"
) -> Float[Array, "n h w o"]:
    """Compute `airjax.kernels.convolution.conv_same`."""
    return _conv(x, kernel, forms.SAME, convolution)


def conv_to_pool(
    x: Float[Array, "n h w i"], kernel: Float[Array, "3 3 i o"], convolution: Convolution = "native"
) -> Float[Array, "n 2*(h//2) 2*(w//2) o"]:
    """Compute `airjax.kernels.convolution.conv_to_pool`."""
    return _conv(x, kernel, forms.padding_to_pool(x.shape), convolution)


def _conv(x: Array, kernel: Array, padding: Padding, convolution: Convolution) -> Array:
    if convolution != "native" or not any(_missing(x, kernel, padding)):
        return forms.conv(x, kernel, padding, convolution)
    out: Any = _conv_of_small(x, kernel, padding)
    return out


def _missing(x: Array, kernel: Array, padding: Padding) -> tuple[int, ...]:
    # How many rows and columns of zeros make the gradient larger than the kernel.
    sizes = zip(x.shape[1:3], kernel.shape[:2], padding, strict=True)
    return tuple(max(0, 2 * taps - size - sum(edges)) for size, taps, edges in sizes)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv_of_small(x: Array, kernel: Array, padding: Padding) -> Array:
    return forms.conv(x, kernel, padding)


def _conv_forward(x: Array, kernel: Array, padding: Padding) -> tuple[Any, Any]:
    # Where the image is smaller than the gradient, XLA takes it for the kernel; without the barrier the zeros become
    # padding, which does not count. Here what makes x can write it with zeros, too.
    zeros = _zeros(_missing(x, kernel, padding))
    return _conv_of_small(x, kernel, padding), (x, kernel, lax.optimization_barrier(jnp.pad(x, zeros)))


def _conv_backward(padding: Padding, saved: tuple[Array, Array, Array], cotangent: Array) -> tuple[Array, Array]:
    x, kernel, wider = saved
    _, pull_x = jax.vjp(lambda x: forms.conv(x, kernel, padding), x)
    _, pull_kernel = jax.vjp(lambda kernel: forms.conv(wider, kernel, padding), kernel)
    return pull_x(cotangent)[0], pull_kernel(jnp.pad(cotangent, _zeros(_missing(x, kernel, padding))))[0]


def _zeros(missing: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    return ((0, 0), *((0, count) for count in missing), (0, 0))


_conv_of_small.defvjp(_conv_forward, _conv_backward)
