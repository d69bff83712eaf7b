"""The one training loop: calls the programs of a group of networks, watches the clock and the loss.

There is one training step, and there are three ways to call it: a scan over an epoch's steps on accelerators; on a CPU,
chunks of a few steps where oneDNN convolves, and single steps where XLA does (docs/performance.md, "What was tried").
One network is a group of one.
"""

import itertools
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn

import jax
import numpy as np
from jaxtyping import Float

from airjax.data.dataset import Dataset
from airjax.kernels.backend import Backend, Driver
from airjax.nn.build import Variables
from airjax.recipes.published import get_recipe
from airjax.recipes.recipe import Recipe
from airjax.training.arguments import check_data
from airjax.training.arrays import to_device
from airjax.training.backend import resolve_precision
from airjax.training.data_parallel import Devices, mesh_for, replicate, to_one_device
from airjax.training.eval_plans import EvalPlan, eval_plan
from airjax.training.evaluate import batched_logits, compile_evaluation
from airjax.training.evaluate_group import compile_group_evaluation, group_logits
from airjax.training.events import Callbacks, Clock, CropResult, EpochReport, Stage
from airjax.training.members import Members, Strategy, make_members, strategy_backend
from airjax.training.processes import agree_to_stop, several
from airjax.training.programs import Call, Kind, Programs, kinds_of, plan_calls, programs_of
from airjax.training.run import Arrays, Task
from airjax.training.snapshots import NOTHING_KEPT, Keeping, Snapshot, Snapshots, StoppedError, open_snapshots
from airjax.training.step import StepMetrics, TrainState
from airjax.utils.reprs import one_line
from airjax.utils.seeds import check_seed, make_keys

# Seconds of training from which on a snapshot is taken before the last evaluation, where any are kept: it takes a
# fraction of a second, and an evaluation on a CPU minutes, in which a process may be killed.
WORTH_KEEPING = 30.0


class TrainedRun(NamedTuple):
    """A finished training and what it cost."""

    recipe: Recipe  # with its precision resolved
    seed: int
    variables: Variables
    metrics: StepMetrics  # numpy arrays [t]: one entry per step
    logits: Float[np.ndarray, "m l"]  # of the test images, with test-time augmentation
    accuracy: float  # fraction of the test images classified right
    seconds: dict[str, float]  # compile, whiten, train, evaluate
    test_crops: tuple[CropResult, ...] = ()  # of a network that learned from a tree of images
    plain_accuracy: float | None = None  # without test-time augmentation, where that was asked for

    def __repr__(self) -> str:
        return one_line(self)


class DivergedError(ArithmeticError):
    """The loss became NaN or infinite, or after the last step the logits of the test images.

    `step` is the first step with such a loss, from 0, and None where it is the logits; the message counts from 1.
    """

    def __init__(self, recipe: Recipe, seed: int, step: int | None) -> None:
        self.recipe, self.seed, self.step = recipe, seed, step
        where = "the outputs on the test images are not finite"
        if step is not None:
            epoch, epochs = step // recipe.steps_per_epoch + 1, math.ceil(recipe.epochs)
            where = f"the loss is not finite at step {step + 1} of {recipe.total_steps} (epoch {epoch} of {epochs})"
        rate = recipe.optimizer.learning_rate
        super().__init__(f"seed {seed}: {where}; lower learning-rate (now {rate:g}) or momentum")

    def __reduce__(self) -> tuple[Any, ...]:
        # So that it comes back from another process: an exception is made again of its message alone.
        return DivergedError, (self.recipe, self.seed, self.step)


def require_finite(recipe: Recipe, seed: int, losses: Float[np.ndarray, " s"], steps_done: int) -> None:
    """Raise DivergedError unless the losses of the last s of the steps that are done are finite."""
    finite = np.isfinite(losses)
    if not finite.all():
        raise DivergedError(recipe, seed, steps_done - len(finite) + int(np.argmin(finite)))


