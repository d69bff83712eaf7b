"""What each choice about a training step is worth here: the step with one choice undone, against the step as it is.

`python -m benchmarks.ablation --recipe 94` compiles every variant that this kind of device has, then lets them take
turns, some steps each, forward and backward through the list; images are noise. One line in ablation.jsonl:
medians, and the ratio to the step as it is, of the same turns. Choices are those inside the step, how the compiler is
asked for it, how the steps are driven, and the precision.
"""

import argparse
import functools
import sys
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from airjax.cli.console import run_main
from airjax.cli.stopping import exit_code_of
from airjax.recipes.published import get_recipe
from airjax.recipes.recipe import Recipe
from airjax.training.arrays import to_device
from airjax.training.backend import backend_of, resolve_precision
from airjax.training.compile import compile_function, compile_lowered, compiler_options, tries_options
from airjax.training.environment import describe
from airjax.training.members import STRATEGIES, Strategy, make_members, over_members
from airjax.training.run import Arrays, Task, start_run
from airjax.utils.seeds import make_keys
from benchmarks.ablation_variants import AS_IT_IS, VARIANTS, Variant, make_variant, undone
from benchmarks.kernels import check_group
from benchmarks.record import add_output_options, save, save_block
from benchmarks.speed import make_noise, warn_of_load
from benchmarks.turns import Turns, summarise, take_turns

FILE = "ablation.jsonl"


STEPS = {"cpu": 1, "gpu": 48}  # of a turn: one takes long on a CPU, and on a GPU the host's part of it must not count


def main(arguments: list[str]) -> int:
    """Measure, print, and save the line. Returns the exit code: 1 where a variant failed."""
    parser = argparse.ArgumentParser("python -m benchmarks.ablation", description="A step with each choice undone.")
    parser.add_argument("--recipe", default="mini")
    parser.add_argument("--turns", type=int, default=6, help="turns of each variant")
    parser.add_argument("--steps", type=int, help="steps of a turn; scans need two or more, and are left out with one")
    parser.add_argument("--strategy", choices=STRATEGIES, default="sequential", help="how several networks are trained")
    parser.add_argument("--members", type=int, default=1, metavar="K", help="networks at once; one by default")
    parser.add_argument("--variant", action="append", choices=VARIANTS, help="only this, besides the step as it is")
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="begin nothing after so many: what is measured is saved"
    )
    add_output_options(parser)
    options = parser.parse_args(arguments)
    try:
        check_group(options.strategy, options.members)
    except ValueError as error:
        parser.error(str(error))
    platform = jax.default_backend()
    steps = options.steps or STEPS.get(platform, STEPS["gpu"])
    if options.turns < 1 or steps < 1:
        parser.error("--turns and --steps must be at least 1")
    recipe, names = get_recipe(options.recipe), [AS_IT_IS]
    for name in options.variant or list(VARIANTS)[1:]:
        if name == AS_IT_IS:
            continue
        variant = VARIANTS[name]
        possible = platform in variant.platforms and options.strategy in variant.strategies and variant.concerns(recipe)
        if possible and (variant.driver != "scan" or steps > 1):
            names.append(name)
        elif options.variant:
            parser.error(f"{name!r} is nothing to measure of {options.recipe} on a {platform} with --steps {steps}")
    group = Group(options.strategy, options.members)
    # Before anything is measured: later another commit may be there.
    header = {
        "run": uuid.uuid4().hex,
        "recipe": options.recipe,
        **group._asdict(),
        "precision": resolve_precision(recipe).precision,  # of the step as it is
        "n": options.turns,
        "steps_per_turn": steps,
        "load": warn_of_load(),
        **describe(),
    }
    with warnings.catch_warnings(record=True) as caught:
        found = measure(header, group, names, options.results, options.seconds)
    warned = [str(warning.message) for warning in caught]
    for message in warned:
        print(f"warning: {message}", file=sys.stderr)
    rows = summarise(found, AS_IT_IS)
    for name, row in rows.items():
        print(line_of(name, row), flush=True)
    if found.left_out:
        print(f"not measured within {options.seconds:g} s: {', '.join(found.left_out)}")
    record = header | {"steps": rows, "left_out": found.left_out, "warnings": warned}
    save(options.results, FILE, record | ({"interrupted": True} if found.interrupted else {}))
    if found.interrupted is not None:
        print("interrupted; the turns that were measured are kept", file=sys.stderr)
        return exit_code_of(found.interrupted)
    return 1 if found.failed else 0


def line_of(name: str, row: dict[str, Any]) -> str:
    """Return one variant, for a terminal."""
    if "failed" in row:
        return f"{name:44} failed: {row['failed'].splitlines()[0]}"
    ratio = "" if row["ratio"] is None else f"{row['ratio']:6.3f}"
    return f"{name:44} {row['seconds']:9.4f} s  {ratio}"


class Group(NamedTuple):
    """The networks that take a step."""

    strategy: Strategy
    members: int


def measure(header: dict[str, Any], group: Group, names: list[str], results: Path, allowed: float) -> Turns:
    """Return seconds per step of every turn of each variant; each is saved when it is measured, with the header."""
    recipe, steps = get_recipe(header["recipe"]), header["steps_per_turn"]
    data = to_device(make_noise(recipe), recipe)

    def on_turn(variant: str, turn: int, seconds: float) -> None:
        save_block(results, "ablation", header | {"variant": variant, "turn": turn, "seconds": seconds / steps})

    makers = {chosen: functools.partial(prepare, VARIANTS[chosen], recipe, group, data, steps) for chosen in names}
    found = take_turns(makers, header["n"], on_turn, allowed)
    per_step = {
        chosen: {turn: seconds / steps for turn, seconds in taken.items()} for chosen, taken in found.seconds.items()
    }
    return found._replace(seconds=per_step)


def prepare(variant: Variant, recipe: Recipe, group: Group, data: Arrays, steps: int) -> Callable[[], None]:
    """Return a function that takes the first steps of a training once more, compiled as the variant says."""
    recipe = resolve_precision(recipe.override(precision=variant.precision or recipe.precision))
    members = make_members(recipe, make_keys(range(group.members)))
    take, backend = make_variant(variant, recipe, jax.default_backend(), steps, group.strategy)
    one = functools.partial(start_run, recipe, backend_of(recipe))
    start = over_members(group.strategy, one, (True, False, True))
    arrays = members.keys, data.train_images, members.hyper
    state, draws = compile_function(start, *arrays)(*arrays)
    arguments = Task(data.train_images, data.train_labels, draws, members.hyper), jnp.asarray(steps, jnp.int32)
    with undone(variant):
        lowered = jax.jit(take, donate_argnums=0 if variant.donate else ()).lower(state, *arguments)
    platform = jax.default_backend()
    options = compiler_options(platform, backend.convolution) if variant.compiler is None else {**variant.compiler}
    if tries_options(platform, None):  # as a training does: a graph cannot capture what has not run before
        state, _ = compile_lowered(lowered, convolution=backend.convolution)(state, *arguments)
    program = lowered.compile(compiler_options=options)

    def run() -> None:
        nonlocal state
        state = state._replace(step=jnp.zeros(group.members, jnp.int32))
        with undone(variant):
            for _ in range(steps if backend.driver == "loop" else 1):
                state, _ = program(state, *arguments)
            jax.block_until_ready(state)

    return run


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]), keep_running=True)
