"""Implementations measured in turn, A B then B A: each in a process of its own, which works while the others wait.

An implementation that fails is left out from then on, with its reason; the others go on.
"""

import contextlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.verdict import compare, spread
from benchmarks.work import make_answer
from parity.timing import Facts, ImplementationName, TimedWork, timed_phases
from parity.worker import Worker, WorkerError

Parts = dict[str, float]  # seconds of the parts of one result


class Measured(NamedTuple):
    """What was measured of one implementation."""

    blocks: list[Parts]  # one for each round
    facts: Facts


class Rounds(NamedTuple):
    """What was measured of every implementation that lasted, and why the others failed."""

    measured: dict[ImplementationName, Measured]
    failed: dict[ImplementationName, str]


def measure(
    works: list[TimedWork],
    repeats: int,
    warmups: int,
    on_block: Callable[[int, ImplementationName, Parts], None],
    allowed: float = float("inf"),
) -> Rounds:
    """Do every work's block once in each of `repeats` rounds, after `warmups` that do not count.

    Rounds count from 0, warm-ups from -warmups. No round begins that would end later than `allowed` seconds after the
    start, by the longest round so far; the first that counts is done in any case.
    """
    began, longest = time.monotonic(), 0.0
    blocks: dict[ImplementationName, list[Parts]] = {work.implementation: [] for work in works}
    failed: dict[ImplementationName, str] = {}
    with contextlib.ExitStack() as stack:
        workers: dict[ImplementationName, Worker[int | None, Any]] = {
            work.implementation: stack.enter_context(Worker(work.implementation, make_answer, work)) for work in works
        }

        def ask(implementation: ImplementationName, question: int | None, subject: str) -> Any:
            try:
                return workers[implementation].ask(question, subject)
            except WorkerError as error:
                failed[implementation] = str(error)
                del workers[implementation]
                return None

        for number in range(-warmups, repeats):
            start = time.monotonic()
            if number > 0 and start + longest > began + allowed:
                break
            for implementation in list(workers) if number % 2 == 0 else list(workers)[::-1]:
                # The seed of a training: not negative.
                parts = ask(implementation, number + warmups, f"block {number}")
                if parts is None:
                    continue
                if number >= 0:
                    blocks[implementation].append(parts)
                on_block(number, implementation, parts)
            longest = max(longest, time.monotonic() - start) if number >= 0 else 0.0
        measured: dict[ImplementationName, Measured] = {}
        for implementation in list(workers):
            facts = ask(implementation, None, "the end")
            if facts is not None and blocks[implementation]:
                measured[implementation] = Measured(blocks[implementation], facts)
    return Rounds(measured, failed)


def total(work: TimedWork, parts: Parts) -> float:
    """Return seconds of one result: of a step the mean of its phases, weighted by their fraction of the training's
    steps.
    """
    if work.task == "step":
        return sum(phase.fraction * parts[phase.name] for phase in timed_phases(work.recipe, work.steps))
    return sum(parts.values())


def flops(work: TimedWork) -> float | None:
    """Floating-point operations of one result, by the recipe's count; None for augmentation, which has next to none."""
    step = work.recipe.training_flops / work.recipe.total_steps
    match work.task:
        case "step":
            return step
        case "run":
            return work.recipe.flops
        case "evaluate":
            return work.recipe.flops - work.recipe.training_flops
        case "augment":
            return None


def summarise(work: TimedWork, measured: dict[ImplementationName, Measured]) -> dict[str, Any]:
    """Return the record of a comparison, in seconds, of airjax with the fastest of the others; work is that of any of
    them.

    Where airjax or all of the others are missing, there is nothing to compare: then it has no ratio.
    """
    seconds = {
        implementation: [total(work, parts) for parts in found.blocks] for implementation, found in measured.items()
    }
    # A device's rates are what any of the frameworks reaches on it.
    told = [found.facts for found in measured.values()]
    matmul_rate, copy_rate = max(f.matmul_rate for f in told), max(f.copy_rate for f in told)
    operations, implementations = flops(work), {}
    for implementation, found in measured.items():
        implementations[implementation] = spread(seconds[implementation]) | {
            "parts": {part: spread([block[part] for block in found.blocks])["median"] for part in found.blocks[0]},
            "compile_seconds": found.facts.compile_seconds,
            "peak_bytes": found.facts.peak_bytes,
            "precision": found.facts.precision,
        }
        if operations is not None:
            rate = operations / implementations[implementation]["median"]
            implementations[implementation] |= {"flops_per_second": rate, "mfu": rate / matmul_rate}
    others = [implementation for implementation in implementations if implementation != "airjax"]
    compared: dict[str, Any] = {}
    if "airjax" in implementations and others:
        best = min(others, key=lambda implementation: implementations[implementation]["median"])
        compared = {
            "airjax": implementations["airjax"]["median"],
            "torch": implementations[best]["median"],
            **compare(seconds["airjax"], seconds[best])._asdict(),
            "best_torch": best,
        }
    return compared | {
        "repeats": max(len(found.blocks) for found in measured.values()),
        "implementations": implementations,
        "flops": operations,
        "traffic_bytes": measured["airjax"].facts.traffic_bytes if "airjax" in measured else None,
        "matmul_rate": matmul_rate,
        "copy_rate": copy_rate,
    }
