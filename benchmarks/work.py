"""Timed work in airjax, with the programs of its trainings; and the way to every implementation."""

import functools
import math
import re
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from airjax.augment.batch import batch_at
from airjax.augment.draws import Draws
from airjax.optim.hyperparameters import hyperparameters
from airjax.recipes.recipe import Recipe
from airjax.training.arrays import to_device
from airjax.training.backend import backend_of, resolve_precision
from airjax.training.compile import compile_function
from airjax.training.eval_plans import eval_plan
from airjax.training.evaluate import batched_logits, compile_evaluation, compile_logits
from airjax.training.loop import train, wait
from airjax.training.members import make_members, strategy_backend
from airjax.training.programs import Kind, kinds_of, plan_calls, programs_of, steps_per_call
from airjax.training.run import Task, start_run
from airjax.training.step import TrainState, variables_of
from airjax.utils.platform import default_platform
from airjax.utils.seeds import make_key, make_keys
from parity.environment import start_jax
from parity.timing import (
    COPY_BYTES,
    MATMUL_SIZE,
    Facts,
    Prepared,
    TimedPhase,
    TimedWork,
    fastest_call,
    host_peak_bytes,
    rate_in_bfloat16,
    timed_phases,
)


def make_answer(work: TimedWork) -> Callable[[int | None], Any]:
    """Make the function that a process of its own answers with: a block's seconds for its number, or Facts for None."""
    if work.implementation == "airjax":
        start_jax(work.device)
        ready, tell = prepare(work), facts
    else:
        # Not above: airjax's process does without torch.
        from parity import speed

        ready, tell = speed.prepare(work), speed.facts
    return lambda number: tell(work, ready) if number is None else ready.block(number)


def prepare(work: TimedWork) -> Prepared:
    """Everything before the first block."""
    resolved = work._replace(recipe=resolve_precision(work.recipe))
    match work.task:
        case "step":
            return _prepare_step(resolved)
        case "run":
            return _prepare_run(resolved)
        case "evaluate":
            return _prepare_evaluate(resolved)
        case "augment":
            return _prepare_augment(resolved)


def facts(work: TimedWork, ready: Prepared) -> Facts:
    """Return what to tell after the last block."""
    peak = peak_bytes()
    precision = resolve_precision(work.recipe).precision
    size, half = MATMUL_SIZE[work.device], rate_in_bfloat16(work.device, precision)
    dtype = jnp.bfloat16 if half else jnp.float32
    matmul_rate, copy_rate = measure_rates(size, dtype, COPY_BYTES[work.device])
    return Facts(
        ready.compile_seconds,
        peak,
        ready.traffic_bytes,
        matmul_rate,
        copy_rate,
        precision,
    )


