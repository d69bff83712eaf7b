"""The command line of sweeps: python -m airjax.sweep PLAN.toml --out DIR, and python -m airjax.sweep status DIR."""

import argparse
import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import json
import multiprocessing
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from rich.console import Console

from airjax.data import DataError, DataName, load_data
from airjax.doctor import fingerprint, run_checks
from airjax.environment import describe, versions
from airjax.members import STRATEGIES
from airjax.plan import Plan, PlanError, Run, load_plan, title
from airjax.records import append_line, write_json
from airjax.results import ResultsError, Writer, completed_ids, load, read_plan
from airjax.stats import mean_interval
from airjax.strategy import predict_seconds
from airjax.watch import Watch
from airjax.workers import Chunk, Job, Outcome, run_record, start_worker, train_chunk, worker_name

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130
CHUNK = 8  # networks that a worker is given at once
LIFETIME = 500  # chunks after which a worker is replaced: compilation caches grow
TRIES = 2  # of a network whose worker died; it may have been the network's fault


class SweepError(ValueError):
    """A sweep that cannot begin; the message names the remedy."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 all trained, 1 some failed, 2 bad usage or input."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if arguments[:1] == ["status"]:
            return _status(_status_parser().parse_args(arguments[1:]).out)
        options = _parser().parse_args(arguments)
        plan = load_plan(options.plan)
        if options.dry_run:
            print_prediction(plan, options.workers)
            return EXIT_OK
        return run_sweep(plan, options)
    except (PlanError, SweepError, ResultsError, DataError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except OSError as error:
        print(f"error: {error.filename or 'input/output'}: {error.strerror or error}", file=sys.stderr)
        return EXIT_FAILED


def run_sweep(plan: Plan, options: argparse.Namespace) -> int:
    """Train what the folder still lacks of the plan. Returns an exit code."""
    # The compiler's cache on a CPU warns, line after line, of processor features that are not any.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    out = options.out
    with _only_sweep_in(out):
        runs = _prepare(plan, out, options.data_dir)
        environment = _check_environment(out)
        finished = completed_ids(out)
        missing = [run for run in runs if run.id not in finished]
        print(f"{len(runs)} networks, {len(runs) - len(missing)} of them finished before", flush=True)
        _require_space(out, plan.disk_bytes * len(missing) // len(runs))
        job = Job(plan, out, options.data_dir, options.strategy, environment)
        try:
            failed = _train_all(job, missing, options)
        except KeyboardInterrupt:
            kept = len(completed_ids(out) & {run.id for run in runs})
            print(
                f"interrupted; {kept} of {len(runs)} networks are in {out}, the same command goes on", file=sys.stderr
            )
            return EXIT_INTERRUPTED
    print_status(out)
    return EXIT_FAILED if failed else EXIT_OK


def make_chunks(plan: Plan, runs: list[Run], size: int) -> list[Chunk]:
    """Networks that share a compiled program and a data set, so many at a time."""

    def program(run: Run) -> tuple[Any, ...]:
        setting = plan.settings[run.setting]
        return setting.recipe.without_hyperparameters(), setting.pool, setting.data

    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault(program(run), []).append(run)
    return [Chunk(tuple(group[i : i + size])) for group in groups.values() for i in range(0, len(group), size)]


def print_prediction(plan: Plan, workers: int) -> None:
    """What the plan would cost."""
    per_setting = plan.num_runs // len(plan.settings)
    flops = sum(setting.recipe.flops for setting in plan.settings) * per_setting
    seconds = [predict_seconds(setting.recipe) for setting in plan.settings]
    print(f"{len(plan.settings)} settings, {plan.num_runs:,} networks, {flops:.3g} FLOP")
    print(f"disk: {plan.disk_bytes / 1e9:.3g} GB")
    if None in seconds:
        print("time: nothing was measured on this device; python -m benchmarks.seeds does")
    else:
        hours = sum(value for value in seconds if value is not None) * per_setting / 3600
        print(f"time: {hours / workers:.3g} hours with {workers} workers, each on a device of its own")


def print_status(out: Path) -> None:
    """How far a sweep has got, and what it shows so far."""
    plan, results = read_plan(out), load(out, mixed=True)
    errors = [row for row in results.rows if row["error"]]
    diverged = sum(row["diverged"] for row in results.rows)
    print(
        f"{len(results.rows) - len(errors)} of {plan['num_runs']} networks, {len(errors)} failed, {diverged} diverged"
    )
    for conflict in results.conflicts:
        print(f"network {conflict.id} was trained twice, with different results")
    accuracies: dict[str, list[float]] = {}
    for row in results.rows:
        if row["accuracy"] is not None:
            accuracies.setdefault(row["setting"], []).append(100 * row["accuracy"])
    for name, described in plan["settings"].items():
        text = title(described)
        if mine := accuracies.get(name):
            interval = mean_interval(mine)
            spread = f" (95%: {interval[0]:.2f} to {interval[1]:.2f})" if interval else ""
            text += f": accuracy {np.mean(mine):.2f}%{spread}, n={len(mine)}"
        print(f"  {text}")
    for row in errors[:5]:
        print(f"  network {row['id']} failed: {row['error']}")


def _status(out: Path) -> int:
    print_status(out)
    return EXIT_OK


def _prepare(plan: Plan, out: Path, data_dir: Path | None) -> list[Run]:
    # Everything that can be wrong is found out before the first network.
    names: set[DataName] = {setting.data for setting in plan.settings}
    data = {name: load_data(name, data_dir if name == "cifar10" else None) for name in names}
    for setting in plan.settings:
        images = data[setting.data]
        if setting.pool > len(images.train_images) or setting.recipe.test_examples > len(images.test_images):
            raise SweepError(
                f"the plan trains on {setting.pool} and tests on {setting.recipe.test_examples} images, but "
                f"{setting.data} has {len(images.train_images)} and {len(images.test_images)}"
            )
    fingerprints, version = (
        {name: data[name].fingerprint for name in names},
        versions()["airjax"] or "not installed",
    )
    settings = {plan.setting_id(s, fingerprints[s.data], version): s for s in plan.settings}
    described = {
        "recipe": plan.base,
        "num_runs": plan.num_runs,
        "seeds": plan.seeds,
        "subsets": dataclasses.asdict(plan.subsets) if plan.subsets else None,
        "settings": {name: setting.described for name, setting in settings.items()},
        "pools": {name: setting.pool for name, setting in settings.items()},
        "recipes": [setting.recipe.to_dict() for setting in plan.settings],
    }
    file = out / "plan.json"
    if file.exists() and not _extends(described, read_plan(out)):
        raise SweepError(f"{out} holds another sweep (see {file}); choose another --out")
    write_json(file, json.loads(json.dumps(described)))
    return list(plan.runs(fingerprints, version))


def _require_space(out: Path, needed: int) -> None:
    free = shutil.disk_usage(out).free
    if needed > free:
        raise SweepError(
            f"what is left of the sweep needs {needed / 1e9:.3g} GB, but {out} has {free / 1e9:.3g} GB free; "
            "choose another --out, or keep less in the plan"
        )


def _extends(new: dict[str, Any], old: dict[str, Any]) -> bool:
    # Whether every network of the old plan is one of the new.
    inside = all(set(old[name]) <= set(new[name]) for name in ("settings", "seeds"))
    # What subsets are drawn from and how is in the settings' names.
    before, after = ((plan["subsets"] or {"count": 0})["count"] for plan in (old, new))
    return inside and before <= after


def _check_environment(out: Path) -> str:
    checks = run_checks()
    wrong = [check.name for check in checks if not check.passed]
    if wrong:
        raise SweepError(f"this compiler returns wrong numbers ({', '.join(wrong)}): python -m airjax.doctor")
    name = fingerprint(checks)
    append_line(out / "environments.jsonl", {"environment": name} | describe())
    return name


@contextlib.contextmanager
def _only_sweep_in(out: Path) -> Iterator[None]:
    import fcntl

    try:
        out.mkdir(parents=True, exist_ok=True)
        stream: IO[str] = (out / "lock").open("w")
    except OSError as error:
        raise SweepError(f"cannot write to --out {out}: {error.strerror}") from error
    with stream:
        try:
            # The lock ends with the process, however that ends.
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SweepError(f"another sweep is writing to {out}; wait for it, or choose another --out") from error
        yield


def _train_all(job: Job, runs: list[Run], options: argparse.Namespace) -> int:
    from pebble import ProcessPool

    watch = Watch(Console(), job.plan, len(runs))
    pool = ProcessPool(
        max_workers=options.workers,
        max_tasks=LIFETIME,
        initializer=start_worker,
        initargs=(job,),
        # A forked copy of a process that has used JAX may hang.
        context=multiprocessing.get_context("spawn"),
    )
    queue = collections.deque((chunk, 1) for chunk in make_chunks(job.plan, runs, options.chunk))
    try:
        with watch:
            _drain(job, pool, queue, watch, options)
    except BaseException:
        pool.stop()
        raise
    finally:
        pool.close()
        pool.join()
    return watch.failed


def _drain(job: Job, pool: Any, queue: "collections.deque[tuple[Chunk, int]]", watch: Watch, options: Any) -> None:
    from pebble import ProcessExpired

    # Of the networks that no worker is left to write about; made when the first one is.
    writer = functools.cache(lambda: Writer(job.out, worker_name()))
    waiting: dict[Any, tuple[Chunk, int]] = {}
    while queue or waiting:
        # As many as keep all workers busy; millions of them at once would take long to wait for.
        while queue and len(waiting) < 2 * options.workers:
            chunk, tries = queue.popleft()
            limit = None if options.minutes is None else 60 * options.minutes * len(chunk.runs)
            waiting[pool.schedule(train_chunk, args=[chunk], timeout=limit)] = (chunk, tries)
        ready, _ = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
        for future in ready:
            chunk, tries = waiting.pop(future)
            try:
                outcomes: list[Outcome] = future.result()
            except (concurrent.futures.TimeoutError, ProcessExpired) as error:
                # Some of the chunk may be finished, and one of the others at fault: each on its own.
                finished = completed_ids(job.out)
                left = [run for run in chunk.runs if run.id not in finished]
                watch.kept(len(chunk.runs) - len(left))
                if len(chunk.runs) > 1 or tries < TRIES:
                    queue.extendleft((Chunk((run,)), tries + (len(chunk.runs) == 1)) for run in left)
                    continue
                outcomes = [_give_up(job, writer(), run, _reason(error, options.minutes)) for run in left]
            watch.add(outcomes)


def _give_up(job: Job, writer: Writer, run: Run, reason: str) -> Outcome:
    writer.add(run_record(job, run, reason))
    return Outcome(run.id, run.setting, None, False, reason)


def _reason(error: BaseException, minutes: float | None) -> str:
    if isinstance(error, concurrent.futures.TimeoutError):
        return f"took longer than {minutes:g} minutes"
    return f"its process died: {error}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m airjax.sweep", description="Train all networks of a plan.")
    parser.add_argument("plan", type=Path, metavar="PLAN.toml", help="settings x seeds x subsets (docs/sweeps.md)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a sweep already there is gone on with")
    parser.add_argument("--workers", type=_positive, default=1, metavar="N", help="processes; one for each device")
    parser.add_argument("--chunk", type=_positive, default=CHUNK, help=f"networks given to a worker at once ({CHUNK})")
    parser.add_argument("--strategy", choices=STRATEGIES, help="how a chunk is trained; default: as measured here")
    parser.add_argument("--minutes", type=float, help="a network that takes longer is given up; default: never")
    parser.add_argument("--data-dir", type=Path, help="where CIFAR-10 lies; the default is AIRJAX_DATA")
    parser.add_argument("--dry-run", action="store_true", help="only say what it would cost")
    return parser


def _status_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m airjax.sweep status", description="How far a sweep has got.")
    parser.add_argument("out", type=Path, metavar="DIR")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not a whole number from 1")
    return value


if __name__ == "__main__":
    sys.exit(main())
