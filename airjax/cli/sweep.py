"""The command line of sweeps: python -m airjax.sweep PLAN.toml --out DIR, and python -m airjax.sweep status DIR."""

import argparse
import collections
import concurrent.futures
import contextlib
import functools
import itertools
import math
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from airjax.cli.console import describe_os_error
from airjax.cli.stopping import exit_code_of, interrupted_by_sigterm
from airjax.data import DataError
from airjax.stats.intervals import mean_interval
from airjax.sweep.cluster import ClusterError, ClusterPool, NodeLostError
from airjax.sweep.folder import SweepError, check_data, planned_ids, prepare_folder, require_space
from airjax.sweep.plan import Plan, PlanError, Run, load_plan, title
from airjax.sweep.pool import LocalPool
from airjax.sweep.shard import WHOLE, Shard, own_shard, parse_shard, prepared_alone
from airjax.sweep.status import clear_phases, phases_of, read_phases
from airjax.sweep.store import ResultsError, Writer, completed_ids, read_plan, tally
from airjax.sweep.watch import Watch, print_line
from airjax.sweep.worker import Chunk, Job, Outcome, Report, Source, WorkerError, run_record, train_chunk, worker_name
from airjax.training.environment import describe
from airjax.training.members import STRATEGIES
from airjax.training.snapshots import StoppedError
from airjax.training.strategy import predict_seconds
from airjax.utils.logs import silence_cache_warnings
from airjax.utils.platform import DeviceError
from airjax.utils.records import append_line, read_lines
from airjax.utils.units import format_bytes, format_seconds

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130
CHUNK = 8  # networks that a worker is given at once
TRIES = 2  # of a network whose worker died; it may have been the network's fault
COUNTED = 3_000_000  # networks of a plan that are counted one by one
TURN = 1.0  # seconds between two looks at what workers are doing
MOVES = 5  # of a chunk whose machine was lost, before it is held to be the networks' fault


