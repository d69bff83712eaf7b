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
from typing import Any

from airjax.stats.claims import LEVEL, judge_claim
from airjax.training.environment import commit
from airjax.utils.records import dump_json, hold_folder, read_lines, require_writable, write_atomically, write_json
from benchmarks.claim_plan import Plan
from benchmarks.record import run_json, save
from benchmarks.timing_rules import AIRBENCH, seconds_by
from benchmarks.verdict import spread

FILE = "accuracy.jsonl"
LOGS = "records"  # raw logs, beside FILE


def verify(plan: Plan, out: Path, results: Path, options: Sequence[str]) -> tuple[int, dict[str, Any] | None]:
    """Train the networks of a plan that a folder lacks, test the claim, and append a line to accuracy.jsonl.

    Args:
        plan: what to train and test.
        out: folder of the networks; calling this again with the same one resumes.
        results: folder of accuracy.jsonl, and of the raw logs in `records/`.
        options: further ones of `airjax train`, such as --data-dir DIR.

    Returns the exit code of the training, and the line where all networks are finished. Raises ValueError for a folder
    of another plan, or one that cannot be written to, before anything is trained, and OSError.
    """
    require_writable(results, "--results")
    with hold_folder(out, ValueError):
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


def _fix_plan(plan: Plan, out: Path) -> list[str]:
    # Writes the plan, or compares it with the one that is there. Returns the commits that have worked on it. Before the
    # first network is finished a plan may change: a mistake in the command line is no plan.
    file, asked = out / "plan.json", plan._asdict() | {"level": LEVEL}
    commits: list[str] = []
    if file.exists():
        try:
            there = json.loads(file.read_text())
            commits = there.pop("commits")
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ValueError(f"{file} is damaged ({error}); choose another --out") from error
        changed = [f"{name} {there.get(name)}, now {asked[name]}" for name in asked if there.get(name) != asked[name]]
        if changed and _finished(out):
            raise ValueError(
                f"{out} is of another plan ({'; '.join(changed)}); a plan that changes after its first networks makes "
                "the p-value wrong: choose another --out"
            )
    now = commit()
    trains = any(seed not in _finished(out) for seed in plan.all_seeds)
    commits += [now] if trains and now and now not in commits else []
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
        finished = _finished(out)
        waiting = [seed for seed in plan.all_seeds if seed not in finished]
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
