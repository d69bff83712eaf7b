"""What each choice about a training step is worth here: the step with one choice undone, against the step as it is.

`python -m benchmarks.ablation --recipe 94` compiles every variant that this kind of device has, then lets them take
turns, some steps each, forward and backward through the list; images are noise. One line in ablation.jsonl:
medians, and the ratio to the step as it is, of the same turns. Choices are those inside the step, how the compiler is
asked for it, how the steps are driven, and the precision.
"""

import argparse
import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
from jax import Array, lax

from airjax.augment.batch import Batch, batch_at
from airjax.augment.transforms import mirror_where, reflect_pad
from airjax.cli.console import run_main
from airjax.kernels import onednn, reductions
from airjax.kernels.backend import PRECISIONS, Backend, Driver, Ops, make_backend, make_ops
from airjax.kernels.convolution import Convolution, default_convolution
from airjax.kernels.ffi import Buffer
from airjax.kernels.normalization import Moments, batch_moments, normalize_channels
from airjax.kernels.reductions import Reductions, at_least_float32
from airjax.optim.nesterov import hyperparameters
from airjax.recipes.published import get_recipe
from airjax.recipes.recipe import PrecisionName, Recipe
from airjax.training.arrays import to_device
from airjax.training.backend import backend_of, resolve_precision
from airjax.training.compile import compile_function, compile_lowered
from airjax.training.environment import describe
from airjax.training.programs import Kind, make_steps
from airjax.training.run import Arrays, Task, start_run
from airjax.utils.seeds import make_key
from benchmarks.record import add_output_options, save, save_block
from benchmarks.speed import make_noise, warn_of_load
from benchmarks.turns import Turns, summarise, take_turns

FILE = "ablation.jsonl"


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


def gelu_by_erfc(x: Array) -> Array:
    """jax.nn's."""
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
    """With the gradient that JAX derives, in x's own precision."""
    return x * (0.5 + 0.5 * lax.erf(x * 0.5**0.5))


def sliced_and_selected(
    images: Array, translate: int, examples: Array, flips: Array, mirrors: Array, shifts: Array | None
) -> Array:
    """Flip, pad, crop by two passes of slices and selects, and mirror, one after the other and in float32."""
    moved = reflect_pad(mirror_where(images[examples].astype(jnp.float32), flips), translate)
    assert shifts is not None
    for axis in (1, 2):
        slices = [lax.slice_in_dim(moved, s, s + images.shape[1], axis=axis) for s in range(2 * translate + 1)]
        chosen = shifts[:, axis - 1].astype(jnp.int32)
        moved = lax.select_n(jnp.broadcast_to(chosen[:, None, None, None], slices[0].shape), *slices)
    return mirror_where(moved, mirrors)


def product_sums(x: Array) -> Array:
    """One product with ones: fast, but added up one after the other, with an error of 1e-4 and more."""
    rows = x.reshape(-1, x.shape[-1])
    return jnp.dot(jnp.ones(rows.shape[0], x.dtype), rows, precision="highest")


def two_pass_moments(x: Array, reduced_by: Reductions) -> tuple[Array, Array]:
    """The variance from distances to the mean, of half precision, too."""
    return batch_moments(at_least_float32(x), reduced_by)


def one_pass_moments(x: Array, reduced_by: Reductions) -> tuple[Array, Array]:
    """Sums of distances from each channel's first value, and of their squares, side by side."""
    count, x = x.size // x.shape[-1], at_least_float32(x)
    shift = lax.stop_gradient(x[0, 0, 0])
    distances = x - shift.reshape(1, 1, 1, -1)
    mean = reduced_by.sums(distances) / count
    return mean + shift, reduced_by.sums(jnp.square(distances)) / count - jnp.square(mean)


def with_ops(**changes: Callable[..., Any]) -> Callable[[str, Convolution], Ops]:
    """Some functions replaced; each is called as ours is."""
    return lambda platform, convolution: make_ops(platform, convolution)._replace(**changes)


