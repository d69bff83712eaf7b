"""The command line of sweeps: python -m airjax.sweep PLAN.toml --out DIR, and python -m airjax.sweep status DIR."""

import argparse
import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from rich.console import Console

from airjax.cluster import ClusterError, ClusterPool, NodeLostError
from airjax.console import run_main
from airjax.data import DataError, DataName, load_data
from airjax.devices import DeviceError
from airjax.environment import describe, versions
from airjax.logs import silence_cache_warnings
from airjax.members import STRATEGIES
from airjax.plan import Plan, PlanError, Run, load_plan, title
from airjax.pool import LocalPool
from airjax.records import append_line, read_lines, write_json
from airjax.results import ResultsError, Writer, completed_ids, load, read_plan
from airjax.stats import mean_interval
from airjax.strategy import predict_seconds
from airjax.watch import Watch
from airjax.workers import Chunk, Job, Outcome, Report, WorkerError, run_record, train_chunk, worker_name

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130
CHUNK = 8  # networks that a worker is given at once
TRIES = 2  # of a network whose worker died; it may have been the network's fault
MOVES = 5  # of a chunk whose machine was lost, before it is held to be the networks' fault


class SweepError(ValueError):
    """A sweep that cannot begin; the message names the remedy."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 all trained, 1 some failed, 2 bad usage or input."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if arguments[:1] == ["status"]:
            return _status(_status_parser().parse_args(arguments[1:]).out)
        options = _parser().parse_args(arguments)
        if options.dry_run:
            print_prediction(load_plan(options.plan), options.workers or 1, local=options.cluster is None)
            return EXIT_OK
        return run_sweep(options)
    except (PlanError, SweepError, ResultsError, DataError, DeviceError, ClusterError, WorkerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except OSError as error:
        print(f"error: {error.filename or 'input/output'}: {error.strerror or error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("interrupted before anything was trained", file=sys.stderr)
        return EXIT_INTERRUPTED


def run_sweep(options: argparse.Namespace) -> int:
    """Train what the folder still lacks of the plan. Returns an exit code.

    Nothing here starts JAX: this process would take the memory of a GPU that a worker needs.
    """
    silence_cache_warnings()
    load_plan(options.plan, "cpu")  # a mistake in it is said before any device is asked for, which takes a while
    out, data_dir = options.out.resolve(), options.data_dir and options.data_dir.resolve()
    with contextlib.closing(_open_pool(options)) as pool:
        plan = load_plan(options.plan, pool.platform)
        with _only_sweep_in(out):
            data = _check_data(plan, data_dir)
            runs = _prepare(plan, out, data)
            finished = completed_ids(out)
            missing = [run for run in runs if run.id not in finished]
            print(f"{len(runs)} networks, {len(runs) - len(missing)} of them finished before", flush=True)
            _require_space(out, plan.disk_bytes * len(missing) // len(runs))
            try:
                failed = _train_all(
                    Job(plan, out, data_dir, options.strategy, pool.platform, data), pool, missing, options
                )
            except (KeyboardInterrupt, ClusterError) as error:
                reason = str(error) or "interrupted"
                kept = len(completed_ids(out) & {run.id for run in runs})
                print(
                    f"{reason}; {kept} of {len(runs)} networks are in {out}, the same command goes on", file=sys.stderr
                )
                return EXIT_FAILED if isinstance(error, ClusterError) else EXIT_INTERRUPTED
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


def print_prediction(plan: Plan, workers: int, *, local: bool) -> None:
    """What the plan would cost, on this machine or on a cluster of such."""
    per_setting = plan.num_runs // len(plan.settings)
    flops = sum(setting.recipe.flops for setting in plan.settings) * per_setting
    seconds = [predict_seconds(setting.recipe) for setting in plan.settings]
    print(f"{len(plan.settings)} settings, {plan.num_runs:,} networks, {flops:.3g} FLOP")
    print(f"disk: {plan.disk_bytes / 1e9:.3g} GB")
    if None in seconds:
        print("time: nothing was measured on this device; python -m benchmarks.seeds does")
    else:
        hours = sum(value for value in seconds if value is not None) * per_setting / 3600
        if local and describe()["platform"] == "cpu":
            print(f"time: {hours:.3g} hours on this machine, whose cores its workers share")
        else:
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


def _open_pool(options: argparse.Namespace) -> LocalPool | ClusterPool:
    if options.cluster is not None:
        return ClusterPool(options.cluster, options.workers)
    return LocalPool(options.workers or 1, all_devices=options.strategy == "sharded")


def _check_data(plan: Plan, data_dir: Path | None) -> dict[DataName, str]:
    # Everything that can be wrong is found out before the first network. Returns the data sets' fingerprints.
    names: set[DataName] = {setting.data for setting in plan.settings}
    data = {name: load_data(name, data_dir if name == "cifar10" else None) for name in names}
    for setting in plan.settings:
        images = data[setting.data]
        if setting.pool > len(images.train_images) or setting.recipe.test_examples > len(images.test_images):
            raise SweepError(
                f"the plan trains on {setting.pool} and tests on {setting.recipe.test_examples} images, but "
                f"{setting.data} has {len(images.train_images)} and {len(images.test_images)}"
            )
    return {name: data[name].fingerprint for name in names}


def _prepare(plan: Plan, out: Path, fingerprints: dict[DataName, str]) -> list[Run]:
    version = versions()["airjax"] or "not installed"
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


class _Attempt(NamedTuple):
    chunk: Chunk
    tries: int = 1  # with this one
    moves: int = 0  # how often its machine was lost


def _train_all(job: Job, pool: LocalPool | ClusterPool, runs: list[Run], options: argparse.Namespace) -> int:
    watch = Watch(Console(), job.plan, len(runs))
    queue = collections.deque(_Attempt(chunk) for chunk in make_chunks(job.plan, runs, options.chunk))
    try:
        with watch:
            if queue:
                pool.start(job)
            _drain(job, pool, queue, watch, options.minutes)
    finally:
        pool.close()
    return watch.failed


def _drain(
    job: Job,
    pool: LocalPool | ClusterPool,
    queue: "collections.deque[_Attempt]",
    watch: Watch,
    minutes: float | None,
) -> None:
    from pebble import ProcessExpired

    # Of the networks that no worker is left to write about; made when the first one is.
    writer = functools.cache(lambda: Writer(job.out, worker_name()))
    environments = read_lines(job.out / "environments.jsonl")
    waiting: dict[concurrent.futures.Future[Report], _Attempt] = {}
    while queue or waiting:
        # As many as keep all workers busy; millions of them at once would take long to wait for.
        while queue and len(waiting) < 2 * pool.workers:
            attempt = queue.popleft()
            limit = None if minutes is None else 60 * minutes * len(attempt.chunk.runs)
            waiting[pool.schedule(train_chunk, attempt.chunk, limit)] = attempt
        ready, _ = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
        for future in ready:
            chunk, tries, moves = waiting.pop(future)
            try:
                outcomes, environment = future.result()
            except (TimeoutError, ProcessExpired, NodeLostError) as error:
                finished = completed_ids(job.out)
                left = tuple(run for run in chunk.runs if run.id not in finished)
                watch.kept(len(chunk.runs) - len(left))
                if isinstance(error, NodeLostError) and moves < MOVES:
                    queue.extendleft([_Attempt(Chunk(left), tries, moves + 1)] if left else [])
                elif len(chunk.runs) > 1 or tries < TRIES:
                    # One of them may be at fault: each on its own.
                    tries += len(chunk.runs) == 1
                    queue.extendleft(_Attempt(Chunk((run,)), tries, moves) for run in left)
                else:
                    watch.add([_give_up(job, writer(), run, _reason(error, minutes)) for run in left])
            else:
                watch.add(outcomes)
                if environment not in environments:
                    append_line(job.out / "environments.jsonl", environment)
                    environments.append(environment)


def _give_up(job: Job, writer: Writer, run: Run, reason: str) -> Outcome:
    writer.add(run_record(job, run, reason))
    return Outcome(run.id, run.setting, None, False, reason)


def _reason(error: BaseException, minutes: float | None) -> str:
    if isinstance(error, TimeoutError):
        return f"took longer than {minutes:g} minutes"
    return f"its process died: {error}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m airjax.sweep", description="Train all networks of a plan.")
    parser.add_argument("plan", type=Path, metavar="PLAN.toml", help="settings x seeds x subsets (docs/sweeps.md)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a sweep already there is gone on with")
    parser.add_argument(
        "--workers",
        type=_positive,
        metavar="N",
        help="processes, each with a GPU of its own or its part of a CPU's threads; default: 1, or a cluster's",
    )
    parser.add_argument(
        "--cluster", metavar="ADDRESS", help="train on a Ray cluster: auto, or host:port (docs/scale.md)"
    )
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
    run_main(main, keep_running=True)
