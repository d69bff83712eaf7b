"""The loop of trainings on trees of images, which are decoded while the device computes. (§9)

It has the step, the callbacks, the clock and the snapshots of `airjax.training.loop`; the difference is where batches
come from, and that a call is one step. Several networks may share their batches; one network is a group of one.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np

from airjax.kernels.backend import Backend
from airjax.nn.build import Variables
from airjax.optim.hyperparameters import Hyperparameters, stack_hyperparameters
from airjax.recipes.recipe import Recipe
from airjax.stream.batches import Batch, Position
from airjax.stream.tree import Tree
from airjax.training.backend import backend_of, resolve_precision
from airjax.training.environment import versions
from airjax.training.events import Callbacks, Clock, EpochReport, Stage
from airjax.training.loop import DivergedError, TrainedRun, join, report_epoch, wait_in_python
from airjax.training.snapshots import NOTHING_KEPT, Keeping, Snapshot, Snapshots, StoppedError
from airjax.training.step import StepMetrics, TrainState, averaged_variables, variables_of
from airjax.training.stream_data import (
    Member,
    Placement,
    StreamBatch,
    fit_tree,
    members_of,
    prefetch,
    start_batches,
    train_view,
    with_mirrors,
)
from airjax.training.stream_eval import (
    CropLogits,
    accuracy_on,
    crop_logits,
    eval_views,
    measure_crop,
    prepare_crop,
)
from airjax.training.stream_step import compile_start, compile_step
from airjax.utils.seeds import check_seed, make_keys


class StreamWork(NamedTuple):
    """What a training of k networks on one tree consists of."""

    recipe: Recipe  # fitted to the tree, with its precision resolved
    backend: Backend
    tree: Tree
    members: Sequence[Member]
    hyper: Hyperparameters  # each [k]
    workers: int
    called: Callbacks
    validate: bool
    keeping: Keeping
    placement: Placement
    snapshots: Snapshots | None


class Progress(NamedTuple):
    """Where a training is between two steps."""

    state: TrainState  # every array has an axis [k] in front
    history: list[StepMetrics]  # of all steps so far, each [k] or [k,s]
    steps_done: int
    batches: str  # a digest of what the batches depend on

    @property
    def position(self) -> Position:
        """Return where the next batch is."""
        return Position(self.steps_done, self.batches)


def train_stream(
    recipe: Recipe | str,
    tree: Tree,
    seed: int,
    *,
    workers: int = 0,
    validate: bool = False,
    on_step: Callable[[int, StepMetrics], None] | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
    on_phase: Callable[[Stage], None] | None = None,
    keeping: Keeping = NOTHING_KEPT,
    placement: Placement | None = None,
) -> TrainedRun:
    """Train one network on a tree of images, and evaluate it on the recipe's test crops.

    Args:
        recipe: the method, or its name; one with crops. It uses all images of the tree.
        tree: as `airjax.stream.tree.open_tree` returns it.
        seed: the one number that everything random follows from: a whole number from 0 to 2**32 - 1.
        workers: processes that decode images; 0 decodes in this one. They do not change the batches.
        validate: also evaluate the first test crop after every epoch, outside the clock.
        on_step: called after every step with the number of steps done and the metrics of the latest one at hand.
        on_epoch: called after every epoch.
        on_phase: called with what begins, before it does.
        keeping: where and how often snapshots are taken. Rerunning the same call resumes from the last one, also in the
            middle of an epoch, to the same bits.
        placement: how arrays get to the devices; None: to the default one.

    Raises:
        StoppedError: keeping asked to stop; a snapshot is written.
        DivergedError: the loss is not finite.
        DataError: an image cannot be decoded, or there is no whole batch.
        ValueError: another seed, or a recipe that does not fit.
    """
    members = members_of(fit_tree(recipe, tree), [check_seed(seed)])
    called = Callbacks(on_phase, None if on_step is None else functools.partial(_call_with_first, on_step), on_epoch)
    how = {"workers": workers, "validate": validate, "called": called, "keeping": keeping, "placement": placement}
    return train_members(recipe, tree, members, **how)[0]


def train_members(
    recipe: Recipe | str,
    tree: Tree,
    members: Sequence[Member],
    *,
    workers: int = 0,
    validate: bool = False,
    called: Callbacks | None = None,
    keeping: Keeping = NOTHING_KEPT,
    placement: Placement | None = None,
) -> list[TrainedRun]:
    """Train networks that share their batches: the same images and boxes in the same order, each with its own flips.

    Order and boxes are those of the first network's seed, so that this is trained as it would be alone, to rounding.
    The metrics that callbacks are handed have an axis over the networks. Other arguments are as for `train_stream`.
    Raises ValueError for two networks that would be the same, and all that `train_stream` raises.
    """
    if not members or len(set(members)) < len(members):
        raise ValueError("networks that share their batches must be at least one, and differ in seed or flip")
    recipe, clock = resolve_precision(fit_tree(recipe, tree)), Clock(called.on_phase if called else None)
    backend = backend_of(recipe)
    hyper = stack_hyperparameters([recipe] * len(members))
    snapshots = _open_snapshots(keeping, recipe, backend, members, tree)
    rest = called or Callbacks(), validate, keeping, placement or Placement(), snapshots
    work = StreamWork(recipe, backend, tree, members, hyper, workers, *rest)
    runs = _run(work, clock)
    if snapshots is not None:
        snapshots.clear()
    return runs


def _run(work: StreamWork, clock: Clock) -> list[TrainedRun]:
    begun = _start(work, clock)
    view = train_view(work.recipe, work.members[0])
    with start_batches(work.tree, view, work.workers, begun.position if begun.batches else None) as batches:
        progress = begun._replace(batches=batches.position().sha256)
        feed = prefetch(_with_all_mirrors(work, batches, progress.steps_done), work.placement.batch)
        while progress.steps_done < work.recipe.total_steps:
            progress = _train_epoch(work, feed, progress, clock)
            if progress.steps_done < work.recipe.total_steps:
                _end_epoch(work, progress, clock)
    return _finish(work, progress, clock)


def _start(work: StreamWork, clock: Clock) -> Progress:
    # The first state, or that of the last snapshot.
    keys = make_keys([member.seed for member in work.members])
    clock.begin("compile")
    start = compile_start(work.recipe, work.backend, keys, work.hyper)
    clock.begin("whiten")
    state = jax.block_until_ready(work.placement.state(start(keys, work.hyper)))
    clock.pause()
    found = None if work.snapshots is None else work.snapshots.restore(state)
    if found is None or found.position is None:
        return Progress(state, [], 0, "")
    for stage, seconds in found.seconds.items():
        clock.seconds[stage] = clock.seconds.get(stage, 0.0) + seconds
    return Progress(found.state, [found.metrics], *found.position)


def _with_all_mirrors(work: StreamWork, batches: Iterator[Batch], steps_done: int) -> Iterator[StreamBatch]:
    for step, batch in enumerate(batches, start=steps_done):
        yield with_mirrors(batch, step // work.recipe.steps_per_epoch, work.members)


def _train_epoch(work: StreamWork, feed: Iterator[StreamBatch], progress: Progress, clock: Clock) -> Progress:
    # To the end of the epoch, or of the training.
    recipe, (state, history, steps_done, batches) = work.recipe, progress
    stop = min((steps_done // recipe.steps_per_epoch + 1) * recipe.steps_per_epoch, recipe.total_steps)
    recent: list[StepMetrics] = []
    hyper, advance = work.placement.state(work.hyper), None
    clock.begin("train")
    while steps_done < stop:
        batch = next(feed)
        if advance is None:  # all batches of an epoch have one size
            clock.begin("compile")
            advance = compile_step(recipe, work.backend, state, batch, hyper)
            clock.begin("train")
        state, metrics = advance(state, batch, hyper)
        if recent:  # the device stays busy with this step, and the queue of steps stays short
            wait_in_python(recent[-1])
        recent.append(metrics)
        steps_done += 1
        if work.called.on_step is not None:
            work.called.on_step(steps_done, recent[max(0, len(recent) - 2)])
        if work.keeping.should_stop() and steps_done < recipe.total_steps:
            _save(work, Progress(state, [*history, *recent], steps_done, batches), clock)
            raise StoppedError(steps_done, recipe.total_steps, kept=work.snapshots is not None)
    wait_in_python(recent[-1])
    jax.block_until_ready(state)
    clock.pause()
    done = join(recent, len(work.members))
    _require_finite(work, done, steps_done)
    return Progress(state, [*history, done], steps_done, batches)


def _require_finite(work: StreamWork, metrics: StepMetrics, steps_done: int) -> None:
    for member, losses in zip(work.members, metrics.loss, strict=True):
        finite = np.isfinite(losses)
        if not finite.all():
            raise DivergedError(work.recipe, member.seed, steps_done - len(finite) + int(np.argmin(finite)))


def _end_epoch(work: StreamWork, progress: Progress, clock: Clock) -> None:
    # Report the epoch that is over, and take a snapshot where one is due.
    epoch = progress.steps_done // work.recipe.steps_per_epoch - 1
    if work.called.on_epoch is not None:
        plain = None
        if work.validate:
            networks = [_network(progress.state, k, variables_of) for k in range(len(work.members))]
            (found,) = _evaluate(work, networks, clock, "validate")
            plain = _mean_accuracy(work, found.plain)
        work.called.on_epoch(report_epoch(epoch, _of_epoch(work, progress, epoch), plain, None, clock))
    if work.snapshots is not None and work.snapshots.due(epoch):
        _save(work, progress, clock)


def _finish(work: StreamWork, progress: Progress, clock: Clock) -> list[TrainedRun]:
    networks = [_network(progress.state, k, averaged_variables) for k in range(len(work.members))]
    found = _evaluate(work, networks, clock, "evaluate")
    first, last_epoch = found[0], (progress.steps_done - 1) // work.recipe.steps_per_epoch
    if work.called.on_epoch is not None:
        plain = _mean_accuracy(work, first.plain) if work.validate else None
        metrics = _of_epoch(work, progress, last_epoch)
        work.called.on_epoch(report_epoch(last_epoch, metrics, plain, _mean_accuracy(work, first.tta), clock))
    metrics = join(progress.history, len(work.members))
    return [
        TrainedRun(
            work.recipe.override(flip=member.flip),
            member.seed,
            networks[k],
            StepMetrics(*(column[k] for column in metrics)),
            first.tta[k],
            accuracy_on(work.tree, first.tta[k]),
            clock.seconds,
            tuple(measure_crop(crop, k, work.tree) for crop in found),
        )
        for k, member in enumerate(work.members)
    ]


def _evaluate(work: StreamWork, networks: list[Variables], clock: Clock, stage: Stage) -> list[CropLogits]:
    # On all test crops, or between epochs on the first one.
    views, placed = eval_views(work.recipe, work.backend), work.placement
    found = []
    for view in views[:1] if stage == "validate" else views:
        clock.begin("compile")
        prepare_crop(work.recipe, work.backend, networks[0], view, placed)
        clock.begin(stage)
        how = {"workers": work.workers, "placement": placed}
        found.append(crop_logits(work.recipe, work.backend, networks, work.tree, view, **how))
        clock.pause()
    return found


def _network(state: TrainState, member: int, pick: Callable[[TrainState], Variables]) -> Variables:
    return jax.tree.map(lambda leaf: leaf[member], pick(state))


def _mean_accuracy(work: StreamWork, logits: np.ndarray) -> float:
    return float(np.mean([accuracy_on(work.tree, one) for one in logits]))


def _of_epoch(work: StreamWork, progress: Progress, epoch: int) -> StepMetrics:
    joined = join(progress.history, len(work.members))
    return StepMetrics(*(column[:, epoch * work.recipe.steps_per_epoch :] for column in joined))


def _open_snapshots(
    keeping: Keeping, recipe: Recipe, backend: Backend, members: Sequence[Member], tree: Tree
) -> Snapshots | None:
    if keeping.folder is None:
        return None
    how = (backend.platform, backend.convolution, jax.device_count(), list(members))
    text = json.dumps([recipe.to_dict(), how, tree.fingerprint, versions()], sort_keys=True, default=str)
    return Snapshots(keeping.folder / hashlib.sha256(text.encode()).hexdigest()[:16], keeping.every)


def _save(work: StreamWork, progress: Progress, clock: Clock) -> None:
    clock.pause()
    if work.snapshots is not None:
        metrics, steps = join(progress.history, len(work.members)), progress.steps_done
        position = steps, progress.batches
        work.snapshots.save(Snapshot(progress.state, metrics, steps, dict(clock.seconds), position), steps)


def _call_with_first(on_step: Callable[[int, StepMetrics], None], steps_done: int, metrics: StepMetrics) -> None:
    # The metrics of a group of one without their axis.
    on_step(steps_done, StepMetrics(*(np.asarray(column)[0] for column in metrics)))