def with_reductions(**changes: Any) -> Callable[[str, Convolution], Ops]:
    """Some sums replaced. Without two_sums there is a reduction for each of two."""

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
    """The gradient that JAX derives."""
    ours = reductions.CPU if platform == "cpu" else reductions.ACCELERATOR

    def batch_norm(x: Array, bias: Array, epsilon: float) -> tuple[Array, Array, Array]:
        # One reduction for two sums has no derivative of its own.
        mean, variance = batch_moments(x, ours._replace(two_sums=lambda x, y: (ours.sums(x), ours.sums(y))))
        return normalize_channels(x, mean, variance, bias, epsilon), mean, variance

    return make_ops(platform, convolution)._replace(batch_norm=batch_norm)


class AllThreads(onednn.Library):
    """The library, but all threads rearrange its kernels."""

    run = onednn.Library.run

    @contextmanager
    def _one_thread(self) -> Iterator[None]:
        yield


@functools.cache
def all_threads() -> AllThreads:
    """One of its own, with convolutions of its own."""
    path = onednn.library_path()
    assert path is not None
    return AllThreads(path)


def run_by_all_threads(_: onednn.Library, task: str, *buffers: Buffer) -> None:
    """What takes the place of the library's own convolutions."""
    all_threads().run(task, *buffers)


AS_IT_IS = "as it is"
# What XLA can capture in a CUDA graph: without convolutions, a loop that has any stays outside.
COMMANDS = "FUSION,CUBLAS,CUBLASLT,CUDNN,CUSTOM_CALL,CONDITIONAL,DYNAMIC_SLICE_FUSION,CONVOLUTION"
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
    "kernels rearranged by all threads": Variant(threads=True, platforms=("cpu",)),
    # How steps are compiled and driven.
    "the compiler's default options": Variant(compiler={}, platforms=("cpu",)),
    "the same, with XLA's convolutions": Variant(convolution="native", compiler={}, platforms=("cpu",)),
    "the state not donated": Variant(donate=False),
    "a call for every step": Variant(driver="loop"),
    "a scan over the steps": Variant(driver="scan", platforms=("cpu",)),
    "a scan, with XLA's convolutions": Variant(driver="scan", convolution="native", platforms=("cpu",)),
    "a scan, unrolled by 4": Variant(unroll=4, platforms=("gpu",)),
    "no command buffers": Variant(compiler={"xla_gpu_enable_command_buffer": ""}, platforms=("gpu",)),
    "loops in command buffers": Variant(
        compiler={"xla_gpu_enable_command_buffer": f"{COMMANDS},WHILE"}, platforms=("gpu",)
    ),
    "convolutions in command buffers": Variant(
        compiler={"xla_gpu_enable_command_buffer": COMMANDS}, platforms=("gpu",)
    ),
    "convolutions in command buffers, side by side": Variant(
        compiler={
            "xla_gpu_enable_command_buffer": COMMANDS,
            "xla_gpu_command_buffer_scheduling_mode": "CONCURRENT",
        },
        platforms=("gpu",),
    ),
    "matrix products by cuBLAS alone": Variant(compiler={"xla_gpu_enable_triton_gemm": False}, platforms=("gpu",)),
    "float32": Variant(precision="float32", platforms=("gpu",)),
    "bfloat16": Variant(precision="bfloat16", platforms=("cpu",)),
    "float16": Variant(precision="float16", platforms=("gpu",)),
}
STEPS = {"cpu": 1, "gpu": 48}  # of a turn: one takes long on a CPU, and on a GPU the host's part of it must not count


def main(arguments: list[str]) -> int:
    """Measure, print, and save the line. Returns the exit code: 1 where a variant failed."""
    parser = argparse.ArgumentParser("python -m benchmarks.ablation", description="A step with each choice undone.")
    parser.add_argument("--recipe", default="mini")
    parser.add_argument("--turns", type=int, default=6, help="turns of each variant")
    parser.add_argument("--steps", type=int, help="steps of a turn; scans need two or more, and are left out with one")
    parser.add_argument("--variant", action="append", choices=VARIANTS, help="only this, besides the step as it is")
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="begin nothing after so many: what is measured is saved"
    )
    add_output_options(parser)
    options = parser.parse_args(arguments)
    platform = jax.default_backend()
    steps = options.steps or STEPS.get(platform, STEPS["gpu"])
    if options.turns < 1 or steps < 1:
        parser.error("--turns and --steps must be at least 1")
    names = [AS_IT_IS]
    for name in options.variant or list(VARIANTS)[1:]:
        if name == AS_IT_IS:
            continue
        if platform in VARIANTS[name].platforms and (VARIANTS[name].driver != "scan" or steps > 1):
            names.append(name)
        elif options.variant:
            parser.error(f"{name!r} is nothing to measure on a {platform} with --steps {steps}")
    load = warn_of_load()
    found = measure(options.recipe, names, options.turns, steps, options.results, options.seconds)
    rows = summarise(found, AS_IT_IS)
    for name, row in rows.items():
        print(line_of(name, row), flush=True)
    if found.left_out:
        print(f"not measured within {options.seconds:g} s: {', '.join(found.left_out)}")
    record = {
        "recipe": options.recipe,
        "n": options.turns,
        "steps_per_turn": steps,
        "steps": rows,
        "left_out": found.left_out,
        "load": load,
    }
    save(options.results, FILE, record | describe())
    return 1 if found.failed else 0


