"""What two choices are worth on this device: the driver, and the compiler's options. One line in results/choices.jsonl.

`python -m benchmarks.choices --recipe mini --steps 10` times a training step in the loop driver and inside a scan, with
the compiler's options of `airjax.driver` and without, on images of noise; each is the median of three.
"""

import argparse
import functools
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from airjax.driver import COMPILER_OPTIONS
from airjax.environment import describe
from airjax.optimizer import hyperparameters
from airjax.precision import resolve_precision
from airjax.recipe import get_recipe
from airjax.run import advance, advance_many, start_run
from benchmarks.record import keep

REPEATS = 3
DRIVERS = ("loop", "scan")


def main(arguments: list[str]) -> int:
    """Measure, print, and keep the line. Returns the exit code."""
    parser = argparse.ArgumentParser("python -m benchmarks.choices", description="Seconds of a step, four ways.")
    parser.add_argument("--recipe", default="mini")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--driver", action="append", choices=DRIVERS, help="only this one")
    options = parser.parse_args(arguments)
    recipe = resolve_precision(get_recipe(options.recipe))
    generator = np.random.default_rng(0)
    images = jnp.asarray(generator.integers(0, 256, (recipe.train_examples, 32, 32, 3), np.uint8))
    labels = jnp.asarray(generator.integers(0, 10, recipe.train_examples), jnp.int32)
    hyper = hyperparameters(recipe)
    state, draws = jax.jit(functools.partial(start_run, recipe))(jax.random.key(0), images, hyper)
    rest = (images, labels, draws, hyper)
    seconds = {}
    for name, compiler_options in (("chosen", COMPILER_OPTIONS.get(jax.default_backend())), ("default", None)):
        one = functools.partial(advance, recipe, train_whiten_bias=True)
        many = functools.partial(advance_many, recipe, train_whiten_bias=True, num_steps=options.steps)
        for driver, function, calls in (("loop", one, options.steps), ("scan", many, 1)):
            if driver not in (options.driver or DRIVERS):
                continue
            compiled = jax.jit(function).lower(state, *rest).compile(compiler_options=compiler_options)
            seconds[f"{driver}, {name} options"] = _step_seconds(compiled, state, rest, calls, options.steps)
            print(f"{driver}, {name} options: {seconds[f'{driver}, {name} options']:.4f} s per step", flush=True)
    keep("choices.jsonl", {"recipe": options.recipe, "n": REPEATS, "seconds_per_step": seconds, **describe()})
    return 0


def _step_seconds(compiled: Callable[..., Any], state: Any, rest: tuple[Any, ...], calls: int, steps: int) -> float:
    def run() -> float:
        began, current = time.perf_counter(), state
        for _ in range(calls):
            current, _ = compiled(current, *rest)
            jax.block_until_ready(current)
        return (time.perf_counter() - began) / steps

    run()
    return statistics.median(run() for _ in range(REPEATS))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
