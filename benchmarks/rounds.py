"""Arms measured in turn, A B then B A: each in a process of its own, which works while the others wait.

An arm that fails is left out from then on, with its reason; the others go on.
"""

import contextlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.verdict import compare, spread
from benchmarks.work import make_answer
from parity.timing import ArmName, Facts, Work, phases
from parity.worker import Worker, WorkerError

Parts = dict[str, float]  # seconds of the parts of one result


class Measured(NamedTuple):
    """What was measured of one arm."""

    blocks: list[Parts]  # one for each round
    facts: Facts


class Rounds(NamedTuple):
    """What was measured of every arm that lasted, and why the others failed."""

    measured: dict[ArmName, Measured]
    failed: dict[ArmName, str]


def measure(
    works: list[Work],
    repeats: int,
    warmups: int,
    on_block: Callable[[int, ArmName, Parts], None],
    allowed: float = float("inf"),
) -> Rounds:
    """Do every work's block once in each of `repeats` rounds, after `warmups` that do not count.

    Rounds count from 0, warm-ups from -warmups. No round begins that would end later than `allowed` seconds after the
    start, by the longest round so far; the first that counts is done in any case.
    """
    began, longest = time.monotonic(), 0.0
    blocks: dict[ArmName, list[Parts]] = {work.arm: [] for work in works}
    failed: dict[ArmName, str] = {}
    with contextlib.ExitStack() as stack:
        workers: dict[ArmName, Worker[int | None, Any]] = {
            work.arm: stack.enter_context(Worker(work.arm, make_answer, work)) for work in works
        }

        def ask(arm: ArmName, question: int | None, subject: str) -> Any:
            try:
                return workers[arm].ask(question, subject)
            except WorkerError as error:
                failed[arm] = str(error)
                del workers[arm]
                return None

        for number in range(-warmups, repeats):
            start = time.monotonic()
            if number > 0 and start + longest > began + allowed:
                break
            for arm in list(workers) if number % 2 == 0 else list(workers)[::-1]:
                # The seed of a training: not negative.
                parts = ask(arm, number + warmups, f"block {number}")
                if parts is None:
                    continue
                if number >= 0:
                    blocks[arm].append(parts)
                on_block(number, arm, parts)
            longest = max(longest, time.monotonic() - start) if number >= 0 else 0.0
        measured: dict[ArmName, Measured] = {}
        for arm in list(workers):
            facts = ask(arm, None, "the end")
            if facts is not None and blocks[arm]:
                measured[arm] = Measured(blocks[arm], facts)
    return Rounds(measured, failed)


def total(work: Work, parts: Parts) -> float:
    """Seconds of one result: of a step the mean of its phases, weighted by their share of the training's steps."""
    if work.task == "step":
        return sum(phase.share * parts[phase.name] for phase in phases(work.recipe, work.steps))
    return sum(parts.values())


def flops(work: Work) -> float | None:
    """Floating-point operations of one result, by the recipe's count; None for augmentation, which has next to none."""
    step = 6.0 * work.recipe.forward_macs * work.recipe.batch_size
    match work.task:
        case "step":
            return step
        case "run":
            return work.recipe.flops
        case "evaluate":
            return work.recipe.flops - work.recipe.total_steps * step
        case "augment":
            return None


def summarise(work: Work, measured: dict[ArmName, Measured]) -> dict[str, Any]:
    """The record of a comparison of airjax with the fastest of the other arms, in seconds; work is any arm's.

    Where airjax or all of the others are missing, there is nothing to compare: then it has no ratio.
    """
    seconds = {arm: [total(work, parts) for parts in found.blocks] for arm, found in measured.items()}
    # A device's rates are what any of the frameworks reaches on it.
    told = [found.facts for found in measured.values()]
    matmul_rate, copy_rate = max(f.matmul_rate for f in told), max(f.copy_rate for f in told)
    operations, arms = flops(work), {}
    for arm, found in measured.items():
        arms[arm] = spread(seconds[arm]) | {
            "parts": {part: spread([block[part] for block in found.blocks])["median"] for part in found.blocks[0]},
            "compile_seconds": found.facts.compile_seconds,
            "peak_bytes": found.facts.peak_bytes,
            "precision": found.facts.precision,
        }
        if operations is not None:
            rate = operations / arms[arm]["median"]
            arms[arm] |= {"flops_per_second": rate, "mfu": rate / matmul_rate}
    others = [arm for arm in arms if arm != "airjax"]
    compared: dict[str, Any] = {}
    if "airjax" in arms and others:
        best = min(others, key=lambda arm: arms[arm]["median"])
        compared = {
            "airjax": arms["airjax"]["median"],
            "torch": arms[best]["median"],
            **compare(seconds["airjax"], seconds[best])._asdict(),
            "best_torch": best,
        }
    return compared | {
        "repeats": max(len(found.blocks) for found in measured.values()),
        "arms": arms,
        "flops": operations,
        "traffic_bytes": measured["airjax"].facts.traffic_bytes if "airjax" in measured else None,
        "matmul_rate": matmul_rate,
        "copy_rate": copy_rate,
    }
