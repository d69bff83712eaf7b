"""What a sweep's worker process does: trains chunks of networks and writes down every one of them."""

import functools
import math
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import jax
import numpy as np

from airjax.data import DataError, Dataset, load_data
from airjax.data.registry import find_entry
from airjax.sweep.plan import Plan, Run
from airjax.sweep.status import phases_of, write_phase
from airjax.sweep.store import Writer
from airjax.training.arrays import fit_recipe
from airjax.training.backend import backend_of
from airjax.training.checkpoint import Model, save_model
from airjax.training.compile import keep_compiled
from airjax.training.environment import describe
from airjax.training.eval_plans import eval_batch
from airjax.training.events import Stage
from airjax.training.many import ManyRuns, run_many, seed_keys
from airjax.training.members import Strategy, make_members
from airjax.training.memory import is_out_of_memory
from airjax.training.self_check import fingerprint, run_checks
from airjax.training.snapshots import NOTHING_KEPT, Keeping, StoppedError
from airjax.training.strategy import choose_strategy

PHASES: dict[Stage, str] = {
    "compile": "compiling",
    "whiten": "initialising",
    "train": "training",
    "validate": "evaluating",
    "evaluate": "evaluating",
}


class WorkerError(ValueError):
    """A machine that must not train; the message names it, and the remedy."""


class Source(NamedTuple):
    """One data set of a sweep, as plan.json has it."""

    fingerprint: str
    content: str  # official, shuffled or unknown (`airjax.data.Dataset.content`)
    place: str | None  # where it was read from; None is the cache, or nowhere for a set that is made on the spot
    split: str = "test"  # what its test images are: test or validation
    validation: int = 0  # training examples that take the place of the test split
    whole: str | None = None  # fingerprint before that and before other labels, where there are either
    image_size: int | None = None  # pixels to which images of one's own were scaled
    labels: str | None = None  # of CIFAR-10's images, in the place of its own
    labels_place: str | None = None  # where their file was
    classes: int | None = None  # how many there are


@dataclass(frozen=True)
class Job:
    """What all chunks of a sweep have in common. Its paths are absolute: workers may be on other machines."""

    plan: Plan
    out: Path
    data_dir: Path | None
    strategy: Strategy | None  # None: the one that was measured to be the fastest
    platform: str  # that the plan's precision was resolved for
    data: dict[str, Source]
    checkpoint_every: int | None = None  # epochs between two snapshots of what is in training; None: none are taken
    shard: str = ""  # whose networks these are, such as "2-of-8"; of the whole sweep none's


class Chunk(NamedTuple):
    """Networks of one compiled program, trained by one worker."""

    runs: tuple[Run, ...]


class Result(NamedTuple):
    """One network that was tried: as part of a group, or with an error."""

    run: Run
    done: ManyRuns | None
    place: int  # in the group
    error: str | None


class Outcome(NamedTuple):
    """One finished network, for whoever watches."""

    id: str
    setting: int
    accuracy: float | None
    diverged: bool
    error: str | None


class Report(NamedTuple):
    """What a worker says of a chunk."""

    outcomes: list[Outcome]
    environment: dict[str, Any]  # fingerprint, device, versions: a line of environments.jsonl


@dataclass
class _Worker:
    # What a process keeps between its chunks.
    job: Job
    writer: Writer
    datasets: dict[str, Dataset]
    environment: dict[str, Any]
    finished: int = 0  # networks of the chunk that it works on


_job: Job | None = None
_worker: _Worker | None = None
_in_training = threading.Event()
_asked_to_stop = threading.Event()


def start_worker(job: Job) -> None:
    """Tell a new process what it works on."""
    global _job  # noqa: PLW0603 the pools call functions, and a process keeps its data and its file between them
    keep_compiled()
    _job = job
    if job.checkpoint_every is not None:
        # A machine that is taken away says so some seconds before: enough for a snapshot.
        _stop_at_sigterm()


def _stop_at_sigterm() -> None:
    # A chunk in training ends with a snapshot and is handed back; a process that waits for one ends as before.
    before = signal.getsignal(signal.SIGTERM)

    def stop(number: int, frame: FrameType | None) -> None:
        if _in_training.is_set():
            _asked_to_stop.set()
        elif callable(before):
            before(number, frame)
        else:
            os._exit(128 + number)

    signal.signal(signal.SIGTERM, stop)


