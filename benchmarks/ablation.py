"""What each choice inside a training step is worth here: the step with one choice undone, against the step as it is.

`python -m benchmarks.ablation --recipe 94` compiles every variant, then lets them take turns, one step each, forward
and backward through the list; images are noise. One line in results/ablation.jsonl: medians, and the ratio to the step
as it is, of the same turns.
"""

import argparse
import functools
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from airjax import layers
from airjax.driver import COMPILER_OPTIONS, convolution_for
from airjax.environment import describe
from airjax.images import mirror_where, reflect_pad
from airjax.layers import Convolution
from airjax.optimizer import hyperparameters
from airjax.precision import resolve_precision
from airjax.recipe import IMAGE_SIZE, Recipe, get_recipe
from airjax.run import advance, start_run
from benchmarks.record import keep


class Variant(NamedTuple):
    """A step with something undone."""

    patches: dict[str, Callable[..., Any]]  # names of functions, and what stands in for them while it is traced
    convolution: Convolution | None = None  # None: the backend's choice
    train_whiten_bias: bool = False
    default_compiler: bool = False


def gelu_by_erfc(x: Array) -> Array:
    """jax.nn's."""
    return jax.nn.gelu(x, approximate=False)


def whole_conv_pool(x: Array, kernel: Array, convolution: Any = "native") -> Array:
    """Every row and column is computed, and the pool drops the last."""
    return layers.max_pool(layers.conv_same(x, kernel, convolution), 2)


def window_max_pool(x: Array, size: int) -> Array:
    """XLA's own operation, with its own gradient."""
    window = (1, size, size, 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")


def sliced_and_selected(
    recipe: Recipe, images: Array, examples: Array, flips: Array, mirrors: Array, shifts: Array | None
) -> Array:
    """Flip, pad, crop by two passes of slices and selects, and mirror, one after the other and in float32."""
    moved = reflect_pad(mirror_where(images[examples].astype(jnp.float32), flips), recipe.translate)
    assert shifts is not None
    for axis in (1, 2):
        slices = [lax.slice_in_dim(moved, s, s + IMAGE_SIZE, axis=axis) for s in range(2 * recipe.translate + 1)]
        chosen = shifts[:, axis - 1].astype(jnp.int32)
        moved = lax.select_n(jnp.broadcast_to(chosen[:, None, None, None], slices[0].shape), *slices)
    return mirror_where(moved, mirrors)


def plain_sums(x: Array) -> Array:
    """XLA's own sums."""
    return x.sum((0, 1, 2))


def product_sums(x: Array) -> Array:
    """One product with ones: fast, but added up one after the other, with an error of 1e-4 and more."""
    rows = x.reshape(-1, x.shape[-1])
    return jnp.dot(jnp.ones(rows.shape[0], x.dtype), rows, precision="highest")


def autodiff_batch_norm(x: Array, bias: Array, epsilon: float) -> tuple[Array, Array, Array]:
    """The gradient that JAX derives."""
    mean, variance = layers.batch_moments(x)
    return layers.normalize_channels(x, mean, variance, bias, epsilon), mean, variance


def one_pass_moments(x: Array) -> tuple[Array, Array]:
    """Sums of distances from each channel's first value, and of their squares, side by side."""
    count = x.size // x.shape[-1]
    shift = lax.stop_gradient(x[0, 0, 0])
    distances = x - shift.reshape(1, 1, 1, -1)
    mean = layers.channel_sums(distances) / count
    return mean + shift, layers.channel_sums(jnp.square(distances)) / count - jnp.square(mean)


VARIANTS = {
    "as it is": Variant({}),
    "XLA's convolutions": Variant({}, convolution="native"),
    "convolutions by matrix products": Variant({}, convolution="matmul"),
    "the compiler's default options": Variant({}, default_compiler=True),
    "the first layer's gradient": Variant({}, train_whiten_bias=True),
    "GELU from erfc": Variant({"airjax.model.gelu": gelu_by_erfc}),
    "whole convolutions before a pool": Variant({"airjax.model.conv_pool": whole_conv_pool}),
    "XLA's pool": Variant({"airjax.layers.max_pool": window_max_pool, "airjax.model.max_pool": window_max_pool}),
    "crops by slices and selects": Variant({"airjax.images.take_moved": sliced_and_selected}),
    "XLA's sums over pixels": Variant({"airjax.layers.channel_sums": plain_sums}),
    "sums over pixels in one product": Variant({"airjax.layers.channel_sums": product_sums}),
    "moments in one pass": Variant({"airjax.layers.batch_moments": one_pass_moments}),
    "BatchNorm's gradient by autodiff": Variant({"airjax.model.batch_norm": autodiff_batch_norm}),
}


def main(arguments: list[str]) -> int:
    """Measure, print, and keep the line. Returns the exit code."""
    parser = argparse.ArgumentParser("python -m benchmarks.ablation", description="A step with each choice undone.")
    parser.add_argument("--recipe", default="mini")
    parser.add_argument("--turns", type=int, default=6, help="steps of each variant")
    parser.add_argument("--variant", action="append", choices=VARIANTS, help="only this, besides the step as it is")
    parser.add_argument("--no-keep", action="store_true", help="print, and leave the results alone")
    options = parser.parse_args(arguments)
    if options.turns < 1:
        parser.error("--turns must be at least 1")
    names = ["as it is", *(options.variant or list(VARIANTS)[1:])]
    seconds = measure(options.recipe, names, options.turns)
    own = seconds["as it is"]
    rows = {}
    for name, taken in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(taken, own, strict=True))
        rows[name] = {"seconds": statistics.median(taken), "ratio": ratio}
        print(f"{name:34} {rows[name]['seconds']:9.4f} s  {ratio:6.3f}", flush=True)
    if not options.no_keep:
        keep("ablation.jsonl", {"recipe": options.recipe, "n": options.turns, "steps": rows, **describe()})
    return 0


def measure(name: str, names: list[str], turns: int) -> dict[str, list[float]]:
    """Seconds of every turn of each variant."""
    recipe = resolve_precision(get_recipe(name))
    generator = np.random.default_rng(0)
    images = jnp.asarray(generator.integers(0, 256, (recipe.train_examples, 32, 32, 3), np.uint8))
    labels = jnp.asarray(generator.integers(0, 10, recipe.train_examples), jnp.int32)
    hyper = hyperparameters(recipe)
    state, draws = jax.jit(functools.partial(start_run, recipe))(jax.random.key(0), images, hyper)
    programs = {}
    for chosen in names:
        variant = VARIANTS[chosen]
        step = functools.partial(
            advance,
            recipe,
            train_whiten_bias=variant.train_whiten_bias,
            convolution=variant.convolution or convolution_for(recipe),
        )
        with patched(variant):
            lowered = jax.jit(step).lower(state, images, labels, draws, hyper)
        compiler = None if variant.default_compiler else COMPILER_OPTIONS.get(jax.default_backend())
        programs[chosen] = lowered.compile(compiler_options=compiler)
        jax.block_until_ready(programs[chosen](state, images, labels, draws, hyper))
    seconds: dict[str, list[float]] = {chosen: [] for chosen in names}
    for turn in range(turns):
        for chosen in names if turn % 2 == 0 else reversed(names):
            began = time.perf_counter()
            jax.block_until_ready(programs[chosen](state, images, labels, draws, hyper))
            seconds[chosen].append(time.perf_counter() - began)
    return seconds


@contextmanager
def patched(variant: Variant) -> Iterator[None]:
    """While it lasts, the variant's functions stand in for ours."""
    patches = [mock.patch(target, function) for target, function in variant.patches.items()]
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
