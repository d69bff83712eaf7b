"""Where a step's time goes: the compiler's operations, by what they are for. On a CPU, on one of its cores.

XLA's profiler writes down when each compiled operation runs; the compiled program says which line of the network it
came from, through the names of its scopes. An operation that was fused of several counts for its last one. On several
cores a CPU runs operations side by side, and none of them has a time of its own.
"""

import argparse
import functools
import os
import re
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax

from airjax.optim.hyperparameters import hyperparameters
from airjax.recipes.published import get_recipe
from airjax.recipes.recipe import Recipe
from airjax.training.arrays import to_device
from airjax.training.backend import backend_of, resolve_precision
from airjax.training.compile import compiler_options
from airjax.training.environment import describe
from airjax.training.run import Task, advance, start_run
from airjax.utils.records import dump_json
from airjax.utils.seeds import make_key
from benchmarks.record import add_output_options, save
from benchmarks.speed import command_line, make_noise, warn_of_load
from parity.gpu import gpu_name
from parity.worker import Worker

FILE = "profile.jsonl"
INSTRUCTION = re.compile(r'^\s*(?:ROOT )?%?([\w.-]+) = .*?metadata=\{op_name="((?:[^"\\]|\\.)*)"', re.MULTILINE)
# The first that is found in an operation's name decides.
PARTS = (
    ("the batch: chosen, moved, normalised", re.compile(r"/batch/")),
    ("convolutions", re.compile(r"/conv/")),
    ("BatchNorm", re.compile(r"/norm\d/")),
    ("pools", re.compile(r"/pool/")),
    ("GELU", re.compile(r"/gelu/")),
    ("head, loss", re.compile(r"jvp\(")),
)
REST = "optimizer, lookahead, metrics"
UNNAMED = "copies and other operations without a name"


def main(arguments: list[str]) -> int:
    """Profile steps of a recipe, print the table, and keep the record. Returns the exit code."""
    parser = argparse.ArgumentParser("python -m benchmarks profile", description="Where a step's time goes.")
    parser.add_argument("--recipe", default="94", metavar="NAME")
    parser.add_argument(
        "--precision", choices=("auto", "float32", "bfloat16", "float16"), default="auto", help="of the training"
    )
    parser.add_argument("--steps", type=int, default=5, metavar="N", help="steps that are profiled, after two others")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    add_output_options(parser)
    options = parser.parse_args(arguments)
    if options.steps < 1:
        raise ValueError(f"steps is {options.steps}, but it must be at least 1")
    load, recipe = warn_of_load(), get_recipe(options.recipe).override(precision=options.precision)
    with Worker("profile", make_answer, recipe) as process:
        seconds, wall, told = process.ask(options.steps, "steps")
    total = sum(seconds.values())
    for (part, direction), taken in seconds.items():
        print(f"{part:44} {direction:9} {taken:10.6f} s  {taken / total:6.1%}")
    print(f"a step took {wall:.6f} s while it was profiled")
    record = {
        "recipe": options.recipe,
        "n": options.steps,
        "seconds_per_step": wall,
        "parts": [
            {"part": part, "direction": direction, "seconds": taken} for (part, direction), taken in seconds.items()
        ],
        "command": command_line("profile", arguments),
        "load": load,
        **told,
    }
    save(options.results, FILE, record)
    if options.json:
        print(dump_json(record), flush=True)
    return 0


def make_answer(recipe: Recipe) -> Callable[[int], Any]:
    """Return what a worker process answers with: measure's results, and what it ran on. On a CPU it has one core."""
    if gpu_name() is None:
        # Before JAX and OpenMP count them. With a GPU the cores are for its compiler.
        if hasattr(os, "sched_setaffinity"):  # not everywhere
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        os.environ["OMP_NUM_THREADS"] = "1"
    resolved = resolve_precision(recipe)
    told = {"precision": resolved.precision} | describe()  # before anything is measured
    return lambda steps: (*measure(resolved, steps), told)