def require_finite_logits(recipe: Recipe, seed: int, logits: Float[np.ndarray, "m l"]) -> None:
    """Raise DivergedError unless the logits of the test images are finite."""
    if not np.isfinite(logits).all():
        raise DivergedError(recipe, seed, None)


class Work(NamedTuple):
    """What all groups of one training have in common."""

    recipe: Recipe  # with its precision resolved
    backend: Backend
    strategy: Strategy
    calls: list[Call]
    arrays: Arrays
    evaluation: EvalPlan
    called: Callbacks
    validate: bool = False  # evaluate without test-time augmentation, too; after every epoch if there is an on_epoch
    check: Callable[[StepMetrics, int], None] | None = None  # an epoch's metrics [k,s], and steps done: may raise
    keeping: Keeping = NOTHING_KEPT
    snapshots: Snapshots | None = None  # of this group; None: none are taken
    before: Mapping[str, float] = MappingProxyType({})  # seconds on the clock when this group began


class Finished(NamedTuple):
    """A group that is trained and evaluated."""

    metrics: StepMetrics  # numpy arrays [k,t]
    logits: Float[np.ndarray, "k m l"]
    plain_accuracy: Float[np.ndarray, " k"] | None  # without test-time augmentation; None: nobody asked
    variables: Variables  # on the device: k networks, with an axis; of "sequential", the one network without it


def train(
    recipe: Recipe | str,
    data: Dataset,
    seed: int,
    *,
    driver: Driver | None = None,
    validate: bool = False,
    on_step: Callable[[int, StepMetrics], None] | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
    on_phase: Callable[[Stage], None] | None = None,
    keeping: Keeping = NOTHING_KEPT,
    devices: Devices | None = None,
) -> TrainedRun:
    """Train one network and evaluate it.

    Args:
        recipe: the method, or its name. It uses the first `train_examples` and `test_examples` of the data.
        data: the data set.
        seed: the one number that everything random follows from: a whole number from 0 to 2**32 - 1.
        driver: how steps are called; None is the fastest here (`airjax.kernels.backend.default_driver`).
        validate: also evaluate without test-time augmentation at the end, and after every epoch if there is an
            on_epoch; outside the clock.
        on_step: called with the number of steps done and the metrics of the latest of them, once for every call of a
            training program, whose results are at hand by the time of the next call.
        on_epoch: called after every epoch.
        on_phase: called with what begins, before it does. A compilation may be over at once: nothing is compiled twice.
        keeping: where and how often snapshots are taken. Rerunning the same call resumes from the last one, to the same
            bits.
        devices: how many devices share every batch, or all that there are, those of all processes together; None: one.
            In several processes all make the same call, and get the same result.

    Raises:
        StoppedError: keeping asked to stop; a snapshot is written.
        DivergedError: a loss is not finite, or a logit of a test image.
        ValueError: another seed, the data has fewer examples than the recipe uses, or the devices cannot share a batch
            equally.
        DeviceError: more devices than there are.
        TypeError: a recipe or data of another type.
    """
    seed, data = check_seed(seed), check_data(data)
    recipe = resolve_precision(get_recipe(recipe))
    mesh = mesh_for(devices)
    backend, clock = strategy_backend(recipe, "sequential", driver, mesh), Clock(on_phase)

    def check(metrics: StepMetrics, steps_done: int) -> None:
        require_finite(recipe, seed, metrics.loss[0], steps_done)

    work = Work(
        recipe,
        backend,
        "sequential",
        plan_calls(recipe, backend, by_epoch=on_epoch is not None or keeping.folder is not None),
        to_device(data, recipe, mesh),
        eval_plan(recipe, backend),
        Callbacks(on_phase, None if on_step is None else of_one(on_step), on_epoch),
        validate,
        check,
        keeping if keeping is NOTHING_KEPT else keeping._replace(should_stop=agree_to_stop(keeping.should_stop)),
    )
    members = replicate(mesh, make_members(recipe, make_keys([seed])))
    done = train_group(work, members, snapshots_for(work, members, data), clock)
    require_finite_logits(recipe, seed, done.logits[0])
    metrics = StepMetrics(*(column[0] for column in done.metrics))
    accuracy = float((done.logits[0].argmax(1) == np.asarray(work.arrays.test_labels)).mean())
    return TrainedRun(
        recipe,
        seed,
        to_one_device(mesh, done.variables),
        metrics,
        done.logits[0],
        accuracy,
        clock.seconds,
        plain_accuracy=None if done.plain_accuracy is None else float(done.plain_accuracy[0]),
    )


