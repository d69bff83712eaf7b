"""Choices about a training step, each as the step with that choice undone: what `benchmarks.ablation` measures."""

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from airjax.augment.batch import Batch, batch_at
from airjax.augment.transforms import mirror_where, reflect_pad
from airjax.kernels import convolution as forms
from airjax.kernels import first_conv, onednn, reductions
from airjax.kernels.backend import PRECISIONS, Backend, Driver, Ops, Precision, make_backend, make_ops
from airjax.kernels.convolution import Convolution, default_convolution
from airjax.kernels.ffi import Buffer
from airjax.kernels.normalization import Moments, batch_moments, normalize_channels
from airjax.kernels.reductions import Reductions, at_least_float32
from airjax.optim import muon
from airjax.recipes.optimizer_muon import Muon
from airjax.recipes.recipe import PrecisionName, Recipe
from airjax.training.compile import COMMANDS, COMPILER_OPTIONS
from airjax.training.members import STRATEGIES, Strategy, strategy_convolution
from airjax.training.programs import Kind, make_group_steps


class Variant(NamedTuple):
    """A step with something undone."""

    ops: Callable[[str, Convolution], Ops] = make_ops  # (platform, convolution) -> what networks are made of
    platforms: tuple[str, ...] = ("cpu", "gpu")  # where there is anything to undo
    convolution: Convolution | None = None  # None: the fastest here
    frozen: tuple[str, ...] = ("whiten_bias",)
    batch_at: Callable[..., Batch] = batch_at
    compiler: Mapping[str, str | bool] | None = None  # options; None: those of airjax.training.compile
    driver: Driver | None = None  # None: the fastest here
    unroll: int = 1
    donate: bool = True
    precision: PrecisionName | None = None  # None: the platform's
    threads: bool = False  # let all threads rearrange oneDNN's kernels
    strategies: tuple[Strategy, ...] = STRATEGIES  # with which there is anything to undo
    orthogonalize: Callable[[Muon, Precision], optax.GradientTransformation] | None = None  # None: as Muon does

    def concerns(self, recipe: Recipe) -> bool:
        """Return whether the recipe has what is undone."""
        return self.orthogonalize is None or isinstance(recipe.optimizer, Muon)


def gelu_by_erfc(x: Array) -> Array:
    """Compute jax.nn's GELU."""
    return jax.nn.gelu(x, approximate=False)


