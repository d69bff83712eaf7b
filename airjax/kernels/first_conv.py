"""The first convolution: from pixels to patch features, of few channels. (§2)"""

import functools
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from airjax.kernels.convolution import VALID, Convolution, conv
from airjax.kernels.reductions import at_least_float32

MOST_TERMS = 16  # of a sum: 2x2 pixels of at most four channels


def conv_first(
    x: Float[Array, "n h w i"], kernel: Float[Array, "rows cols i o"], convolution: Convolution = "native"
) -> Float[Array, "n _ _ o"]:
    """Convolve without padding."""
    return conv(x, kernel, VALID, convolution)


def conv_first_as_sums(
    x: Float[Array, "n h w i"], kernel: Float[Array, "rows cols i o"], convolution: Convolution = "native"
) -> Float[Array, "n _ _ o"]:
    """Convolve without padding by multiply-adds, which a compiler fuses with the bias and the activation after them.

    A matrix product over so few channels is mostly padding, and writes what the next kernel reads again. Products and
    sums are in float32 at least, rounded to x's dtype at the end. The gradients are the convolution's own; so is a
    kernel of more than MOST_TERMS products.
    """
    if math.prod(kernel.shape[:3]) > MOST_TERMS:
        return conv_first(x, kernel, convolution)
    with jax.named_scope("conv"):
        out: Any = _sums(x, kernel, convolution)
    return out


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _sums(x: Array, kernel: Array, convolution: Convolution) -> Array:
    del convolution
    pixels, weights = at_least_float32(x), at_least_float32(kernel)
    rows, columns, channels, outputs = kernel.shape
    height, width = x.shape[1] - rows + 1, x.shape[2] - columns + 1
    total = jnp.zeros((x.shape[0], height, width, outputs), pixels.dtype)
    for row, column, channel in itertools.product(range(rows), range(columns), range(channels)):
        window = pixels[:, row : row + height, column : column + width, channel : channel + 1]
        total = total + window * weights[row, column, channel].reshape(1, 1, 1, -1)
    return total.astype(x.dtype)


def _sums_forward(x: Array, kernel: Array, convolution: Convolution) -> tuple[Any, Any]:
    return _sums(x, kernel, convolution), (x, kernel)


def _sums_backward(convolution: Convolution, saved: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    _, pull = jax.vjp(functools.partial(conv_first, convolution=convolution), *saved)
    return pull(cotangent)


_sums.defvjp(_sums_forward, _sums_backward)