def main(arguments: list[str] | None = None, prog: str = "python -m airjax.sweep") -> int:
    """Run the command line and return its exit code: 0 all trained, 1 some failed, 2 bad usage or input."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if arguments[:1] == ["status"]:
            return _status(_status_parser(f"{prog} status").parse_args(arguments[1:]).out)
        options = make_parser(prog).parse_args(arguments)
        if options.dry_run:
            plan, local = load_plan(options.plan), options.cluster is None
            print_prediction(plan, options.workers or 1, local=local, shard=options.shard)
            return EXIT_OK
        with interrupted_by_sigterm():
            return run_sweep(options)
    except (PlanError, SweepError, ResultsError, DataError, DeviceError, ClusterError, WorkerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except OSError as error:
        print(f"error: {describe_os_error(error)}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt as error:
        print(f"{str(error) or 'interrupted'} before anything was trained", file=sys.stderr)
        return _code_of(error)


def run_sweep(options: argparse.Namespace) -> int:
    """Train what the folder still lacks of the plan. Returns an exit code.

    Nothing here starts JAX: this process would take the memory of a GPU that a worker needs.
    """
    silence_cache_warnings()
    load_plan(options.plan, "cpu")  # a mistake in it is said before any device is asked for, which takes a while
    out, data_dir = options.out.resolve(), options.data_dir and options.data_dir.resolve()
    print("looking for devices and loading the data", flush=True)
    with contextlib.closing(_open_pool(options)) as pool:
        plan = load_plan(options.plan, pool.platform)
        shard = options.shard
        with own_shard(out, shard):
            data = check_data(plan, data_dir)
            with prepared_alone(out, shard):
                names = prepare_folder(plan, out, data, functools.partial(_require_room, plan, out, data, shard))
            finished = planned_ids(plan, names, completed_ids(out))
            mine, total = sum(map(shard.has, finished)), count_runs(plan, names, shard)
            missing = total - mine
            of_all = "" if shard == WHOLE else f" of the {plan.num_runs:,}, shard {shard.number} of {shard.num_shards}"
            print(f"{total:,} networks{of_all}, {mine:,} of them finished before", flush=True)
            require_space(out, _bytes_of(plan, data, missing))
            job = Job(plan, out, data_dir, options.strategy, pool.platform, data, options.checkpoint_every, shard.name)
            chunks = make_chunks(plan, names, finished, options.chunk, shard)
            try:
                failed = _train_all(job, pool, chunks, missing, options.minutes)
            except (KeyboardInterrupt, ClusterError, BrokenProcessPool) as error:
                reason = str(error) or "interrupted"
                if isinstance(error, BrokenProcessPool):
                    reason = f"no worker process is left ({reason})"
                kept = len(planned_ids(plan, names, completed_ids(out)))
                print(
                    f"{reason}; {kept} of {plan.num_runs} networks are in {out}; rerunning the same command resumes",
                    file=sys.stderr,
                )
                return _code_of(error)
    print_status(out)
    return EXIT_FAILED if failed else EXIT_OK


def _require_room(plan: Plan, out: Path, data: dict[str, Source], shard: Shard, names: list[str]) -> None:
    # For what is left of the sweep, or of a shard of it.
    finished = planned_ids(plan, names, completed_ids(out))
    left = count_runs(plan, names, shard) - sum(map(shard.has, finished))
    require_space(out, _bytes_of(plan, data, left))


def _bytes_of(plan: Plan, data: dict[str, Source], networks: int) -> int:
    classes = {name: source.classes for name, source in data.items() if source.classes}
    return plan.disk_bytes(classes) * networks // plan.num_runs


def _code_of(error: BaseException) -> int:
    return exit_code_of(error) if isinstance(error, KeyboardInterrupt) else EXIT_FAILED


def count_runs(plan: Plan, names: Sequence[str], shard: Shard) -> int:
    """Return how many networks of a plan are a shard's; of so many that counting takes minutes, about how many."""
    if shard == WHOLE or plan.num_runs > COUNTED:
        return plan.num_runs // shard.num_shards
    return sum(shard.has(run.id) for index, name in enumerate(names) for run in plan.runs_of(index, name))


def make_chunks(
    plan: Plan, names: Sequence[str], finished: Collection[str], size: int, shard: Shard = WHOLE
) -> Iterator[Chunk]:
    """List the networks that are not finished, so many at a time; those of a chunk share a program and a data set.

    Args:
        plan: the sweep's.
        names: the ids of its settings.
        finished: ids of networks to leave out.
        size: networks of a chunk; the last one of a program may have fewer.
        shard: whose networks.
    """
    programs: dict[tuple[Any, ...], list[int]] = {}
    for index, setting in enumerate(plan.settings):
        program = setting.recipe.split()[0], setting.pool, setting.data
        programs.setdefault(program, []).append(index)
    for settings in programs.values():
        planned = (run for index in settings for run in plan.runs_of(index, names[index]))
        runs = (run for run in planned if run.id not in finished and shard.has(run.id))
        while chunk := tuple(itertools.islice(runs, size)):
            yield Chunk(chunk)


def print_prediction(plan: Plan, workers: int, *, local: bool, shard: Shard = WHOLE) -> None:
    """Print what the plan would cost, or a shard of it, on this machine or on a cluster of such."""
    flops, total = predict_cost(plan)
    parts = shard.num_shards
    # Which networks are a shard's follows from the data, which nothing has been loaded of.
    counted = "" if shard == WHOLE else f"about {plan.num_runs // parts:,} of "
    print(f"{len(plan.settings)} settings, {counted}{plan.num_runs:,} networks, {flops / parts:.3g} FLOP")
    print(f"disk: {format_bytes(plan.disk_bytes() // parts)}")
    total = None if total is None else total / parts
    if total is None:
        print("time: nothing was measured on this device; python -m benchmarks.seeds does")
    elif local and describe()["platform"] == "cpu":
        print(f"time: {format_seconds(total)} on this machine, whose cores its workers share, and their start")
    else:
        print(f"time: {format_seconds(total / workers)} with {workers} workers, each on a device of its own")