def measure_rates(size: int, dtype: Any, copy_bytes: int) -> tuple[float, float]:
    """FLOP/s of the product of two matrices [size, size], and bytes per second of a copy, read and written."""
    # Random: a processor multiplies constants faster than what networks consist of.
    a, b = (random_matrix(number, size, dtype) for number in range(2))
    vector = jnp.ones(copy_bytes // 4, jnp.float32)
    product, copy = compile_function(jnp.matmul, a, b), compile_function(lambda x: x + 1, vector)
    device = "cpu" if default_platform() == "cpu" else "cuda"
    matmul_seconds = fastest_call(device, _seconds, lambda: product(a, b))
    copy_seconds = fastest_call(device, _seconds, lambda: copy(vector))
    return 2 * size**3 / matmul_seconds, 2 * copy_bytes / copy_seconds


def random_matrix(seed: int, size: int, dtype: Any) -> jax.Array:
    """[size, size], uniform in [0, 1)."""
    return jnp.asarray(np.random.default_rng(seed).random((size, size), np.float32), dtype)


def peak_bytes() -> int:
    """Largest memory of this process so far: of its device, or on a CPU of the process."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return stats.get("peak_bytes_in_use") or host_peak_bytes()


def _prepare_step(work: TimedWork) -> Prepared:
    recipe, arrays = work.recipe, to_device(work.data, work.recipe)
    backend, members = strategy_backend(recipe, "sequential"), make_members(recipe, make_keys([0]))
    parts = timed_phases(recipe, work.steps)
    limits = {part.name: steps_per_call(recipe, backend, part.image_size) or part.steps for part in parts}
    kinds = {part.name: Kind(part.frozen, limits[part.name], part.image_size) for part in parts}
    start = time.perf_counter()
    programs = programs_of(recipe, backend, "sequential", (members, arrays.train_images, arrays.train_labels))
    programs.compile(dict.fromkeys(kinds.values()))
    programs.launch_kernels(kinds.values())
    compile_seconds = time.perf_counter() - start
    state, draws = programs.start(members, arrays.train_images)
    task = Task(arrays.train_images, arrays.train_labels, draws, members.hyper)

    def steps(part: TimedPhase) -> None:
        nonlocal state
        recent: list[Any] = []
        limit = limits[part.name]
        for first in range(0, part.steps, limit):
            count = min(limit, part.steps - first)
            state, metrics = programs.advance(kinds[part.name])(state, task, np.int32(count))
            recent.append(wait(metrics, count, backend.driver, recent))
        jax.block_until_ready(state)

    def block(_: int) -> dict[str, float]:
        nonlocal state
        seconds = {}
        for part in parts:
            # Every block takes the same steps of the schedule.
            state = jax.block_until_ready(state._replace(step=jnp.asarray([part.first], jnp.int32)))
            seconds[part.name] = _seconds(lambda part=part: steps(part)) / part.steps
        return seconds

    # The compiler counts a loop's body once.
    counted = [_traffic(programs.advance(kinds[part.name])) for part in parts]
    known = [count for count in counted if count is not None]
    traffic = sum(part.fraction * count for part, count in zip(parts, known, strict=True)) if known == counted else None
    return Prepared(compile_seconds, block, traffic)


def _prepare_run(work: TimedWork) -> Prepared:
    recipe, backend = work.recipe, strategy_backend(work.recipe, "sequential")
    arrays, members = to_device(work.data, recipe), make_members(recipe, make_keys([0]))
    start = time.perf_counter()
    programs = programs_of(recipe, backend, "sequential", (members, arrays.train_images, arrays.train_labels))
    programs.compile(kinds_of(plan_calls(recipe, backend)))
    level = recipe.evaluation.tta_level
    compile_evaluation(recipe, level, backend, eval_plan(recipe, backend), arrays.test_images)
    compile_seconds = time.perf_counter() - start

    def block(number: int) -> dict[str, float]:
        seconds = train(recipe, work.data, number).seconds
        return {part: seconds[part] for part in ("whiten", "train", "evaluate")}

    return Prepared(compile_seconds, block)


def _prepare_evaluate(work: TimedWork) -> Prepared:
    recipe, backend, arrays = work.recipe, backend_of(work.recipe), to_device(work.data, work.recipe)
    variables = variables_of(_started(recipe, arrays.train_images)[0])
    start = time.perf_counter()
    level, plan = recipe.evaluation.tta_level, eval_plan(recipe, backend)
    compile_evaluation(recipe, level, backend, plan, arrays.test_images)
    compiled = compile_logits(recipe, level, backend, plan)
    compile_seconds = time.perf_counter() - start
    passes = -(-recipe.test_examples // plan.batch)

    def block(_: int) -> dict[str, float]:
        return {"evaluate": _seconds(lambda: batched_logits(recipe, backend, variables, arrays.test_images, level))}

    # The compiler counts a loop's body once. Where images are selected, there are two programs, and none is counted.
    counted = None if recipe.evaluation.selects(level) else _traffic(compiled)
    return Prepared(compile_seconds, block, None if counted is None else passes * counted)


def _prepare_augment(work: TimedWork) -> Prepared:
    recipe, arrays = work.recipe, to_device(work.data, work.recipe)
    _, draws = _started(recipe, arrays.train_images)
    numbers = jnp.arange(recipe.steps_per_epoch, dtype=jnp.int32)
    rest, dtype = (arrays.train_images, arrays.train_labels, draws), backend_of(recipe).precision.compute

    def batch(step: jax.Array, images: Any, labels: Any, draws: Any) -> jax.Array:
        return batch_at(recipe, images, labels, draws, step, dtype=dtype).images

    def epoch(steps: jax.Array, *rest: Any) -> jax.Array:
        return jax.lax.map(lambda step: batch(step, *rest), steps)

    # On a CPU batch by batch, as PyTorch has it there; elsewhere inside one program, as training has it.
    looped = jax.default_backend() == "cpu"
    start = time.perf_counter()
    compiled = compile_function(batch, numbers[0], *rest) if looped else compile_function(epoch, numbers, *rest)
    compile_seconds = time.perf_counter() - start

    def block(_: int) -> dict[str, float]:
        calls = list(numbers) if looped else [numbers]
        return {"augment": _seconds(lambda: [compiled(call, *rest) for call in calls])}

    return Prepared(compile_seconds, block)


def _started(recipe: Recipe, images: jax.Array) -> tuple[TrainState, Draws]:
    arguments = (make_key(0), images, hyperparameters(recipe))
    return compile_function(functools.partial(start_run, recipe, backend_of(recipe)), *arguments)(*arguments)


def _traffic(compiled: Any) -> float | None:
    # None where the compiler counts nothing, as XLA does for some GPUs.
    counted = (compiled.cost_analysis() or {}).get("bytes accessed")
    if counted is None:
        return None
    # The compiler counts nothing for another library's convolutions: their operands and results.
    calls = [line for line in compiled.as_text().splitlines() if 'custom_call_target="airjax_' in line]
    arrays = [array for line in calls for array in re.findall(r"(b?f)\d+\[([\d,]+)\]", line)]
    return counted + sum({"f": 4, "bf": 2}[kind] * math.prod(map(int, shape.split(","))) for kind, shape in arrays)


def _seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start