def worker_name() -> str:
    """Return a name that no other worker has, and that sorts by when it was made."""
    return f"{time.time_ns():020}-{os.uname().nodename}-{os.getpid()}"


def train_chunk(chunk: Chunk) -> Report:
    """Train and write a chunk's networks, in a process that `start_worker` was called in.

    The first chunk of a process begins with the self-check (`airjax.training.self_check`). Raises WorkerError.
    """
    global _worker  # noqa: PLW0603 see start_worker
    assert _job is not None
    _in_training.set()
    try:
        _worker = _worker or _check_and_load(_job)
        _worker.finished, outcomes = 0, []
        for each in _results(_worker, chunk.runs, _job.strategy):
            outcomes.append(_finish(_worker, *each))
            _worker.finished += 1
    except StoppedError:
        _asked_to_stop.clear()  # or no later chunk would get further
        raise
    finally:
        _in_training.clear()
        _say(_job, None)
    return Report(outcomes, _worker.environment)


def _check_and_load(job: Job) -> _Worker:
    # Whatever is wrong with a machine, and would be with all its networks, is found out before it trains one.
    here = os.uname().nodename
    if jax.default_backend() != job.platform:
        raise WorkerError(f"{here} computes on a {jax.default_backend()}, the sweep on {job.platform}s; check its jax")
    if not (job.out / "plan.json").exists():
        raise WorkerError(f"{here} does not see {job.out}; choose an --out that all machines share")
    _say(job, "self-check")
    checks = run_checks()
    wrong = [check.name for check in checks if not check.passed]
    if wrong:
        raise WorkerError(
            f"the compiler on {here} returns wrong numbers ({', '.join(wrong)}); see python -m airjax.doctor there"
        )
    _say(job, "loading data")
    datasets = {name: _load(name, source, job.data_dir, here) for name, source in job.data.items()}
    environment = {"environment": fingerprint(checks)} | describe()
    return _Worker(job, Writer(job.out, worker_name()), datasets, environment)


