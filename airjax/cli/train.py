"""The command line: airjax train --target 94, or python -m airjax.train --target 94."""

import contextlib
import dataclasses
import functools
import itertools
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from rich.console import Console

from airjax.cli.console import EXIT_CLOSED, describe_os_error, keep_running
from airjax.cli.display import Display
from airjax.cli.stopping import watch_signals
from airjax.cli.trackers import find_tracker
from airjax.cli.tracking import Opener, Tracking, Watchers
from airjax.cli.train_data import default_workers, fit_to_data, load_for
from airjax.cli.train_folder import (
    Contents,
    EpochLog,
    FolderError,
    choose_precision,
    hold,
    keep_run,
    open_folder,
    setting_of,
)
from airjax.cli.train_options import Options, UsageError, make_parser, parse
from airjax.cli.train_result import describe_result, record_run, summarize_runs
from airjax.data import DataError, Dataset
from airjax.data.labels import VARIABLE
from airjax.data.load import is_own
from airjax.data.place import resolved
from airjax.data.registry import find_entry
from airjax.recipes.recipe import Recipe
from airjax.stream.tree import Tree
from airjax.training.backend import resolve_precision
from airjax.training.checkpoint import Model
from airjax.training.compile import keep_compiled
from airjax.training.data_parallel import mesh_for
from airjax.training.environment import describe
from airjax.training.events import Callbacks
from airjax.training.loop import DivergedError, TrainedRun, require_finite, require_finite_logits, train
from airjax.training.many import run_many, seed_keys
from airjax.training.members import Strategy, strategy_backend
from airjax.training.processes import (
    Meeting,
    OtherProcessError,
    end_alone,
    first_does,
    is_first,
    largest_of,
    meet,
    require_same,
    several,
)
from airjax.training.snapshots import NOTHING_KEPT, Keeping, StoppedError
from airjax.training.strategy import choose_strategy
from airjax.training.stream_data import members_of
from airjax.training.stream_loop import train_members
from airjax.utils.extras import MissingExtraError
from airjax.utils.platform import DeviceError
from airjax.utils.records import dump_json

__all__ = ["main", "make_parser", "run"]

EXIT_OK, EXIT_FAILURE, EXIT_USAGE, EXIT_BELOW_TARGET, EXIT_INTERRUPTED = 0, 1, 2, 3, 130
NEVER = 1_000_000  # epochs: more than any recipe has

Outcome = TrainedRun | DivergedError  # of one network


class Job(NamedTuple):
    """What one command trains, checked."""

    options: Options[Recipe]
    name: str  # of the recipe
    recipe: Recipe  # with the options' changes, and its precision resolved
    dataset: Dataset | Tree
    environment: dict[str, Any]
    notes: list[str]  # warnings about the data
    finished: list[Callable[[], None]]  # what removes the snapshots of networks that are trained
    resized: str = ""  # what was done to pictures of one's own
    keeping: Keeping = NOTHING_KEPT  # snapshots of what is in training
    tracker: Opener | None = None  # opens runs of the tracker that is asked for

    @property
    def seeds(self) -> range:
        """Return the seeds of all networks that are asked for."""
        return range(self.options.seed, self.options.seed + self.options.seeds)


def main(arguments: list[str] | None = None, prog: str = "python -m airjax.train") -> int:
    """Run the command line and return its exit code: 0 trained, 1 failure, 2 bad usage or input, 3 below the target."""
    try:
        options, name = parse(sys.argv[1:] if arguments is None else arguments, prog)
    except UsageError as error:
        return _fail(error, EXIT_USAGE)
    try:
        if options.coordinator is not None:
            meet(Meeting(options.coordinator, options.processes, options.process_id))
        return largest_of(run(options, name))
    except OtherProcessError as error:
        return _fail(error, EXIT_USAGE)
    except (UsageError, DataError, DeviceError, FolderError, MissingExtraError) as error:
        return _fail(error, EXIT_USAGE)
    except OSError as error:
        return _fail(describe_os_error(error), EXIT_FAILURE)
    except Exception as error:
        if not several():
            raise
        end_alone(error)
    except SystemExit as end:
        if end.code == EXIT_CLOSED:
            print("stopped: nothing reads the output any more; with --out DIR training would go on", file=sys.stderr)
        raise


