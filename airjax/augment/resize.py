"""Images scaled down by bilinear interpolation. (§3)"""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from airjax.kernels.reductions import at_least_float32


def resize(images: Float[Array, "n h w c"], size: int, *, antialias: bool = False) -> Float[Array, "n {size} {size} c"]:
    """Scale images to size x size pixels, which are squares in the same plane; computed in float32 at least.

    Each pixel is interpolated between the two nearest in each direction; with antialias it is the mean, by a triangle
    as wide as two new pixels, of all near it. torch's `F.interpolate(mode="bilinear")` does the same.

    Both directions are sums of as many gathers as a pixel has neighbours, which XLA fuses with what makes the images;
    matrices for products would be mostly zeros.
    """
    scaled = at_least_float32(images)
    for axis in (1, 2):
        scaled = _resize_axis(scaled, axis, size, antialias=antialias)
    return scaled.astype(images.dtype)


def interpolation_weights(length: int, size: int, *, antialias: bool = False) -> Float[np.ndarray, "{size} {length}"]:
    """Return how much each of length pixels counts in each of size pixels of the same line; a row adds up to 1."""
    scale = length / size
    centres = (np.arange(size) + 0.5) * scale - 0.5  # of the new pixels, where the first old one's is 0
    width = max(scale, 1.0) if antialias else 1.0
    weights = np.maximum(0, 1 - np.abs(np.arange(length) - centres[:, None]) / width)
    return weights / weights.sum(1, keepdims=True)


def _resize_axis(images: Array, axis: int, size: int, *, antialias: bool) -> Array:
    weights = interpolation_weights(images.shape[axis], size, antialias=antialias)
    taps = int((weights > 0).sum(1).max())
    # The largest weights of every row, by position; what is left over has the weight 0.
    nearest = np.sort(np.argsort(-weights, axis=1, kind="stable")[:, :taps], axis=1)
    shape = [1] * images.ndim
    shape[axis] = size
    parts = (
        jnp.take(images, positions, axis=axis, mode="clip")
        * weights[np.arange(size), positions].reshape(shape).astype(images.dtype)
        for positions in nearest.T
    )
    total = next(parts)
    for part in parts:
        total = total + part
    return total