def _load(name: str, source: Source, data_dir: Path | None, here: str) -> Dataset:
    entry = find_entry(name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # where the sweep was started they were said
            if entry is None:
                dataset = load_data(source.place or name, image_size=source.image_size)
            else:
                place = data_dir if entry.has_files else None
                dataset = load_data(name, place, labels=source.labels, labels_dir=source.labels_place)
            if source.validation:
                dataset = dataset.with_validation(source.validation)
    except DataError as error:
        raise WorkerError(f"{here}: {error}") from error
    if dataset.fingerprint != source.fingerprint:
        remedy = "check --data-dir" if entry else "put the same files there"
        raise WorkerError(f"{name} on {here} is not what it is where the sweep was started; {remedy}")
    return dataset


def _results(worker: _Worker, runs: tuple[Run, ...], strategy: Strategy | None) -> Iterator[Result]:
    if strategy is None:
        strategy = choose_strategy(worker.job.plan.settings[runs[0].setting].recipe, len(runs))[0]
    together = [runs] if strategy != "sequential" else [(run,) for run in runs]
    for part in together:
        finished: list[Callable[[], None]] = []
        try:
            done = _train(worker, part, strategy, finished.append)
        except StoppedError:
            raise  # nobody's fault: another worker goes on from the snapshot
        except Exception as error:
            if strategy != "sequential":
                # One of them may be at fault: each on its own, so that it takes no other with it.
                for run in part:
                    yield from _results(worker, (run,), "sequential")
            else:
                yield Result(part[0], None, 0, f"{type(error).__name__}: {error}")
            continue
        for place, run in enumerate(part):
            yield Result(run, done, place, None)
        for clear in finished:  # snapshots of what is written by now
            clear()


def _train(
    worker: _Worker, runs: tuple[Run, ...], strategy: Strategy, on_finished: Callable[[Callable[[], None]], None]
) -> ManyRuns:
    plan = worker.job.plan
    settings = [plan.settings[run.setting] for run in runs]
    data, subsets = worker.datasets[settings[0].data], None
    recipe = fit_recipe(settings[0].recipe, data)
    if plan.subsets is not None:
        pool = settings[0].pool
        subsets = np.stack([plan.subsets.indices(run.subset or 0, pool) for run in runs])
    members = make_members(
        recipe,
        seed_keys([run.seed for run in runs]),
        learning_rate=[setting.recipe.optimizer.learning_rate for setting in settings],
        weight_decay=[setting.recipe.optimizer.weight_decay for setting in settings],
        momentum=[setting.recipe.optimizer.momentum for setting in settings],
        label_smoothing=[setting.recipe.loss.label_smoothing for setting in settings],
        subsets=subsets,
    )
    if subsets is not None:
        data = data.head(settings[0].pool, recipe.test_examples)
    train = functools.partial(
        run_many,
        recipe,
        members,
        data,
        strategy=strategy,
        validate=plan.keep.plain_accuracy,
        keep_variables=plan.keep.networks,
        progress=False,
        on_phase=lambda phase: _say(worker.job, PHASES[phase], worker.finished),
        keeping=_keeping(worker.job, on_finished),
    )
    try:
        return train()
    except jax.errors.JaxRuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return train(eval_size=max(1, eval_batch(recipe, backend_of(recipe)) // 8))


def _keeping(job: Job, on_finished: Callable[[Callable[[], None]], None]) -> Keeping:
    if job.checkpoint_every is None:
        return NOTHING_KEPT
    return Keeping(job.out / "snapshots", job.checkpoint_every, _asked_to_stop.is_set, on_finished)


def _say(job: Job, phase: str | None, finished: int = 0) -> None:
    write_phase(phases_of(job.out, job.shard), f"{os.uname().nodename}-{os.getpid()}", phase, finished)


def _finish(worker: _Worker, run: Run, done: ManyRuns | None, place: int, error: str | None) -> Outcome:
    job = worker.job
    record = run_record(job, run, error) | {"environment": worker.environment["environment"]}
    if done is None:
        worker.writer.add(record)
        return Outcome(run.id, run.setting, None, False, error)
    diverged, accuracy = bool(done.diverged[place]), float(done.accuracy[place])
    logits, losses = done.logits[place], done.metrics.loss[place]
    longest = max(math.ceil(setting.recipe.epochs) for setting in job.plan.settings)
    seconds = sum(done.seconds.values()) / len(done.accuracy)
    record |= {"accuracy": accuracy, "diverged": diverged, "examples": len(logits), "seconds": round(seconds, 4)}
    if done.plain_accuracy is not None:
        record["plain_accuracy"] = float(done.plain_accuracy[place])
    record["last_loss"] = float(losses[-1]) if np.isfinite(losses[-1]) else None
    curve = epoch_means(losses, done.metrics.accuracy[place], done.recipe.steps_per_epoch, longest)
    arrays = {"predictions": logits.argmax(1).astype(np.uint8), "curves": curve}
    if job.plan.keep.logits:
        arrays["logits"] = logits.astype(np.float16)
    if job.plan.keep.networks:
        networks = worker.writer.folder / "networks"
        networks.mkdir(exist_ok=True)
        # Networks of a chunk share a program, but not the values that it is given, such as the learning rate.
        setting = job.plan.settings[run.setting]
        data = worker.datasets[setting.data]
        model = Model(fit_recipe(setting.recipe, data), done.variables[place], data.classes)
        save_model(networks / f"{run.id}.safetensors", model)
    worker.writer.add(record, arrays)
    return Outcome(run.id, run.setting, accuracy, diverged, None)


def epoch_means(losses: np.ndarray, accuracies: np.ndarray, steps: int, epochs: int) -> np.ndarray:
    """Means of a training's [T] losses and accuracies over every epoch of so many steps.

    [epochs,2] float32; the last epoch may be shorter, and NaN stands for those that the training does not have.
    """
    curve = np.full((epochs, 2), np.nan, np.float32)
    for epoch in range(math.ceil(len(losses) / steps)):
        part = slice(epoch * steps, (epoch + 1) * steps)
        curve[epoch] = losses[part].mean(), accuracies[part].mean()
    return curve


def run_record(job: Job, run: Run, error: str | None) -> dict[str, Any]:
    """Return what is written about every network, trained or not."""
    setting = job.plan.settings[run.setting]
    source = job.data.get(setting.data)
    return {
        "id": run.id,
        "setting": run.id.split("-")[0],
        "data": setting.data,
        "content": source.content if source else None,
        "split": source.split if source else None,
        "labels": source.labels if source else None,
        "seed": run.seed,
        "subset": run.subset,
        "changes": setting.changes,
        "environment": None,  # of a network that no worker is left to write about
        "accuracy": None,
        "diverged": False,
        "error": error,
        "examples": setting.recipe.test_examples,
        "seconds": None,
    }