def run(options: Options[Recipe], name: str) -> int:
    """Train as the options say; print and save the results."""
    keep_compiled()
    job = _prepare_alike(options if is_first() else dataclasses.replace(options, track=None), name)
    if options.out is None:
        return _report(job, _train(job, {}), mixed={})
    keep_running()
    with _opened(job, options.out) as found:
        with watch_signals() as request:
            every = options.checkpoint_every or NEVER
            keeping = Keeping(options.out / "snapshots", every, request, on_finished=job.finished.append)
            done = _train(job._replace(keeping=keeping), found.runs)
        if done.code == EXIT_INTERRUPTED and request():
            done = done._replace(code=request.exit_code)
        return _report(job, done, mixed=found.mixed)


@contextlib.contextmanager
def _opened(job: Job, out: Path) -> Iterator[Contents]:
    # What the folder holds, which process 0 alone opens, and keeps others out of.
    with contextlib.ExitStack() as stack:

        def look() -> list[Any]:
            stack.enter_context(hold(out))
            kept = {"mixed": job.options.mixed, "found_at": _found_at(job)}
            found = open_folder(out, job.name, job.recipe, job.dataset, job.environment, job.seeds, **kept)
            for seed, run in found.runs.items():
                _require_same_batches(job, out, seed, run)
            for note in found.lost:
                print(f"warning: {note}", file=sys.stderr)
            return [list(found.runs.values()), found.lost, found.mixed]

        runs, lost, mixed = first_does(look)
        yield Contents({run["seed"]: run for run in runs}, lost, mixed)


def _require_same_batches(job: Job, out: Path, seed: int, run: dict[str, Any]) -> None:
    before, now = run.get("batches_of"), _shared_batches(job, seed)
    if before != now:
        raise FolderError(
            f"the network of seed {seed} in {out} learned from {_whose(before)}, which is not {_whose(now)}; give the "
            "--group and --seed that it was trained with, or another --out"
        )


def _whose(seed: int | None) -> str:
    return "batches of its own" if seed is None else f"the batches of seed {seed}"


def _prepare_alike(options: Options[Recipe], name: str) -> Job:
    # What this process trains, if all processes train the same, and evaluate, stop and end alike.
    options = _with_precision(options)
    try:
        folder = (options.out or Path()) / "tensorboard"
        tracker = options.track and find_tracker(options.track, folder, options.track_project)
        job = _prepare(options, name)._replace(tracker=tracker)
    except Exception:
        require_same("", None, failed=True)
        raise
    same = [job.recipe.to_dict(), job.dataset.fingerprint, job.environment["versions"], options.out is None]
    names = (
        "seed",
        "seeds",
        "group",
        "devices",
        "checkpoint_every",
        "quiet",
        "validate_epochs",
        "target",
        "require_target",
    )
    require_same("a recipe, data, options or versions", [*same, *(getattr(options, name) for name in names)])
    return job


def _with_precision(options: Options[Recipe]) -> Options[Recipe]:
    # With auto as this command takes it, in all processes as the first one's machine has it.
    if options.method.precision != "auto":
        return options
    precision = first_does(functools.partial(choose_precision, options.method, options.strategy, options.out))
    method = options.method if precision is None else options.method.override(precision=precision)
    return dataclasses.replace(options, method=method)


def _prepare(options: Options[Recipe], name: str) -> Job:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dataset, resized = load_for(options, name)
    notes = [str(warning.message) for warning in caught]
    for note in notes:
        print(f"warning: {note}", file=sys.stderr)
    try:
        recipe = resolve_precision(fit_to_data(options.method, dataset))
        mesh = mesh_for(options.devices)
        strategy_backend(recipe, "sequential", mesh=mesh)  # before anything is written: can they share its batches?
        environment = describe()
        if mesh is not None:
            environment |= {"network_devices": mesh.size, "processes": jax.process_count()}
        return Job(options, name, recipe, dataset, environment, notes, [], resized)
    except ValueError as error:
        raise UsageError(error) from error


def _found_at(job: Job) -> dict[str, Any]:
    # Where a page finds the data again.
    options, data = job.options, job.dataset
    entry = find_entry("cifar10" if options.data == "auto" else options.data)
    official = entry.official if entry else None
    place: Any = options.data_dir or (os.environ.get(official.variable) if official else None)
    if isinstance(data, Tree):
        place = data.place
    elif is_own(options.data):
        place = options.data
    labels = (options.labels_dir or os.environ.get(VARIABLE) or options.data_dir) if options.labels else None
    places = {"place": resolved(place or None), "labels_place": resolved(labels or None)}
    return places | {"image_size": options.image_size, "validation": options.validation or 0}


