"""Parts of images resized on the device, by averaging areas as OpenCV's INTER_AREA does. (Table 3)"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int, Real, UInt8


def resize_boxes(
    images: Real[Array, "n h w c"], boxes: Int[Array, "n 4"], mirrors: Bool[Array, " n"], size: int
) -> UInt8[Array, "n {size} {size} c"]:
    """Cut a box (top, left, height, width) out of each image, resize it to a square, and mirror it where mirrors says.

    Where both sides shrink, each pixel is the mean of the area that it covers; where one grows, both are interpolated,
    as OpenCV does. Two products with weights, whatever the boxes are: one program for all of them. Pixels are within
    one level of OpenCV's, which sums and rounds in another order, but for single rows or columns of a side that grows:
    there OpenCV's rounding of the scale may pick the pixel beside the one that its formula names.
    """
    tops, lefts, heights, widths = (boxes[:, column] for column in range(4))
    shrinks = (heights >= size) & (widths >= size)
    rows = _weights(tops, heights, shrinks, size, images.shape[1])
    cols = _weights(lefts, widths, shrinks, size, images.shape[2])
    cols = jnp.where(mirrors[:, None, None], cols[:, ::-1], cols)
    exact = jax.lax.Precision.HIGHEST
    narrow = jnp.einsum("nhwc,nqw->nhqc", images.astype(jnp.float32), cols, precision=exact)
    return jnp.rint(jnp.einsum("nhqc,nph->npqc", narrow, rows, precision=exact)).astype(jnp.uint8)


def _weights(
    starts: Int[Array, " n"], lengths: Int[Array, " n"], shrinks: Bool[Array, " n"], size: int, total: int
) -> Float[Array, "n {size} {total}"]:
    # Of each pixel of a side of the image in each pixel of the result.
    length = lengths[:, None, None]
    target = jnp.arange(size, dtype=jnp.int32)[None, :, None]
    source = jnp.arange(total, dtype=jnp.int32)[None, None, :] - starts[:, None, None]
    real_length, real_target, real_source = (whole.astype(jnp.float32) for whole in (length, target, source))
    scale = real_length / size
    covered = jnp.minimum(real_source + 1, (real_target + 1) * scale) - jnp.maximum(real_source, real_target * scale)
    # The first of two pixels, and how far the result is from it to the second, which the last one does not have. In
    # whole numbers: a float32 that is rounded down at a pixel's edge would be off by a pixel.
    first = target * length // size
    part = jnp.maximum((target + 1) * length - (first + 1) * size, 0).astype(jnp.float32) / real_length
    part = jnp.where(first >= length - 1, 0.0, part)
    between = jnp.where(source == first, 1 - part, 0.0) + jnp.where(source == first + 1, part, 0.0)
    return jnp.where(shrinks[:, None, None], jnp.maximum(covered, 0.0) / scale, between)
