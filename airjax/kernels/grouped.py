"""A convolution of which vmap over kernels makes one grouped convolution, with the members in the channels.

JAX batches each of a convolution's gradients on its own, and makes of the kernel's a forward convolution whose window
is the image; a GPU's library has slow kernels for that (jax issues 26568 and 13800). Here vmap batches the convolution
together with its gradients: they are those of the grouped convolution, for which the library has kernels of its own.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_batching import custom_vmap
from jaxtyping import Float

from airjax.kernels.native import Padding, native_conv


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def grouped_conv(
    x: Float[Array, "n h w i"], kernel: Float[Array, "rows cols i o"], padding: Padding, stride: int = 1
) -> Float[Array, "n _ _ o"]:
    """Convolve; padding is ((top, bottom), (left, right))."""
    return _forward_of(padding, stride)(x, kernel)


def _forward(x: Array, kernel: Array, padding: Padding, stride: int) -> tuple[Array, tuple[Array, Array]]:
    return grouped_conv(x, kernel, padding, stride), (x, kernel)


def _backward(padding: Padding, stride: int, saved: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    return _gradients_of(padding, stride)(*saved, cotangent)


grouped_conv.defvjp(_forward, _backward)


# custom_vmap has no derivative in reverse mode, so it wraps what a custom derivative consists of.
@functools.cache
def _forward_of(padding: Padding, stride: int) -> Callable[..., Array]:
    convolve = custom_vmap(functools.partial(native_conv, padding=padding, stride=stride))

    @convolve.def_vmap
    def _(size: int, batched: list[bool], x: Array, kernel: Array) -> tuple[Array, bool]:
        if not batched[1]:
            y = native_conv(x.reshape(-1, *x.shape[2:]), kernel, padding, stride)
            return y.reshape(size, -1, *y.shape[1:]), True
        groups = size if batched[0] else 1  # all members' kernels see the same images
        x = _into_channels(x) if batched[0] else x
        return _out_of_channels(native_conv(x, _into_channels(kernel), padding, stride, groups), size), True

    return convolve


@functools.cache
def _gradients_of(padding: Padding, stride: int) -> Callable[..., tuple[Array, Array]]:
    gradients = custom_vmap(functools.partial(_gradients, padding=padding, stride=stride))

    @gradients.def_vmap
    def _(size: int, batched: list[bool], *arrays: Array) -> tuple[tuple[Array, Array], tuple[bool, bool]]:
        whole: list[Any] = [
            array if own else jnp.broadcast_to(array, (size, *array.shape))
            for array, own in zip(arrays, batched, strict=True)
        ]
        by_x, by_kernel = _gradients(*map(_into_channels, whole), padding=padding, stride=stride, groups=size)
        return (_out_of_channels(by_x, size), _out_of_channels(by_kernel, size)), (True, True)

    return gradients


def _gradients(
    x: Array, kernel: Array, cotangent: Array, padding: Padding, stride: int, groups: int = 1
) -> tuple[Array, Array]:
    _, by_x = jax.vjp(lambda x: native_conv(x, kernel, padding, stride, groups), x)
    # XLA takes the kernel's gradient for a forward convolution unless the image is larger than the kernel: it gets
    # rows and columns, whose gradient is zero.
    missing = [max(0, kernel.shape[axis] + 1 - cotangent.shape[axis + 1]) for axis in (0, 1)]
    wider: Any = tuple((before, after + stride * more) for (before, after), more in zip(padding, missing, strict=True))
    _, by_kernel = jax.vjp(lambda kernel: native_conv(x, kernel, wider, stride, groups), kernel)
    padded = jnp.pad(cotangent, ((0, 0), *((0, more) for more in missing), (0, 0)))
    return by_x(cotangent)[0], by_kernel(padded)[0]


def _into_channels(array: Array) -> Array:
    # [k,a,b,c,d] -> [a,b,c,k*d]
    return jnp.moveaxis(array, 0, -2).reshape(*array.shape[1:-1], -1)


def _out_of_channels(array: Array, size: int) -> Array:
    return jnp.moveaxis(array.reshape(*array.shape[:-1], size, -1), -2, 0)