def predict_cost(plan: Plan) -> tuple[float, float | None]:
    """Predict a plan's floating-point operations, and its seconds with one worker on this device.

    The seconds are None where nothing was measured on this kind of device.
    """
    per_setting = plan.num_runs // len(plan.settings)
    flops = sum(setting.recipe.flops for setting in plan.settings) * per_setting
    seconds = [predict_seconds(setting.recipe) for setting in plan.settings]
    known = [value for value in seconds if value is not None]
    return flops, sum(known) * per_setting if len(known) == len(seconds) else None


def print_status(out: Path) -> None:
    """Print how far a sweep has got, and what it shows so far."""
    plan, found = read_plan(out), tally(out)
    console = Console()
    print_line(
        console,
        f"{found.networks} of {plan['num_runs']} networks, {len(found.errors)} failed, {found.diverged} diverged",
    )
    for name, source in plan.get("data", {}).items():
        split = ", validation images" if source.get("split") == "validation" else ""
        labels = f", labels {source['labels']}" if source.get("labels") else ""
        print_line(console, f"{name}: {source['content']} content{labels}{split}")
    for name in found.conflicts:
        print_line(console, f"network {name} was trained twice, with different results")
    for name, described in plan["settings"].items():
        text = title(described)
        if mine := found.accuracies.get(name):
            interval = mean_interval(mine, whole=100.0)
            spread = f" (95%: {interval[0]:.2f} to {interval[1]:.2f})" if interval else ""
            text += f": accuracy {np.mean(mine):.2f}%{spread}, n={len(mine)}"
        print_line(console, f"  {text}")
    for name, error in found.errors[:5]:
        print_line(console, f"  network {name} failed: {error}")


def _status(out: Path) -> int:
    print_status(out)
    return EXIT_OK


def _open_pool(options: argparse.Namespace) -> LocalPool | ClusterPool:
    if options.cluster is not None:
        return ClusterPool(options.cluster, options.workers)
    return LocalPool(options.workers or 1, all_devices=options.strategy == "sharded")


class _Attempt(NamedTuple):
    chunk: Chunk
    tries: int = 1  # with this one
    moves: int = 0  # how often its machine was lost


def _train_all(
    job: Job, pool: LocalPool | ClusterPool, chunks: Iterator[Chunk], count: int, minutes: float | None
) -> int:
    phases = phases_of(job.out, job.shard)
    clear_phases(phases)
    watch = Watch(Console(), job.plan, count, functools.partial(read_phases, phases))
    try:
        with watch:
            if count:
                pool.start(job)
            _drain(job, pool, map(_Attempt, chunks), watch, minutes)
    finally:
        pool.close()
        clear_phases(phases)
    return watch.failed


def _drain(
    job: Job,
    pool: LocalPool | ClusterPool,
    attempts: Iterator[_Attempt],
    watch: Watch,
    minutes: float | None,
) -> None:
    # Of the networks that no worker is left to write about; made when the first one is.
    writer = functools.cache(lambda: Writer(job.out, worker_name()))
    environments = read_lines(job.out / "environments.jsonl")
    again: collections.deque[_Attempt] = collections.deque()
    waiting: dict[concurrent.futures.Future[Report], _Attempt] = {}
    while True:
        # As many as keep all workers busy; millions of them at once would take long to wait for.
        while len(waiting) < 2 * pool.workers and (attempt := again.popleft() if again else next(attempts, None)):
            limit = None if minutes is None else 60 * minutes * len(attempt.chunk.runs)
            waiting[pool.schedule(train_chunk, attempt.chunk, limit)] = attempt
        if not waiting:
            return
        ready, _ = concurrent.futures.wait(waiting, TURN, concurrent.futures.FIRST_COMPLETED)
        pool.stop_late()
        for future in ready:
            _settle(job, future, waiting.pop(future), again, environments, writer, watch, minutes)
        watch.refresh()