class Done(NamedTuple):
    """What came of a command's trainings."""

    runs: list[dict[str, Any]]  # records of all networks that are finished
    diverged: list[int]  # seeds of those that did
    code: int  # of what stopped the trainings, or EXIT_OK


def _train(job: Job, kept: dict[int, dict[str, Any]]) -> Done:
    out, records, code, reasons = job.options.out, dict(kept), EXIT_OK, list[str]()
    diverged: list[DivergedError] = []
    missing = [seed for seed in job.seeds if seed not in kept]
    display = Display(Console(), quiet=job.options.quiet or not is_first(), total=len(missing))
    tracking = _tracking_of(job)
    with display, tracking:
        recipe, device = job.recipe, job.environment["device"]
        display.line(
            f"recipe {job.name}, {recipe.total_steps} steps, {recipe.num_params:,} parameters, {job.dataset.name}, "
            f"{recipe.precision} on {device}"
        )
        if job.resized:
            display.line(job.resized)
        for seed in sorted(kept):
            display.line(f"seed {seed}: accuracy {kept[seed]['accuracy']:.2%}, kept from {out}")
        watchers = Watchers(display, tracking, EpochLog(out))
        try:
            for trained in _trainings(job, missing, watchers):
                if isinstance(trained, DivergedError):
                    diverged.append(trained)
                    display.diverged(trained)
                    continue
                records[trained.seed] = record_run(trained, _shared_batches(job, trained.seed))
                if out:
                    first_does(functools.partial(_keep, job, trained, records[trained.seed]))
                watchers.run(trained)
        except KeyboardInterrupt as error:
            if several():  # the others are in the middle of a step, which they cannot end without this process
                end_alone(error, EXIT_INTERRUPTED)
            code, reasons = EXIT_INTERRUPTED, ["interrupted"]
        except StoppedError as error:
            code, reasons = EXIT_INTERRUPTED, [f"{error}, which is kept"]
        except ArithmeticError as error:  # of jax_debug_nans
            code, reasons = EXIT_FAILURE, [f"error: {error}"]
        except OSError as error:
            code, reasons = EXIT_FAILURE, [f"error: {describe_os_error(error)}"]
    done = [records[seed] for seed in job.seeds if seed in records]
    if diverged and is_first():
        again = f"{'error: ' if not code else ''}{'; '.join(map(str, diverged))}"
        reasons.append(f"{again}; rerunning the same command ends in the same")
    resume = f"; rerunning the same command resumes in {out}" if out and code else ""
    code = code or (EXIT_FAILURE if diverged else EXIT_OK)
    if code and is_first():
        print(f"{'; '.join(reasons)}; {len(done)} of {len(job.seeds)} networks are finished{resume}", file=sys.stderr)
    return Done(done, [error.seed for error in diverged], code)


def _shared_batches(job: Job, seed: int) -> int | None:
    # The other seed on whose batches a network learns; None: on its own.
    first = _batches_of(job.options, seed) if isinstance(job.dataset, Tree) else seed
    return None if first == seed else first


def _keep(job: Job, trained: TrainedRun, record: dict[str, Any]) -> None:
    assert job.options.out is not None
    model = Model(trained.recipe, trained.variables, job.dataset.classes)
    setting = setting_of(job.recipe, job.dataset)
    keep_run(job.options.out, model, record, setting, job.environment, trained.logits)


def _report(job: Job, done: Done, *, mixed: dict[str, list[Any]]) -> int:
    # Prints the result of all finished networks, and returns the exit code.
    if not done.runs:
        return done.code
    target = int(job.options.target) / 100 if job.options.target else None
    summary = summarize_runs(job.name, job.recipe, job.dataset, done.runs, diverged=done.diverged, target=target)
    summary |= {"mixed": mixed, "warnings": job.notes} | job.environment
    if is_first():
        Display(Console(), quiet=job.options.quiet).result(describe_result(summary))
        if job.options.json:
            print(dump_json(summary), flush=True)
    met = summary["target_met"] in ("confirmed", "mean")
    return done.code or (EXIT_BELOW_TARGET if job.options.require_target and not met else EXIT_OK)