def group_programs(work: Work, members: Members) -> Programs:
    """Return the programs with which these members train; nothing is compiled yet."""
    arguments = (members, work.arrays.train_images, work.arrays.train_labels)
    return programs_of(work.recipe, work.backend, work.strategy, arguments)


def snapshots_for(work: Work, members: Members, data: Dataset) -> Snapshots | None:
    """Return the snapshots of a group's training on this data, or None where none are kept."""
    return open_snapshots(work.keeping, work.recipe, work.backend, work.strategy, members, data)


def train_group(work: Work, members: Members, snapshots: Snapshots | None, clock: Clock) -> Finished:
    """Train a group of networks, from its last snapshot if there is one, and evaluate them.

    No snapshot is left, unless keeping.on_finished leaves them.
    """
    work = work._replace(snapshots=snapshots, before=dict(clock.seconds))
    done = run_group(work, group_programs(work, members), members, clock)
    if snapshots is not None:
        work.keeping.on_finished(snapshots.clear)
    return done


def compile_group(work: Work, members: Members) -> list[Any]:
    """Compile all that a group of these members needs, so far as it is not, and return the programs."""
    programs = group_programs(work, members)
    programs.compile(kinds_of(work.calls))
    images, plan = work.arrays.test_images, work.evaluation
    count = len(members.keys)
    logits = compile_group_evaluation(work.recipe, work.backend, work.strategy, count, plan, images)
    return [*programs.compiled(), *logits]


def run_group(work: Work, programs: Programs, members: Members, clock: Clock) -> Finished:
    """Train a group of networks and evaluate them."""
    arrays, count = work.arrays, len(members.keys)
    # An accelerator is to stay busy once it starts, so everything is compiled first; on a CPU only what the first step
    # needs, which does not wait for the programs of later epochs.
    kinds = kinds_of(work.calls)
    _compile(programs, kinds if work.backend.driver == "scan" else kinds[:1], clock)
    clock.begin("whiten")
    state, draws = jax.block_until_ready(programs.start(members, arrays.train_images))
    clock.pause()
    task = Task(arrays.train_images, arrays.train_labels, draws, members.hyper, members.selection)
    state, history, calls_done = _resume(work, state, clock)
    steps_done = sum(call.segment.num_steps for call in work.calls[:calls_done])
    last_epoch = work.calls[-1].segment.epoch
    for epoch, group in itertools.groupby(work.calls[calls_done:], key=lambda call: call.segment.epoch):
        calls = list(group)
        _compile(programs, kinds_of(calls), clock)
        clock.begin("train")
        recent: list[StepMetrics] = []
        stopping = cut = False
        for number, (segment, kind) in enumerate(calls, start=1):
            state, metrics = programs.advance(kind)(state, task, np.int32(segment.num_steps))
            recent.append(wait(metrics, segment.num_steps, work.backend.driver, recent))
            _tell_step(work, recent, steps_done, segment.num_steps)
            steps_done += segment.num_steps
            stopping = work.keeping.should_stop()
            cut = stopping and number < len(calls)
            if cut:
                break
        jax.block_until_ready(state)
        clock.pause()
        _tell_last(work, recent, steps_done)
        history.append(join(recent, count))
        if work.check is not None:
            work.check(history[-1], steps_done)
        trained = steps_done == work.recipe.total_steps
        if work.called.on_epoch is not None and not cut and not trained:
            # One that ends as the training is stopped is reported now or never, but not evaluated.
            plain = None if stopping else _validate(work, programs.variables(state, averaged=False), clock)
            metrics = metrics_of_epoch(work.recipe, epoch, history, count)
            work.called.on_epoch(report_epoch(epoch, metrics, plain, None, clock))
        if stopping and (not trained or work.snapshots is not None):  # what is not kept may as well be evaluated
            _stop(work, state, history, steps_done, clock)
        if trained and work.snapshots is not None and _is_worth_keeping(work, clock):
            _save_if_there_is_room(work, state, history, steps_done, clock)
        elif not trained and work.snapshots is not None and work.snapshots.due(epoch):
            _save(work, state, history, steps_done, clock)
    variables = programs.variables(state, averaged=True)
    del state
    logits = _evaluate(work, variables, work.recipe.evaluation.tta_level, clock, "evaluate")
    plain = _validate(work, variables, clock)
    if work.called.on_epoch is not None:
        accuracy = float((logits.argmax(2) == np.asarray(arrays.test_labels)).mean())
        metrics = metrics_of_epoch(work.recipe, last_epoch, history, count)
        work.called.on_epoch(report_epoch(last_epoch, metrics, plain, accuracy, clock))
    return Finished(join(history, count), logits, plain, variables)