def window_max_pool(x: Array, size: int) -> Array:
    """XLA's own operation, with its own gradient."""
    window = (1, size, size, 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")


def autodiff_max_pool(x: Array, size: int) -> Array:
    """Slices and selects with the gradient that JAX derives: padded gradients of every slice, added up."""
    height, width = (x.shape[axis] // size * size for axis in (1, 2))
    first, *others = [x[:, r:height:size, c:width:size] for r in range(size) for c in range(size)]
    for other in others:
        first = lax.select(first >= other, first, other)
    return first


def autodiff_gelu(x: Array) -> Array:
    """Leave the gradient to JAX, in x's own precision."""
    return x * (0.5 + 0.5 * lax.erf(x * 0.5**0.5))


def sliced_and_selected(
    images: Array, translate: int, examples: Array, flips: Array, mirrors: Array, shifts: Array | None, padding: str
) -> Array:
    """Flip, pad, crop by two passes of slices and selects, and mirror, one after the other and in float32."""
    moved = reflect_pad(mirror_where(images[examples].astype(jnp.float32), flips), translate)
    assert shifts is not None
    assert padding == "reflect"
    for axis in (1, 2):
        slices = [lax.slice_in_dim(moved, s, s + images.shape[1], axis=axis) for s in range(2 * translate + 1)]
        chosen = shifts[:, axis - 1].astype(jnp.int32)
        moved = lax.select_n(jnp.broadcast_to(chosen[:, None, None, None], slices[0].shape), *slices)
    return mirror_where(moved, mirrors)


def product_sums(x: Array) -> Array:
    """Sum by a product with ones: fast, but it adds one after the other, with an error of 1e-4 and more."""
    rows = x.reshape(-1, x.shape[-1])
    return jnp.dot(jnp.ones(rows.shape[0], x.dtype), rows, precision="highest")


def two_pass_moments(x: Array, reduced_by: Reductions) -> tuple[Array, Array]:
    """Compute the variance from distances to the mean, of half precision, too."""
    return batch_moments(at_least_float32(x), reduced_by)


def one_pass_moments(x: Array, reduced_by: Reductions) -> tuple[Array, Array]:
    """Sums of distances from each channel's first value, and of their squares, side by side."""
    count, x = x.size // x.shape[-1], at_least_float32(x)
    shift = lax.stop_gradient(x[0, 0, 0])
    distances = x - shift.reshape(1, 1, 1, -1)
    mean = reduced_by.sums(distances) / count
    return mean + shift, reduced_by.sums(jnp.square(distances)) / count - jnp.square(mean)


def with_ops(**changes: Callable[..., Any]) -> Callable[[str, Convolution], Ops]:
    """Replace some functions; each is called as ours is."""
    return lambda platform, convolution: make_ops(platform, convolution)._replace(**changes)


def with_reductions(**changes: Any) -> Callable[[str, Convolution], Ops]:
    """Replace some sums. Without two_sums there is a reduction for each of two."""

    def ops(platform: str, convolution: Convolution) -> Ops:
        ours = reductions.CPU if platform == "cpu" else reductions.ACCELERATOR
        changed = ours._replace(**changes)
        if "sums" in changes or changes.get("two_sums", ours) is None:
            changed = changed._replace(two_sums=lambda x, y: (changed.sums(x), changed.sums(y)))
        return make_ops(platform, convolution, changed)

    return ops


def with_moments(moments: Moments) -> Callable[[str, Convolution], Ops]:
    """Other moments for BatchNorm."""
    return lambda platform, convolution: make_ops(platform, convolution, moments=moments)


def with_whole_convolutions(platform: str, convolution: Convolution) -> Ops:
    """Also the row and the column that a pool drops are computed."""
    ours = make_ops(platform, convolution)
    return ours._replace(conv_to_pool=ours.conv_same)


def with_autodiff_batch_norm(platform: str, convolution: Convolution) -> Ops:
    """Leave BatchNorm's gradient to JAX."""
    ours = reductions.CPU if platform == "cpu" else reductions.ACCELERATOR

    def batch_norm(x: Array, bias: Array, epsilon: float) -> tuple[Array, Array, Array]:
        # One reduction for two sums has no derivative of its own.
        mean, variance = batch_moments(x, ours._replace(two_sums=lambda x, y: (ours.sums(x), ours.sums(y))))
        return normalize_channels(x, mean, variance, bias, epsilon), mean, variance

    return make_ops(platform, convolution)._replace(batch_norm=batch_norm)


def with_first_conv_by_library(platform: str, convolution: Convolution) -> Ops:
    """Compute the first convolution by the library, as the others are."""
    conv_first = functools.partial(first_conv.conv_first, convolution=convolution)
    return make_ops(platform, convolution)._replace(conv_first=conv_first)


def with_plain_weight_gradients(platform: str, convolution: Convolution) -> Ops:
    """Leave the weight gradients of small images as they follow from the convolution."""
    bind: Any = functools.partial
    return make_ops(platform, convolution)._replace(
        conv_same=bind(forms.conv_same, convolution=convolution),
        conv_to_pool=bind(forms.conv_to_pool, convolution=convolution),
    )


def with_nothing_for_gpus(_: str, convolution: Convolution) -> Ops:
    """Return what every accelerator computes with."""
    return make_ops("tpu", convolution)


def with_fused_gradients(platform: str, convolution: Convolution) -> Ops:
    """Compute the gradients of pool, BatchNorm and GELU in two kernels of our own."""
    return make_ops(platform, convolution, fuse_gradients=True)


def orthogonalized_in_batches(optimizer: Muon, precision: Precision, *, padded: bool) -> optax.GradientTransformation:
    """Orthogonalise kernels of one shape together, or all of them, filled up with zeros to the largest."""

    def update(updates: Any, _: Any) -> Any:
        kernels, tree = jax.tree.flatten(updates)
        flat = [kernel.astype(precision.statistics).reshape(-1, kernel.shape[-1]) for kernel in kernels]
        tall = [matrix.shape[0] > matrix.shape[1] for matrix in flat]
        matrices = [matrix.T if is_tall else matrix for matrix, is_tall in zip(flat, tall, strict=True)]
        largest = tuple(max(matrix.shape[axis] for matrix in matrices) for axis in (0, 1))
        batches: dict[tuple[int, ...], list[int]] = {}
        for number, matrix in enumerate(matrices):
            batches.setdefault(largest if padded else matrix.shape, []).append(number)
        one = functools.partial(muon.newton_schulz, optimizer=optimizer, dtype=muon.rounded_to(optimizer, precision))
        for (rows, columns), members in batches.items():
            filled = [
                jnp.pad(matrices[m], ((0, rows - len(matrices[m])), (0, columns - matrices[m].shape[1])))
                for m in members
            ]
            for m, whole in zip(members, jax.vmap(one)(jnp.stack(filled)), strict=True):
                found = whole[: matrices[m].shape[0], : matrices[m].shape[1]]
                found = found.T if tall[m] else found
                kernels[m] = found.reshape(kernels[m].shape).astype(kernels[m].dtype)
        return tree.unflatten(kernels)

    return optax.stateless(update)


class AllThreads(onednn.Library):
    """The library, but all threads rearrange its kernels."""

    run = onednn.Library.run

    @contextmanager
    def _one_thread(self) -> Iterator[None]:
        yield


@functools.cache
def all_threads() -> AllThreads:
    """Load the library once more, with convolutions of its own."""
    path = onednn.library_path()
    assert path is not None
    return AllThreads(path)


def run_by_all_threads(_: onednn.Library, task: str, x: Buffer, kernel: Buffer, y: Buffer, stride: int = 1) -> None:
    """Stand in for the library's own convolutions."""
    all_threads().run(task, x, kernel, y, stride)


AS_IT_IS = "as it is"
GRAPHS = COMPILER_OPTIONS["gpu"]
VARIANTS = {
    AS_IT_IS: Variant(),
    # Inside a step.
    "XLA's convolutions": Variant(convolution="native", platforms=("cpu",)),
    "convolutions by matrix products": Variant(convolution="matmul"),
    "the first layer's gradient": Variant(frozen=()),
    "GELU from erfc": Variant(with_ops(gelu=gelu_by_erfc)),
    "whole convolutions before a pool": Variant(with_whole_convolutions),
    "XLA's pool": Variant(with_ops(max_pool=window_max_pool)),
    "pools' gradient by autodiff": Variant(with_ops(max_pool=autodiff_max_pool)),
    "GELU's gradient by autodiff": Variant(with_ops(gelu=autodiff_gelu)),
    "crops by slices and selects": Variant(batch_at=functools.partial(batch_at, take=sliced_and_selected)),
    "XLA's sums over pixels": Variant(with_reductions(sums=reductions.sums_by_reduce), ("cpu",)),
    "sums over pixels in one product": Variant(with_reductions(sums=product_sums)),
    "moments in one pass": Variant(with_moments(one_pass_moments), ("cpu",)),
    "moments in two passes": Variant(with_moments(two_pass_moments), ("gpu",)),
    "a reduction for each sum": Variant(with_reductions(two_sums=None), ("gpu",)),
    "what is in memory left to the compiler": Variant(with_reductions(materialize=reductions.leave_alone), ("gpu",)),
    "BatchNorm's gradient by autodiff": Variant(with_autodiff_batch_norm),
    "the first convolution by the library": Variant(with_first_conv_by_library, ("gpu",)),
    "weight gradients of small images as they are": Variant(with_plain_weight_gradients, ("gpu",)),
    "pool, BatchNorm and GELU: gradients in two kernels": Variant(with_fused_gradients, ("gpu",)),
    "nothing that is for GPUs alone": Variant(with_nothing_for_gpus, ("gpu",), compiler={}),
    "Muon: kernels of one shape in a batch": Variant(
        orthogonalize=functools.partial(orthogonalized_in_batches, padded=False)
    ),
    "Muon: all kernels in one batch, filled up with zeros": Variant(
        orthogonalize=functools.partial(orthogonalized_in_batches, padded=True)
    ),
    "kernels rearranged by all threads": Variant(threads=True, platforms=("cpu",)),
    # Of several networks at once.
    "convolutions as vmap makes them": Variant(
        convolution="native", platforms=("gpu",), strategies=("vmap", "sharded")
    ),
    "members in the channels of convolutions": Variant(
        convolution="grouped", platforms=("cpu",), strategies=("vmap", "sharded")
    ),
    # How steps are compiled and driven.
    "the compiler's default options": Variant(compiler={}),
    "the same, with XLA's convolutions": Variant(convolution="native", compiler={}, platforms=("cpu",)),
    "the state not donated": Variant(donate=False),
    "a call for every step": Variant(driver="loop"),
    "a scan over the steps": Variant(driver="scan", platforms=("cpu",)),
    "a scan, with XLA's convolutions": Variant(driver="scan", convolution="native", platforms=("cpu",)),
    "a scan, unrolled by 4": Variant(unroll=4, platforms=("gpu",)),
    "no command buffers": Variant(compiler={"xla_gpu_enable_command_buffer": ""}, platforms=("gpu",)),
    "loops outside of command buffers": Variant(
        compiler=GRAPHS | {"xla_gpu_enable_command_buffer": COMMANDS}, platforms=("gpu",)
    ),
    "kernels one after the other": Variant(
        compiler={"xla_gpu_enable_command_buffer": GRAPHS["xla_gpu_enable_command_buffer"]}, platforms=("gpu",)
    ),
    "matrix products by cuBLAS alone": Variant(
        compiler=GRAPHS | {"xla_gpu_enable_triton_gemm": False}, platforms=("gpu",)
    ),
    "float32": Variant(precision="float32", platforms=("gpu",)),
    "bfloat16": Variant(precision="bfloat16", platforms=("cpu",)),
    "float16": Variant(precision="float16", platforms=("gpu",)),
}


def make_variant(
    variant: Variant,
    recipe: Recipe,
    platform: str,
    steps: int,
    strategy: Strategy = "sequential",
    image_size: int | None = None,
) -> tuple[Callable[..., Any], Backend]:
    """Return what a call of so many steps does to a group, whose arrays have an axis, and what that computes with.

    Its images are scaled to image_size pixels, as in a phase of a curriculum; None: they are the data's own.
    """
    convolution = variant.convolution or strategy_convolution(strategy, platform)
    convolution = convolution or default_convolution(PRECISIONS[recipe.precision].compute, platform)
    ours = make_backend(recipe.precision, platform, convolution, variant.driver)
    backend = ours._replace(ops=variant.ops(platform, convolution), unroll=variant.unroll)
    kind = Kind(variant.frozen, steps, image_size)
    return make_group_steps(recipe, backend, kind, strategy, variant.batch_at), backend


@contextmanager
def undone(variant: Variant) -> Iterator[None]:
    """While it lasts, oneDNN's kernels are rearranged and Muon's made orthogonal as the variant says."""
    with ExitStack() as stack:
        if variant.threads:
            stack.enter_context(mock.patch.object(onednn.Library, "run", run_by_all_threads))
        if variant.orthogonalize is not None:
            stack.enter_context(mock.patch.object(muon, "orthogonalize", variant.orthogonalize))
        yield