def _tracking_of(job: Job) -> Tracking:
    data = {"recipe_name": job.name, "dataset": job.dataset.name, "dataset_sha256": job.dataset.fingerprint}
    return Tracking(job.options.track, job.tracker, data | job.environment)


def _trainings(job: Job, seeds: Sequence[int], watchers: Watchers) -> Iterator[Outcome]:
    # One after another, or several at once. One that diverges does not stop the others.
    dataset, strategy, group = job.dataset, job.options.strategy, job.options.group
    if isinstance(dataset, Tree):
        yield from _trainings_on_tree(job, dataset, seeds, watchers)
        return
    if strategy == "auto":
        strategy, measured = choose_strategy(job.recipe, max(1, len(seeds)))
        group = group or measured
    if strategy == "sequential":
        yield from _trainings_one_by_one(job, dataset, seeds, watchers)
    else:
        yield from _trainings_in_groups(job, dataset, seeds, strategy, group, watchers)


def _trainings_one_by_one(job: Job, dataset: Dataset, seeds: Sequence[int], watchers: Watchers) -> Iterator[Outcome]:
    how: dict[str, Any] = {"on_phase": watchers.phase, "on_step": watchers.step, "on_epoch": watchers.epoch}
    how |= {"validate": _validates(job), "devices": job.options.devices, "keeping": job.keeping}
    for seed in seeds:
        watchers.begin(job.recipe, [seed])
        try:
            trained = train(job.recipe, dataset, seed, **how)
        except DivergedError as error:
            yield error
            _remove_snapshots(job)
        else:
            yield from _kept(job, [trained])


def _validates(job: Job) -> bool:
    return job.options.validate_epochs and not job.options.quiet


def _trainings_on_tree(job: Job, tree: Tree, seeds: Sequence[int], watchers: Watchers) -> Iterator[Outcome]:
    # In groups that share their batches.
    options = job.options
    how: dict[str, Any] = {"validate": _validates(job), "devices": options.devices, "keeping": job.keeping}
    workers = default_workers()  # all processes ask each other, whichever of them are told how many
    how["workers"] = workers if options.workers is None else options.workers
    how["called"] = Callbacks(watchers.phase, watchers.step, watchers.epoch)
    for first, group in itertools.groupby(seeds, key=functools.partial(_batches_of, options)):
        part = list(group)
        watchers.begin(job.recipe, part)
        try:
            runs = train_members(job.recipe, tree, members_of(job.recipe, part), batches_of=first, **how)
        except (DataError, OSError) as error:
            if several():  # of an image that is this process's alone: the others are in the middle of a step
                end_alone(error, EXIT_USAGE if isinstance(error, DataError) else EXIT_FAILURE)
            raise
        except DivergedError as error:  # all of them
            yield error
        else:
            yield from _kept(job, runs)


def _batches_of(options: Options[Recipe], seed: int) -> int:
    # The seed on whose batches a network of a tree learns: that of the first one of its group.
    return seed - (seed - options.seed) % (options.group or 1)


def _trainings_in_groups(
    job: Job, dataset: Dataset, seeds: Sequence[int], strategy: Strategy, group: int | None, watchers: Watchers
) -> Iterator[Outcome]:
    remaining = seeds
    watched = not job.options.quiet or job.tracker is not None or job.options.out is not None
    while remaining:
        part = remaining[: group or len(remaining)]
        watchers.begin(job.recipe, part)
        done = run_many(
            job.recipe,
            seed_keys(part),
            dataset,
            strategy=strategy,
            group=group,
            validate=_validates(job),
            keep_variables=True,
            progress=False,
            on_phase=watchers.phase,
            on_step=watchers.step,
            on_epoch=watchers.epoch if watched else None,
            keeping=job.keeping,
        )
        yield from _kept(job, done.runs(part))
        # What fitted into memory this time is what the next ones try.
        remaining, group = remaining[len(part) :], done.group


def _kept(job: Job, runs: Sequence[TrainedRun]) -> Iterator[Outcome]:
    # Their snapshots are removed once whoever takes these networks has kept all, and comes back for more.
    for run in runs:
        try:
            require_finite(run.recipe, run.seed, run.metrics.loss, len(run.metrics.loss))
            require_finite_logits(run.recipe, run.seed, run.logits)
        except DivergedError as error:
            yield error
        else:
            yield run
    _remove_snapshots(job)


def _remove_snapshots(job: Job) -> None:
    while job.finished:
        job.finished.pop()()


def _fail(error: object, code: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return code