def _settle(
    job: Job,
    future: "concurrent.futures.Future[Report]",
    attempt: _Attempt,
    again: "collections.deque[_Attempt]",
    environments: list[dict[str, Any]],
    writer: Callable[[], Writer],
    watch: Watch,
    minutes: float | None,
) -> None:
    # A chunk is over: its networks are counted, or what is left of them is tried again, or given up.
    from pebble import ProcessExpired

    chunk, tries, moves = attempt
    try:
        outcomes, environment = future.result()
    except (concurrent.futures.CancelledError, ProcessExpired, NodeLostError, StoppedError) as error:
        clear_phases(phases_of(job.out, job.shard))  # of the worker that is gone; the others say soon what they do next
        finished = completed_ids(job.out)
        left = tuple(run for run in chunk.runs if run.id not in finished)
        watch.kept(len(chunk.runs) - len(left))
        if isinstance(error, NodeLostError | StoppedError) and moves < MOVES:
            again.extendleft([_Attempt(Chunk(left), tries, moves + 1)] if left else [])
        elif len(chunk.runs) > 1 or tries < TRIES:
            # One of them may be at fault: each on its own.
            tries += len(chunk.runs) == 1
            again.extendleft(_Attempt(Chunk((run,)), tries, moves) for run in left)
        else:
            watch.add([_give_up(job, writer(), run, _reason(error, minutes)) for run in left])
        return
    watch.add(outcomes)
    if environment not in environments:
        append_line(job.out / "environments.jsonl", environment)
        environments.append(environment)


def _give_up(job: Job, writer: Writer, run: Run, reason: str) -> Outcome:
    writer.add(run_record(job, run, reason))
    return Outcome(run.id, run.setting, None, False, reason)


def _reason(error: BaseException, minutes: float | None) -> str:
    if isinstance(error, concurrent.futures.CancelledError):
        return f"took longer than {minutes:g} minutes"
    return f"its process died: {error}"


def make_parser(prog: str) -> argparse.ArgumentParser:
    """Make the parser of the arguments with which networks are trained."""
    parser = argparse.ArgumentParser(
        prog, description="Train all networks of a plan.", epilog=f"{prog} status DIR says how far a sweep has got."
    )
    parser.add_argument("plan", type=Path, metavar="PLAN.toml", help="settings x seeds x subsets (docs/sweeps.md)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a sweep already there is resumed")
    parser.add_argument(
        "--workers",
        type=_positive,
        metavar="N",
        help="processes, each with a GPU of its own or its part of a CPU's threads; default: 1, or a cluster's",
    )
    parser.add_argument(
        "--cluster", metavar="ADDRESS", help="train on a Ray cluster: auto, or host:port (docs/scale.md)"
    )
    parser.add_argument(
        "--shard",
        type=_shard,
        default=WHOLE,
        metavar="i/n",
        help="train only the i-th of n parts, from 0: for arrays of jobs that share DIR (docs/sweeps.md)",
    )
    parser.add_argument("--chunk", type=_positive, default=CHUNK, help=f"networks given to a worker at once ({CHUNK})")
    parser.add_argument("--strategy", choices=STRATEGIES, help="how a chunk is trained; default: as measured here")
    parser.add_argument("--minutes", type=_minutes, help="a network that takes longer is given up; default: never")
    parser.add_argument(
        "--checkpoint-every",
        type=_positive,
        metavar="EPOCHS",
        help="epochs between two snapshots of networks in training; a worker that is ended writes one, too",
    )
    parser.add_argument(
        "--data-dir", type=Path, help="where the data set lies; the default is AIRJAX_DATA and so on (airjax data)"
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what it would cost")
    return parser


def _status_parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog, description="How far a sweep has got.")
    parser.add_argument("out", type=Path, metavar="DIR", help="what --out named")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1")
    return int(text)


def _shard(text: str) -> Shard:
    try:
        return parse_shard(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _minutes(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number of minutes more than 0")
    return value