def line_of(name: str, row: dict[str, Any]) -> str:
    """One variant, for a terminal."""
    if "failed" in row:
        return f"{name:44} failed: {row['failed'].splitlines()[0]}"
    ratio = "" if row["ratio"] is None else f"{row['ratio']:6.3f}"
    return f"{name:44} {row['seconds']:9.4f} s  {ratio}"


def measure(name: str, names: list[str], turns: int, steps: int, results: Path, allowed: float) -> Turns:
    """Seconds per step of every turn of each variant; each turn is saved when it is measured."""
    recipe = get_recipe(name)
    data = to_device(make_noise(recipe), recipe)

    def on_turn(variant: str, turn: int, seconds: float) -> None:
        block = {"recipe": name, "variant": variant, "turn": turn, "seconds": seconds / steps}
        save_block(results, "ablation", block)

    makers = {chosen: functools.partial(prepare, VARIANTS[chosen], recipe, data, steps) for chosen in names}
    found = take_turns(makers, turns, on_turn, allowed)
    per_step = {
        chosen: {turn: seconds / steps for turn, seconds in taken.items()} for chosen, taken in found.seconds.items()
    }
    return found._replace(seconds=per_step)


def prepare(variant: Variant, recipe: Recipe, data: Arrays, steps: int) -> Callable[[], None]:
    """A function that takes the first steps of a training once more, compiled as the variant says."""
    recipe = resolve_precision(recipe.override(precision=variant.precision or recipe.precision))
    hyper, key = hyperparameters(recipe), make_key(0)
    take, backend = make_variant(variant, recipe, jax.default_backend(), steps)
    start = functools.partial(start_run, recipe, backend_of(recipe))
    state, draws = compile_function(start, key, data.train_images, hyper)(key, data.train_images, hyper)
    arguments = Task(data.train_images, data.train_labels, draws, hyper), jnp.asarray(steps, jnp.int32)
    with threads_of(variant):
        lowered = jax.jit(take, donate_argnums=0 if variant.donate else ()).lower(state, *arguments)
    if variant.compiler is None:
        program = compile_lowered(lowered)
    else:
        program = lowered.compile(compiler_options=dict(variant.compiler))

    def run() -> None:
        nonlocal state
        state = state._replace(step=jnp.zeros((), jnp.int32))
        with threads_of(variant):
            for _ in range(steps if backend.driver == "loop" else 1):
                state, _ = program(state, *arguments)
            jax.block_until_ready(state)

    return run


def make_variant(variant: Variant, recipe: Recipe, platform: str, steps: int) -> tuple[Callable[..., Any], Backend]:
    """The function of a call of so many steps, and what it computes with on a platform."""
    convolution = variant.convolution or default_convolution(PRECISIONS[recipe.precision].compute, platform)
    ours = make_backend(recipe.precision, platform, convolution, variant.driver)
    backend = ours._replace(ops=variant.ops(platform, convolution), unroll=variant.unroll)
    return make_steps(recipe, backend, Kind(variant.frozen, steps), variant.batch_at), backend


@contextmanager
def threads_of(variant: Variant) -> Iterator[None]:
    """While it lasts, oneDNN's kernels are rearranged as the variant says."""
    if not variant.threads:
        yield
        return
    with mock.patch.object(onednn.Library, "run", run_by_all_threads):
        yield


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]), keep_running=True)
