"""3x3 and 2x2 convolutions in the form that is fast where they run; channels last. (§1)"""

import os
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from airjax.kernels.grouped import grouped_conv
from airjax.kernels.native import Padding, native_conv, precision_of
from airjax.kernels.onednn import onednn_available, onednn_conv, onednn_pads

# native: XLA's convolution. onednn: that library's, on a CPU. matmul: one matrix product over
# patches, which vmap over kernels turns into one batched product, where a native convolution becomes a grouped one.
# grouped: XLA's, of which vmap makes a grouped one that has a grouped convolution's own gradients.
Convolution = Literal["native", "onednn", "matmul", "grouped"]

SAME: Padding = ((1, 1), (1, 1))  # with which a 3x3 kernel keeps the image size
VALID: Padding = ((0, 0), (0, 0))


def default_convolution(dtype: DTypeLike, platform: str) -> Convolution:
    """Return the fastest form for one network that computes in dtype, as measured (docs/performance.md).

    The variable AIRJAX_CONVOLUTION, native or onednn, decides instead where it is set. Raises ValueError for another
    value, and for onednn where it is unavailable. What oneDNN does not compute here is XLA's in any case: other dtypes
    and platforms, and bfloat16 where the processor has no instructions for it.
    """
    wanted = os.environ.get("AIRJAX_CONVOLUTION") or None
    if wanted not in (None, "native", "onednn"):
        raise ValueError(f"AIRJAX_CONVOLUTION is {wanted!r}, but it must be native or onednn")
    if wanted == "native" or platform != "cpu":
        return "native"
    if wanted == "onednn" and not onednn_available():
        raise ValueError("AIRJAX_CONVOLUTION is onednn, but that does not load; pip install 'airjax[cpu]'")
    return "onednn" if onednn_available(dtype) else "native"


def vmapped_convolution(platform: str) -> Convolution:
    """Return the form for networks that vmap trains.

    What vmap makes of the native form has weight gradients that accelerators have no fast kernel for. On a CPU it is a
    grouped convolution's own gradients that XLA computes slowly (docs/performance.md, "What was tried").
    """
    return "native" if platform == "cpu" else "grouped"


def conv(
    x: Float[Array, "n h w i"],
    kernel: Float[Array, "rows cols i o"],
    padding: Padding,
    convolution: Convolution = "native",
    stride: int = 1,
) -> Float[Array, "n _ _ o"]:
    """Convolve with one stride for both axes; oneDNN does with 1 and 2."""
    with jax.named_scope("conv"):
        if convolution == "onednn":
            if not onednn_pads(padding):  # its interface cannot be told: zeros around the image instead
                x, padding = jnp.pad(x, ((0, 0), *padding, (0, 0))), VALID
            return onednn_conv(x, kernel, padding, stride)
        if convolution == "grouped":
            return grouped_conv(x, kernel, padding, stride)
        if convolution == "matmul":
            columns = kernel.reshape(-1, kernel.shape[-1])
            return jnp.matmul(patches(x, kernel.shape, padding, stride), columns, precision=precision_of(x.dtype))
        return native_conv(x, kernel, padding, stride)


def patches(
    x: Float[Array, "n h w i"], shape: tuple[int, ...], padding: Padding, stride: int = 1
) -> Float[Array, "n _ _ patch"]:
    """Return the windows of x after padding, for a kernel of shape (rows, cols, i, o); a patch is rows * cols * i."""
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    rows, columns = x.shape[1] - shape[0] + 1, x.shape[2] - shape[1] + 1
    windows = [x[:, r : r + rows : stride, c : c + columns : stride] for r in range(shape[0]) for c in range(shape[1])]
    return jnp.concatenate(windows, axis=-1)


def conv_same(
    x: Float[Array, "n h w i"], kernel: Float[Array, "3 3 i o"], convolution: Convolution = "native"
) -> Float[Array, "n h w o"]:
    """Convolve with a 3x3 kernel, keeping the image size."""
    return conv(x, kernel, SAME, convolution)


def conv_to_pool(
    x: Float[Array, "n h w i"], kernel: Float[Array, "3 3 i o"], convolution: Convolution = "native"
) -> Float[Array, "n 2*(h//2) 2*(w//2) o"]:
    """Convolve with a 3x3 kernel, keeping an even image size and making an odd one even, as a 2x2 max-pool uses it.

    The last row and column of an odd size, which the pool would drop, are not computed: there is no padding after them.
    """
    return conv(x, kernel, padding_to_pool(x.shape), convolution)


def padding_to_pool(shape: tuple[int, ...]) -> Padding:
    """Return the padding of `conv_to_pool` for images of a shape (n, h, w, i)."""
    _, height, width, _ = shape
    return (1, 1 - height % 2), (1, 1 - width % 2)
