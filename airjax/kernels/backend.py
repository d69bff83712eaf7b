"""What a platform computes with: dtypes and array functions, chosen once on the host and handed to what is traced."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh
from jax.typing import DTypeLike

from airjax.kernels import convolution as forms
from airjax.kernels import first_conv, normalization, pool, reductions, weight_gradient
from airjax.kernels import gelu as activations
from airjax.kernels.convolution import Convolution
from airjax.kernels.normalization import Moments, batch_moments
from airjax.kernels.reductions import Reductions, across_devices
from airjax.kernels.silu import silu

# How the host calls steps: "loop", one in a call; "chunks", a few in a call, their number an argument; "scan", all of a
# phase in a call.
Driver = Literal["loop", "chunks", "scan"]


class Precision(NamedTuple):
    """The dtypes of one arithmetic."""

    params: DTypeLike  # trained parameters and their momentum
    compute: DTypeLike  # images, activations and the operands of convolutions
    statistics: DTypeLike  # BatchNorm, whitening, loss, schedule, hyperparameters


PRECISIONS = {
    "float32": Precision(jnp.float32, jnp.float32, jnp.float32),
    "bfloat16": Precision(jnp.float32, jnp.bfloat16, jnp.float32),
    # As released: half precision without master weights, except in BatchNorm.
    "float16": Precision(jnp.float16, jnp.float16, jnp.float32),
    "float64": Precision(jnp.float64, jnp.float64, jnp.float64),
}


def statistics_dtype(precision: str) -> DTypeLike:
    """Return the dtype of statistics, loss, schedule and hyperparameters in a precision by name, `auto` included."""
    return jnp.float64 if precision == "float64" else jnp.float32


class Ops(NamedTuple):
    """The array functions that networks are made of; x [n,h,w,c], kernels HWIO. Replace one to try another."""

    conv: Callable[..., Array]  # (x, kernel, padding, stride=1)
    conv_first: Callable[[Array, Array], Array]  # 2x2 of pixels, without padding
    conv_same: Callable[[Array, Array], Array]  # 3x3, keeps the image size
    conv_to_pool: Callable[[Array, Array], Array]  # 3x3, before a 2x2 pool
    max_pool: Callable[[Array, int], Array]
    gelu: Callable[[Array], Array]
    relu: Callable[[Array], Array]
    silu: Callable[[Array], Array]
    add_bias: Callable[[Array, Array], Array]
    batch_norm: Callable[..., tuple[Array, Array, Array]]  # (x, bias, epsilon, scale=None, groups=1)
    normalize_channels: Callable[..., Array]  # (x, mean, variance, bias, epsilon, scale=None)
    # GELU of batch_norm of x, or of max_pool(x, 2) where the fourth argument says so, with one gradient for all; also
    # the moments. None: one after the other.
    norm_gelu: Callable[[Array, Array, float, bool], tuple[Array, Array, Array]] | None = None
    devices: int = 1  # that a batch is cut over: x is what one of them has


class Backend(NamedTuple):
    """What one network, or a group of them, computes with."""

    platform: str  # "cpu", "gpu" or "tpu"
    precision: Precision
    convolution: Convolution
    ops: Ops
    driver: Driver
    unroll: int = 1  # steps of a scan that are compiled one after the other
    mesh: Mesh | None = None  # devices that a batch is cut over, one axis; None: one device


@functools.lru_cache(maxsize=64)
def make_ops(
    platform: str,
    convolution: Convolution,
    reduced_by: Reductions | None = None,
    moments: Moments = batch_moments,
    *,
    fuse_gradients: bool = False,
) -> Ops:
    """Return a platform's functions, with convolutions in one form; the same arguments give the same functions.

    With fuse_gradients, which is for GPUs, the gradients of pools, BatchNorm and GELU are kernels of our own; on a CPU
    these are interpreted, slowly. Raises ValueError for these with reductions across devices: their sums are of one.
    """
    reduced_by = reduced_by or _reductions_of(platform)
    if fuse_gradients and reduced_by.devices > 1:
        raise ValueError("fused gradients add up what one device has: leave fuse_gradients out with several devices")
    bind: Any = functools.partial
    conv_first = first_conv.conv_first_as_sums if platform == "gpu" else first_conv.conv_first
    convolutions = weight_gradient if platform == "gpu" else forms
    return Ops(
        conv=bind(forms.conv, convolution=convolution),
        conv_first=bind(conv_first, convolution=convolution),
        conv_same=bind(convolutions.conv_same, convolution=convolution),
        conv_to_pool=bind(convolutions.conv_to_pool, convolution=convolution),
        max_pool=bind(pool.max_pool, reductions=reduced_by),
        gelu=activations.gelu,
        relu=jax.nn.relu,
        silu=silu,
        add_bias=bind(normalization.add_bias, reductions=reduced_by),
        batch_norm=bind(normalization.batch_norm, reductions=reduced_by, moments=moments),
        normalize_channels=normalization.normalize_channels,
        norm_gelu=_fused(reduced_by, moments, interpret=platform == "cpu") if fuse_gradients else None,
        devices=reduced_by.devices,
    )


def _reductions_of(platform: str) -> Reductions:
    return reductions.CPU if platform == "cpu" else reductions.ACCELERATOR


def _fused(reduced_by: Reductions, moments: Moments, *, interpret: bool) -> Any:
    # Not above: Pallas takes a while to import.
    from airjax.kernels.norm_gelu import norm_gelu

    return functools.partial(norm_gelu, reductions=reduced_by, moments=moments, interpret=interpret)


def default_driver(platform: str, convolution: Convolution) -> Driver:
    """Return chunks or a loop on a CPU, depending on what convolves, and a scan elsewhere.

    On a CPU, XLA's own convolutions are many times slower inside anything that loops (docs/performance.md).
    """
    if platform != "cpu":
        return "scan"
    return "chunks" if convolution == "onednn" else "loop"


def make_backend(
    precision: str,
    platform: str,
    convolution: Convolution,
    driver: Driver | None = None,
    mesh: Mesh | None = None,
) -> Backend:
    """Return the backend of a precision by name on a platform; on a mesh, for one of its devices."""
    driver = driver or default_driver(platform, convolution)
    if mesh is None:
        ops = make_ops(platform, convolution)
    else:
        ops = make_ops(platform, convolution, across_devices(_reductions_of(platform), mesh.axis_names[0], mesh.size))
    return Backend(platform, PRECISIONS[precision], convolution, ops, driver, mesh=mesh)
