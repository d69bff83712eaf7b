"""Verify a recipe's claim: train networks, time them by the named rules, test whether their mean is above the target.

    DIR/plan.json           what is to be trained and tested, fixed before the first network, and by which commits
    DIR/whole_process.json  the seconds of one network in a process of its own
    DIR/networks/           the networks (airjax.cli.train_folder); runs.jsonl in it is the raw log

All planned networks are trained: p is looked at once, at the end. To look at it on the way and stop when it is small
would make it smaller than it says.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from airjax.recipes.published import CLAIMS, get_recipe
from airjax.stats.claims import LEVEL, POWER, claim_power, judge_claim
from airjax.training.environment import commit
from airjax.utils.records import dump_json, lock_folder, read_lines, write_atomically, write_json
from airjax.utils.seeds import check_seed
from benchmarks.record import run_json, save
from benchmarks.record_rows import runs_to_claim
from benchmarks.timing_rules import AIRBENCH, seconds_by
from benchmarks.verdict import spread

FILE = "accuracy.jsonl"
LOGS = "records"  # raw logs, beside FILE
LIKELY = 0.5  # smallest probability of a verdict with which a training is begun unasked
CIFAR10 = "cifar10"


class Plan(NamedTuple):
    """A claim and the networks that are to test it."""

    recipe: str
    target: float  # in [0, 1]
    seeds: int  # number of networks
    seed: int  # of the first
    data: str
    precision: str | None  # None: the recipe's own

    @property
    def all_seeds(self) -> range:
        """Return the seeds of all networks."""
        return range(self.seed, self.seed + self.seeds)


def make_plan(
    recipe: str, *, target: float | None, seeds: int | None, seed: int = 0, data: str = CIFAR10, precision: str | None
) -> Plan:
    """Make a plan from what a user asks for: the target in percent, None for what the recipe claims or needs.

    Raises ValueError for a recipe that there is not, a claim without a target, or a number of networks that cannot be
    found, or says nothing.
    """
    get_recipe(recipe)
    fraction = _target(recipe, target, data)
    needed = runs_to_claim(recipe, fraction) if data == CIFAR10 else None
    if seeds is None and needed is None:
        raise ValueError(f"how many networks the claim of {recipe} needs is not known: {_how_many(recipe, fraction)}")
    seeds = seeds if seeds is not None else needed or 0
    if seeds < 2:
        raise ValueError(f"seeds is {seeds}, but a mean has a p-value from 2 networks: {_how_many(recipe, fraction)}")
    check_seed(seed)
    check_seed(seed + seeds - 1)
    return Plan(recipe, fraction, seeds, seed, data, precision)


def plan_power(plan: Plan) -> float | None:
    """Compute the probability that a plan's networks verify or refute the claim, if the recipe reaches what it is
    known to reach; None where that, or its spread over seeds, is not known for this data."""
    claim = CLAIMS[plan.recipe]
    if plan.data != CIFAR10 or claim.expected_accuracy is None or not claim.expected_sd:
        return None
    return claim_power(claim.expected_accuracy, claim.expected_sd, plan.target, plan.seeds)


def require_power(plan: Plan) -> None:
    """Raise ValueError for a plan whose networks probably leave the claim open."""
    power = plan_power(plan)
    if power is not None and power < LIKELY:
        raise ValueError(
            f"{plan.seeds:,} networks verify or refute that {plan.recipe} reaches {plan.target:.2%} with a probability "
            f"of {power:.0%} only: {_how_many(plan.recipe, plan.target)}, or --underpowered to train them all the same"
        )


def describe_plan(plan: Plan) -> str:
    """Say what a plan trains, and how likely that is to end in a verdict."""
    power, chance = plan_power(plan), "how likely a verdict is, is not known"
    if power is not None:
        known = CLAIMS[plan.recipe].expected_accuracy
        chance = f"known for {known:.2%}, it gets a verdict with a probability of {power:.0%}"
    size = 4e-9 * get_recipe(plan.recipe).num_params * plan.seeds
    return (
        f"{plan.recipe} on {plan.data}, mean accuracy above {plan.target:.2%} at p < {LEVEL:g}: {plan.seeds:,} "
        f"networks from seed {plan.seed}, all of which are trained ({size:,.1f} GB in --out); {chance}"
    )


def verify(plan: Plan, out: Path, results: Path, options: Sequence[str]) -> tuple[int, dict[str, Any] | None]:
    """Train the networks of a plan that a folder lacks, test the claim, and append a line to accuracy.jsonl.

    Args:
        plan: what to train and test.
        out: folder of the networks; calling this again with the same one resumes.
        results: folder of accuracy.jsonl, and of the raw logs in `records/`.
        options: further ones of `airjax train`, such as --data-dir DIR.

    Returns the exit code of the training, and the line where all networks are finished. Raises ValueError for a folder
    of another plan, and OSError.
    """
    with _hold(out):
        commits = _fix_plan(plan, out)
        command = [*_train_options(plan, out), *options]
        code, whole = _time_whole_process(plan, out, command)
        if code:
            return code, None
        code, record = run_json("airjax.train", [*command, "--seed", str(plan.seed), "--seeds", str(plan.seeds)])
        if code or record is None:
            return code or 1, None
        claim = {"target": plan.target, "level": LEVEL, **judge_claim(record["accuracy"], plan.target)._asdict()}
        line = record | {"commit": ", ".join(commits) or None, "n": len(record["seeds"])}
        line |= {"claim": claim, "whole_process": whole}
        return 0, _keep(line, _runs(plan, out), results)


def _target(recipe: str, target: float | None, data: str) -> float:
    if target is None and data != CIFAR10:
        raise ValueError(f"what {recipe} claims is on cifar10; say what it is to reach on {data}: --target PERCENT")
    claimed = CLAIMS[recipe].target
    if target is None and claimed is None:
        raise ValueError(f"{recipe} claims no accuracy; say which one is to be tested: --target PERCENT")
    if target is not None and not 1 < target < 100:
        raise ValueError(f"target is {target:g}, but it must be a percentage of more than 1 and less than 100")
    return target / 100 if target is not None else claimed or 0.0


def _how_many(recipe: str, target: float) -> str:
    needed = runs_to_claim(recipe, target)
    if needed:
        return f"give --seeds N; {needed:,} networks give a verdict with a probability of {POWER:.0%}"
    similar = runs_to_claim(recipe, target, CLAIMS["94"].expected_sd)
    assumed = "with the standard deviation of 94, {:,} would give a verdict with a probability of {:.0%}"
    return "give --seeds N" + (f"; {assumed.format(similar, POWER)}" if similar else "")


def _hold(out: Path) -> Any:
    try:
        return lock_folder(out)
    except BlockingIOError as error:
        raise ValueError(f"another process verifies in {out}; wait for it, or choose another --out") from error


def _fix_plan(plan: Plan, out: Path) -> list[str]:
    # Writes the plan, or compares it with the one that is there. Returns the commits that have trained by it.
    file, asked = out / "plan.json", plan._asdict() | {"level": LEVEL}
    commits: list[str] = []
    if file.exists():
        try:
            there = json.loads(file.read_text())
            commits = there.pop("commits")
        except (ValueError, KeyError, AttributeError) as error:
            raise ValueError(f"{file} is damaged ({error}); choose another --out") from error
        changed = [f"{name} {there.get(name)}, now {asked[name]}" for name in asked if there.get(name) != asked[name]]
        if changed:
            raise ValueError(
                f"{out} is of another plan ({'; '.join(changed)}); a plan that changes after its first networks makes "
                "the p-value wrong: choose another --out"
            )
    now = commit()
    commits += [now] if now and now not in commits else []
    write_json(file, asked | {"commits": commits})
    return commits


def _train_options(plan: Plan, out: Path) -> list[str]:
    precision = [] if plan.precision is None else ["--precision", plan.precision]
    where = ["--data", plan.data, "--out", str(out / "networks")]
    return ["--recipe", plan.recipe, *precision, *where, "--strategy", "sequential", "--no-validate-epochs", "--json"]


def _time_whole_process(plan: Plan, out: Path, command: list[str]) -> tuple[int, dict[str, Any] | None]:
    # Trains one network in a process of its own, which is one of the plan's. A process that resumes from a snapshot is
    # not whole: the next network's is timed. None where all networks are there already.
    file = out / "whole_process.json"
    while not file.exists():
        waiting = [seed for seed in plan.all_seeds if seed not in _finished(out)]
        if not waiting:
            return 0, None
        resumes = any((out / "networks" / "snapshots").glob("*"))
        started = time.perf_counter()
        code, record = run_json("airjax.train", [*command, "--seed", str(waiting[0]), "--seeds", "1"])
        seconds = time.perf_counter() - started
        if code or record is None:
            return code or 1, None
        if not resumes:
            write_json(file, {"seed": waiting[0], "seconds": seconds, "compile": record["seconds"]["compile"]})
    return 0, json.loads(file.read_text())


def _finished(out: Path) -> dict[int, dict[str, Any]]:
    # The last line of a seed counts, as it does for the training.
    return {line["seed"]: line for line in read_lines(out / "networks" / "runs.jsonl")}


def _runs(plan: Plan, out: Path) -> list[dict[str, Any]]:
    finished = _finished(out)
    return [finished[seed] for seed in plan.all_seeds]


def _keep(line: dict[str, Any], runs: list[dict[str, Any]], results: Path) -> dict[str, Any]:
    # The raw log is named by its content: a rerun after the line was written finds it there, and writes none.
    content = "".join(dump_json(run) + "\n" for run in runs).encode()
    log = f"{LOGS}/{line['recipe']}-{hashlib.sha256(content).hexdigest()[:12]}.jsonl"
    for there in read_lines(results / FILE):
        if there.get("log") == log:
            return there
    times = spread([seconds_by(AIRBENCH, run["seconds"]) for run in runs])
    del times["seconds"]  # the log has them
    (results / LOGS).mkdir(parents=True, exist_ok=True)
    write_atomically(results / log, content)
    save(results, FILE, line | {"times": {AIRBENCH.name: times}, "log": log})
    return read_lines(results / FILE)[-1]