def _resume(work: Work, state: TrainState, clock: Clock) -> tuple[TrainState, list[StepMetrics], int]:
    # The state to begin with, the metrics of the steps before it, and how many calls these were.
    found = None if work.snapshots is None else work.snapshots.restore(state)
    if found is None:
        return state, [], 0
    steps_done = found.metrics.loss.shape[1]
    ends = list(itertools.accumulate((call.segment.num_steps for call in work.calls), initial=0))
    if steps_done not in ends:
        warnings.warn(f"no call begins after the {steps_done} steps of the snapshot: training anew", stacklevel=2)
        return state, [], 0
    clock.add(found.seconds)
    return found.state, [found.metrics], ends.index(steps_done)


def _tell_step(work: Work, recent: list[StepMetrics], steps_before: int, steps: int) -> None:
    # A chunk is at hand once its call is over; of other calls the one before.
    if work.called.on_step is None:
        return
    if work.backend.driver == "chunks":
        work.called.on_step(steps_before + steps, recent[-1])
    elif len(recent) > 1:
        work.called.on_step(steps_before, recent[-2])


def _tell_last(work: Work, recent: list[StepMetrics], steps_done: int) -> None:
    if work.called.on_step is not None and work.backend.driver != "chunks":
        work.called.on_step(steps_done, recent[-1])


def _is_worth_keeping(work: Work, clock: Clock) -> bool:
    # Before the last evaluation. Several processes, whose clocks differ, all do the same.
    return several() or clock.since(work.before)["train"] >= WORTH_KEEPING


def _save(work: Work, state: TrainState, history: list[StepMetrics], steps_done: int, clock: Clock) -> None:
    if work.snapshots is not None:
        metrics = join(history, len(history[0].loss))
        work.snapshots.save(Snapshot(state, metrics, clock.since(work.before)), steps_done)


def _save_if_there_is_room(
    work: Work, state: TrainState, history: list[StepMetrics], steps_done: int, clock: Clock
) -> None:
    # Nobody asked for this one: without it the evaluation goes on all the same.
    try:
        _save(work, state, history, steps_done, clock)
    except OSError as error:
        warnings.warn(f"no snapshot before the evaluation: {error}", stacklevel=2)


def _stop(work: Work, state: TrainState, history: list[StepMetrics], steps_done: int, clock: Clock) -> NoReturn:
    _save(work, state, history, steps_done, clock)
    raise StoppedError(steps_done, work.recipe.total_steps, kept=work.snapshots is not None)


