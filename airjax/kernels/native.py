"""XLA's own convolution, which the other forms share their conventions with; channels last. (§1)"""

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike
from jaxtyping import Float

Padding = tuple[tuple[int, int], tuple[int, int]]  # ((top, bottom), (left, right)), in pixels


def precision_of(dtype: DTypeLike) -> lax.Precision | None:
    """Return the precision of products: accelerators round float32 operands unless told not to."""
    return lax.Precision.HIGHEST if dtype in (jnp.float32, jnp.float64) else None


def native_conv(
    x: Float[Array, "n h w i"],
    kernel: Float[Array, "rows cols _ o"],
    padding: Padding,
    stride: int = 1,
    groups: int = 1,
) -> Float[Array, "n _ _ o"]:
    """Convolve with one stride for both axes, in groups of channels."""
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
        precision=precision_of(x.dtype),
    )