def measure(recipe: Recipe, steps: int) -> tuple[dict[tuple[str, str], float], float]:
    """Return seconds per step of each (part, direction), the longest first, and of a whole step by the clock."""
    arrays, hyper, backend = to_device(make_noise(recipe), recipe), hyperparameters(recipe), backend_of(recipe)
    state, draws = jax.jit(functools.partial(start_run, recipe, backend))(make_key(0), arrays.train_images, hyper)
    task = Task(arrays.train_images, arrays.train_labels, draws, hyper)
    step = functools.partial(advance, recipe, backend, frozen=("whiten_bias",))
    options: dict[str, str | bool] = compiler_options(backend.platform)
    if jax.default_backend() == "gpu":
        options = {"xla_gpu_enable_command_buffer": ""}  # inside one, operations have no names
    program = jax.jit(step, donate_argnums=0).lower(state, task).compile(compiler_options=options)
    for _ in range(2):
        state, _ = jax.block_until_ready(program(state, task))
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            began = time.perf_counter()
            for _ in range(steps):
                state, _ = program(state, task)
            jax.block_until_ready(state)
            wall = (time.perf_counter() - began) / steps
        [file] = Path(folder).rglob("*.xplane.pb")
        operations = seconds_of_operations(device_planes(jax.profiler.ProfileData.from_file(str(file)).planes))
    names = names_of_operations(program.as_text() or "")
    totals: dict[tuple[str, str], float] = defaultdict(float)
    for operation, taken in operations.items():
        totals[part_of(names.get(operation))] += taken / steps
    return dict(sorted(totals.items(), key=lambda item: -item[1])), wall


def names_of_operations(text: str) -> dict[str, str]:
    """Return a compiled program as text -> the name of each of its operations: scopes, and the JAX operation at the
    end.
    """
    return dict(INSTRUCTION.findall(text))


def part_of(name: str | None) -> tuple[str, str]:
    """Return what a training step's operation is for, and whether it is of the forward or the backward pass."""
    if name is None:
        return UNNAMED, ""
    part = next((part for part, pattern in PARTS if pattern.search(name)), REST)
    return part, "backward" if "transpose(" in name else "forward" if "jvp(" in name else ""


def device_planes(planes: Iterable[Any]) -> list[Any]:
    """Return the planes of a GPU's own events where there are any: the host's repeat operations' names. Else all."""
    found = list(planes)
    return [plane for plane in found if plane.name.startswith("/device:GPU")] or found


def seconds_of_operations(planes: Iterable[Any]) -> dict[str, float]:
    """Return seconds of each compiled operation in all of a profile; of a moment with several at work each has its
    part.

    A CPU's operation may end on another thread than it began on: then it took until the event that says so.
    """
    spans: list[tuple[float, float, str]] = []
    began: dict[int, tuple[float, float, str]] = {}
    ended: dict[int, float] = {}
    for plane in planes:
        for line in plane.lines:
            for event in line.events:
                facts = dict(event.stats)
                if "hlo_op" in facts and "_p" in facts:
                    began[facts["_p"]] = (event.start_ns, event.end_ns, facts["hlo_op"])
                elif "hlo_op" in facts:
                    spans.append((event.start_ns, event.end_ns, facts["hlo_op"]))
                elif event.name.startswith("end: "):
                    ended[facts["_c"]] = event.start_ns
    spans += [(start, max(end, ended.get(number, end)), name) for number, (start, end, name) in began.items()]
    return shared_time(spans)


def shared_time(spans: Iterable[tuple[float, float, str]]) -> dict[str, float]:
    """Return seconds of each name from (start, end, name) in nanoseconds: a moment is divided among those at work in
    it. A span without length takes nothing.
    """
    lasting = [span for span in spans if span[1] > span[0]]  # the end of another would come before its start
    bounds = sorted((at, change, name) for start, end, name in lasting for at, change in ((start, 1), (end, -1)))
    totals: dict[str, float] = defaultdict(float)
    active: Counter[str] = Counter()
    before = 0.0
    for at, change, name in bounds:
        for other, count in active.items():
            totals[other] += (at - before) * 1e-9 * count / active.total()
        before = at
        active[name] += change
        if not active[name]:
            del active[name]
    return dict(totals)