def metrics_of_epoch(recipe: Recipe, epoch: int, history: Sequence[StepMetrics], count: int) -> StepMetrics:
    """Return the metrics [k,s] of an epoch's steps, the last ones that were taken."""
    first = epoch * recipe.steps_per_epoch
    return StepMetrics(*(column[:, first:] for column in join(history, count)))


def report_epoch(
    epoch: int,
    metrics: StepMetrics,
    plain: Float[np.ndarray, " k"] | float | None,
    accuracy: float | None,
    clock: Clock,
) -> EpochReport:
    """Return the row of an epoch: means over its steps, and over the members of a group."""
    means = float(metrics.loss.mean()), float(metrics.accuracy.mean())
    return EpochReport(
        epoch, *means, None if plain is None else float(np.mean(plain)), accuracy, clock.seconds["train"]
    )


def wait(metrics: StepMetrics, count: int, driver: Driver, before: Sequence[StepMetrics]) -> StepMetrics:
    """Wait after a call of count steps as this way of calling them needs, and return the metrics [..., count].

    Wait for a chunk itself, so that an interrupted training ends within one chunk. Otherwise wait for the call before:
    the device stays busy, and the queue of calls stays short.
    """
    if driver != "chunks":
        jax.block_until_ready(before[-1:])
        return metrics
    wait_in_python(metrics)
    return StepMetrics(*(np.asarray(column)[..., :count] for column in metrics))


def wait_in_python(metrics: StepMetrics) -> None:
    """Wait until metrics are computed. Unlike JAX's own wait, one in Python lets an interrupt through."""
    pause = 1e-5
    while not all(column.is_ready() for column in metrics):
        time.sleep(pause)
        pause = min(2 * pause, 1e-3)


def join(parts: Sequence[StepMetrics], count: int) -> StepMetrics:
    """Join the metrics of calls of k = count networks, each [k] or [k,s], to numpy arrays [k,t]."""
    columns = zip(*parts, strict=True)
    return StepMetrics(*(np.concatenate([np.reshape(part, (count, -1)) for part in c], axis=1) for c in columns))


def _compile(programs: Programs, kinds: Sequence[Kind], clock: Clock) -> None:
    if programs.lacks(kinds) or programs.unlaunched(kinds):
        clock.begin("compile")
        programs.compile(kinds)
        programs.launch_kernels(kinds)
        clock.pause()


def _validate(work: Work, variables: Variables, clock: Clock) -> Float[np.ndarray, " k"] | None:
    # Accuracies without test-time augmentation, where these are asked for.
    if not work.validate:
        return None
    logits = _evaluate(work, variables, 0, clock, "validate")
    return (logits.argmax(2) == np.asarray(work.arrays.test_labels)).mean(1)


def _evaluate(work: Work, variables: Variables, level: int, clock: Clock, stage: Stage) -> Float[np.ndarray, "k m l"]:
    # Logits with test-time augmentation at a level. Compile first: that is no part of the evaluation's time. A group's
    # own level is compiled before it trains, so that its memory is known.
    images, plan = work.arrays.test_images, work.evaluation
    if work.strategy == "sequential":
        clock.begin("compile")
        compile_evaluation(work.recipe, level, work.backend, plan, images)
        clock.begin(stage)
        logits = batched_logits(work.recipe, work.backend, variables, images, level, plan)[None]
    else:
        recipe = work.recipe.override(tta_level=level)
        if recipe != work.recipe:
            clock.begin("compile")
            count = len(jax.tree.leaves(variables)[0])
            compile_group_evaluation(recipe, work.backend, work.strategy, count, plan, images)
        clock.begin(stage)
        logits = group_logits(recipe, work.backend, work.strategy, variables, images, plan)
    clock.pause()
    return logits


def of_one(on_step: Callable[[int, StepMetrics], None]) -> Callable[[int, StepMetrics], None]:
    """Return a function that calls on_step with the metrics of a group of one without their axis."""

    def called(steps_done: int, metrics: StepMetrics) -> None:
        on_step(steps_done, StepMetrics(*(np.asarray(column)[0] for column in metrics)))

    return called
