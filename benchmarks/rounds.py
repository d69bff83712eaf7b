"""Implementations measured in turn, A B then B A: each in a process of its own, which works while the others wait.

An implementation that fails is left out from then on, with its reason; the others go on. An interruption ends the
rounds; those that are complete are kept.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from benchmarks.verdict import compare_with_best, spread
from benchmarks.work import make_answer
from parity.environment import describe_computation
from parity.timing import Facts, ImplementationName, TimedWork, timed_phases
from parity.worker import Worker, WorkerError

Parts = dict[str, float]  # seconds of the parts of one result
Name = TypeVar("Name")
Block = TypeVar("Block")

# Seconds that the block under way has to end in after an interruption: a time limit lets a command end for ten.
PATIENCE = 5.0


class Measured(NamedTuple):
    """What was measured of one implementation."""

    blocks: list[Parts]  # one for each round
    facts: Facts | None  # None: an interruption ended its process in a block


class Rounds(NamedTuple):
    """What was measured of every implementation that lasted, and why the others failed."""

    measured: dict[ImplementationName, Measured]
    failed: dict[ImplementationName, str]
    interrupted: KeyboardInterrupt | None = None  # what ended the rounds before their number


def complete(blocks: Mapping[Name, list[Block]]) -> dict[Name, list[Block]]:
    """Return the blocks of the rounds that all have done."""
    rounds = min(map(len, blocks.values()), default=0)
    return {name: done[:rounds] for name, done in blocks.items()}


def measure(
    works: list[TimedWork],
    repeats: int,
    warmups: int,
    on_block: Callable[[int, ImplementationName, Parts], None],
    allowed: float = float("inf"),
) -> Rounds:
    """Do every work's block once in each of `repeats` rounds, after `warmups` that do not count.

    Rounds count from 0, warm-ups from -warmups. No round begins that would end later than `allowed` seconds after the
    start, by the longest round so far; the first that counts is done in any case. Raises KeyboardInterrupt where it is
    interrupted before a round is complete; after that, it returns the complete ones.
    """
    blocks: dict[ImplementationName, list[Parts]] = {work.implementation: [] for work in works}
    interrupted = None
    with contextlib.ExitStack() as stack:
        processes = _Processes(
            {work.implementation: stack.enter_context(Worker(work.implementation, answer_of, work)) for work in works}
        )
        try:
            _do_rounds(processes, blocks, (repeats, warmups), on_block, allowed)
        except KeyboardInterrupt as interrupt:
            if not any(complete(processes.only_lasting(blocks)).values()):
                raise
            interrupted = interrupt
            print("interrupted; complete rounds are summarised, unless interrupted again", file=sys.stderr)
            processes.settle()
        found = complete(processes.only_lasting(blocks))
        facts = {name: processes.ask(name, None, "the end") for name in found if name not in processes.ended}
    measured: dict[ImplementationName, Measured] = {
        name: Measured(done, facts.get(name)) for name, done in found.items() if done and name not in processes.failed
    }
    return Rounds(measured, processes.failed, interrupted)


def _do_rounds(
    processes: "_Processes",
    blocks: dict[ImplementationName, list[Parts]],
    counts: tuple[int, int],
    on_block: Callable[[int, ImplementationName, Parts], None],
    allowed: float,
) -> None:
    # Fills blocks, as `measure` describes it. counts: repeats, warmups.
    repeats, warmups = counts
    began, longest = time.monotonic(), 0.0
    for number in range(-warmups, repeats):
        start = time.monotonic()
        if number > 0 and start + longest > began + allowed:
            break
        for implementation in list(processes.workers) if number % 2 == 0 else list(processes.workers)[::-1]:
            # The seed of a training: not negative.
            parts = processes.ask(implementation, number + warmups, f"block {number}")
            if parts is None:
                continue
            if number >= 0:
                blocks[implementation].append(parts)
            on_block(number, implementation, parts)
        longest = max(longest, time.monotonic() - start) if number >= 0 else 0.0


class _Processes:
    # A process for each implementation; one that fails is left out from then on.
    def __init__(self, workers: "dict[ImplementationName, Worker[int | None, Any]]") -> None:
        self.workers = workers
        self.failed: dict[ImplementationName, str] = {}
        self.ended: set[ImplementationName] = set()  # in a block that was interrupted

    def ask(self, implementation: ImplementationName, question: int | None, subject: str) -> Any:
        # None where it fails.
        try:
            return self.workers[implementation].ask(question, subject)
        except WorkerError as error:
            self.failed[implementation] = str(error)
            del self.workers[implementation]
            return None

    def only_lasting(self, blocks: dict[ImplementationName, list[Parts]]) -> dict[ImplementationName, list[Parts]]:
        return {name: done for name, done in blocks.items() if name in self.workers}

    def settle(self) -> None:
        # After an interruption: what is still at work would disturb what the others are asked next.
        self.ended = {name for name, worker in self.workers.items() if not worker.settle(PATIENCE)}


def answer_of(work: TimedWork) -> Callable[[int | None], Any]:
    """Make what a process answers with: `make_answer`'s, and of airjax what convolved and under which settings."""
    answer = make_answer(work)

    def answer_fully(number: int | None) -> Any:
        found = answer(number)
        if number is None and work.implementation == "airjax":
            return found._replace(**describe_computation(work.recipe))
        return found

    return answer_fully


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
    told = [found.facts for found in measured.values() if found.facts is not None]
    matmul_rate = max((facts.matmul_rate for facts in told), default=None)
    operations, implementations = flops(work), {}
    for implementation, found in measured.items():
        implementations[implementation] = spread(seconds[implementation]) | {
            "parts": {part: spread([block[part] for block in found.blocks])["median"] for part in found.blocks[0]},
        }
        if found.facts is not None:
            of_process = ("compile_seconds", "peak_bytes", "precision")
            implementations[implementation] |= {name: getattr(found.facts, name) for name in of_process}
        if operations is not None and matmul_rate is not None:
            rate = operations / implementations[implementation]["median"]
            implementations[implementation] |= {"flops_per_second": rate, "mfu": rate / matmul_rate}
    compared = compare_with_best(seconds, [name for name in seconds if name != "airjax"])
    ours = measured["airjax"].facts if "airjax" in measured else None
    return compared | {
        "repeats": max(len(found.blocks) for found in measured.values()),
        "implementations": implementations,
        "flops": operations,
        **{name: getattr(ours, name, None) for name in ("traffic_bytes", "convolution", "settings")},
        "matmul_rate": matmul_rate,
        "copy_rate": max((facts.copy_rate for facts in told), default=None),
    }
