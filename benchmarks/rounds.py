"""Arms measured in turn, A B then B A: each in a process of its own, which works while the others wait."""

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.verdict import compare, spread
from benchmarks.work import make_answer
from parity.timing import ArmName, Facts, Work, phases
from parity.worker import Worker

Parts = dict[str, float]  # seconds of the parts of one result


class Measured(NamedTuple):
    """What was measured of one arm."""

    blocks: list[Parts]  # one for each round
    facts: Facts


def measure(
    works: list[Work], repeats: int, warmups: int, on_block: Callable[[int, ArmName, Parts], None]
) -> dict[ArmName, Measured]:
    """Do every work's block once in each of `repeats` rounds, after `warmups` that do not count.

    Rounds count from 0, warm-ups from -warmups. Raises WorkerError where a process fails.
    """
    blocks: dict[ArmName, list[Parts]] = {work.arm: [] for work in works}
    with contextlib.ExitStack() as stack:
        workers: dict[ArmName, Worker[int | None, Any]] = {
            work.arm: stack.enter_context(Worker(work.arm, make_answer, work)) for work in works
        }
        for number in range(-warmups, repeats):
            for arm in list(workers) if number % 2 == 0 else list(workers)[::-1]:
                # The seed of a training: not negative.
                parts = workers[arm].ask(number + warmups, f"block {number}")
                if number >= 0:
                    blocks[arm].append(parts)
                on_block(number, arm, parts)
        return {arm: Measured(blocks[arm], worker.ask(None, "the end")) for arm, worker in workers.items()}


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
    """The record of a comparison of airjax with the fastest of the other arms, in seconds; work is any arm's."""
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
    best = min((arm for arm in arms if arm != "airjax"), key=lambda arm: arms[arm]["median"])
    compared = compare(seconds["airjax"], seconds[best])
    return {
        "airjax": arms["airjax"]["median"],
        "torch": arms[best]["median"],
        **compared._asdict(),
        "best_torch": best,
        "repeats": len(seconds["airjax"]),
        "arms": arms,
        "flops": operations,
        "traffic_bytes": measured["airjax"].facts.traffic_bytes,
        "matmul_rate": matmul_rate,
        "copy_rate": copy_rate,
    }
