"""The loop of trainings on trees of images, which are decoded while the device computes. (§9)

It has the step, the callbacks, the clock and the snapshots of `airjax.training.loop`; the difference is where batches
come from, and that a call is one step. Several networks may share their batches; one network is a group of one.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

import jax
import numpy as np

from airjax.optim.hyperparameters import stack_hyperparameters
from airjax.recipes.recipe import Recipe
from airjax.stream.batches import Batch, open_batches
from airjax.stream.tree import Tree
from airjax.training.backend import backend_of, resolve_precision
from airjax.training.data_parallel import Devices, mesh_for, replicate, shard_batch
from airjax.training.events import Callbacks, Clock, EpochReport, Stage
from airjax.training.loop import TrainedRun, join, of_one, require_finite, wait_in_python
from airjax.training.processes import agree_to_stop
from airjax.training.snapshots import NOTHING_KEPT, Keeping, StoppedError
from airjax.training.step import StepMetrics
from airjax.training.stream_data import (
    Member,
    StreamBatch,
    fit_tree,
    members_of,
    prefetch,
    share_of,
    train_view,
    with_mirrors,
)
from airjax.training.stream_results import end_epoch, finish
from airjax.training.stream_step import compile_start, compile_step
from airjax.training.stream_work import Progress, StreamWork, open_snapshots, save
from airjax.utils.seeds import check_seed, make_keys

ASKED = 8  # steps between two questions of several processes whether to stop


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
    devices: Devices | None = None,
) -> TrainedRun:
    """Train one network on a tree of images, and evaluate it on the recipe's test crops.

    Args:
        recipe: the method, or its name; one with crops. It uses all images of the tree.
        tree: as `airjax.stream.tree.open_tree` returns it.
        seed: the one number that everything random follows from: a whole number from 0 to 2**32 - 1.
        workers: processes that decode images; 0 decodes in this one. They do not change the batches.
        validate: also evaluate the first test crop after every epoch, outside the clock.
        on_step: called for every step with the number of steps done and its metrics, once the next one has begun.
        on_epoch: called after every epoch.
        on_phase: called with what begins, before it does.
        keeping: where and how often snapshots are taken. Rerunning the same call resumes from the last one, also in the
            middle of an epoch, to the same bits.
        devices: how many devices share every batch, or all that there are, those of all processes together; None: one.
            In several processes all make the same call, and get the same result; each decodes the images of its own
            devices.

    Raises:
        StoppedError: keeping asked to stop; a snapshot is written.
        DivergedError: the loss is not finite.
        DataError: an image cannot be decoded, or there is no whole batch.
        ValueError: another seed, a recipe that does not fit, or the devices cannot share a batch equally.
        DeviceError: more devices than there are.
    """
    members = members_of(fit_tree(recipe, tree), [check_seed(seed)])
    called = Callbacks(on_phase, None if on_step is None else of_one(on_step), on_epoch)
    how = {"workers": workers, "validate": validate, "called": called, "keeping": keeping, "devices": devices}
    return train_members(recipe, tree, members, **how)[0]


def train_members(
    recipe: Recipe | str,
    tree: Tree,
    members: Sequence[Member],
    *,
    batches_of: int | None = None,
    workers: int = 0,
    validate: bool = False,
    called: Callbacks | None = None,
    keeping: Keeping = NOTHING_KEPT,
    devices: Devices | None = None,
) -> list[TrainedRun]:
    """Train networks that share their batches: the same images and boxes in the same order, each with its own flips.

    Order and boxes are those of the seed batches_of, by default the first network's. Each network is what it would be
    alone with the same batches_of, to rounding, and has an equal fraction of the time. The metrics that callbacks are
    handed have an axis over the networks. One that diverges, which its losses say, does not stop the others;
    DivergedError is raised where all have. Other arguments are as for `train_stream`.

    Raises ValueError for two networks that would be the same, or a seed or flip that there is not, and all that
    `train_stream` raises.
    """
    if not members or len(set(members)) < len(members):
        raise ValueError("networks that share their batches must be at least one, and differ in seed or flip")
    recipe = resolve_precision(fit_tree(recipe, tree))
    first = members[0] if batches_of is None else members[0]._replace(seed=batches_of)
    for member in (first, *members):
        train_view(recipe, member)  # which refuses a seed or a flip that there is not
    called = called or Callbacks()
    clock = Clock(called.on_phase)
    backend = backend_of(recipe, mesh=mesh_for(devices))
    hyper = stack_hyperparameters([recipe] * len(members))
    snapshots = open_snapshots(keeping, recipe, backend, members, tree, first.seed)
    if keeping is not NOTHING_KEPT:
        keeping = keeping._replace(should_stop=agree_to_stop(keeping.should_stop, ASKED))
    how = {"called": called, "validate": validate, "keeping": keeping}
    view = train_view(recipe, first)
    work = StreamWork(recipe, backend, tree, members, view, hyper, workers, snapshots=snapshots, **how)
    runs = _run(work, clock)
    if snapshots is not None:
        keeping.on_finished(snapshots.clear)
    return runs


def _run(work: StreamWork, clock: Clock) -> list[TrainedRun]:
    begun = _start(work, clock)
    mesh = work.backend.mesh
    position = begun.position if begun.batches else None
    how = {"workers": work.workers, "position": position, "share": share_of(mesh)}
    with open_batches(work.tree.train, work.view, **how) as batches:
        progress = begun._replace(batches=batches.position().sha256)
        put = functools.partial(shard_batch, mesh)
        feed = prefetch(_with_all_mirrors(work, batches, progress.steps_done), put)
        while progress.steps_done < work.recipe.total_steps:
            progress = _train_epoch(work, feed, progress, clock)
            if progress.steps_done < work.recipe.total_steps:
                stopping = work.keeping.should_stop()
                end_epoch(work, progress, clock, stopping=stopping)
                if stopping:
                    _stop(work, progress, clock)
    if progress.steps_done > begun.steps_done:  # the evaluation takes long, and may be killed
        save(work, progress, clock)
    return finish(work, progress, clock)


def _start(work: StreamWork, clock: Clock) -> Progress:
    # The first state, or that of the last snapshot.
    keys = make_keys([member.seed for member in work.members])
    clock.begin("compile")
    start = compile_start(work.recipe, work.backend, keys, work.hyper)
    clock.begin("whiten")
    state = jax.block_until_ready(replicate(work.backend.mesh, start(keys, work.hyper)))
    clock.pause()
    found = None if work.snapshots is None else work.snapshots.restore(state)
    if found is None or found.position is None:
        return Progress(state, [], 0, "")
    clock.add(found.seconds)
    return Progress(found.state, [found.metrics], *found.position)


def _with_all_mirrors(work: StreamWork, batches: Iterator[Batch], steps_done: int) -> Iterator[StreamBatch]:
    for step, batch in enumerate(batches, start=steps_done):
        yield with_mirrors(batch, step // work.recipe.steps_per_epoch, work.members, work.view)


def _train_epoch(work: StreamWork, feed: Iterator[StreamBatch], progress: Progress, clock: Clock) -> Progress:
    # To the end of the epoch, or of the training.
    recipe, (state, history, steps_done, batches) = work.recipe, progress
    stop = min((steps_done // recipe.steps_per_epoch + 1) * recipe.steps_per_epoch, recipe.total_steps)
    recent: list[StepMetrics] = []
    stopping = False
    hyper, advance = replicate(work.backend.mesh, work.hyper), None
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
        if len(recent) > 1:
            _tell_step(work, recent[-2], steps_done - 1)
        if steps_done < stop and work.keeping.should_stop():
            stopping = True
            break
    wait_in_python(recent[-1])
    jax.block_until_ready(state)
    clock.pause()
    _tell_step(work, recent[-1], steps_done)
    done = join(recent, len(work.members))
    _require_finite(work, done, steps_done)
    progress = Progress(state, [*history, done], steps_done, batches)
    if stopping:
        _stop(work, progress, clock)
    return progress


def _tell_step(work: StreamWork, metrics: StepMetrics, steps_done: int) -> None:
    # Of several processes not all look at them: they get numpy's arrays, with which no device computes.
    if work.called.on_step is not None:
        work.called.on_step(steps_done, StepMetrics(*(np.asarray(column) for column in metrics)))


def _stop(work: StreamWork, progress: Progress, clock: Clock) -> NoReturn:
    save(work, progress, clock)
    raise StoppedError(progress.steps_done, work.recipe.total_steps, kept=work.snapshots is not None)


def _require_finite(work: StreamWork, metrics: StepMetrics, steps_done: int) -> None:
    # While the losses of one of several networks are, the training goes on for its sake.
    if not np.isfinite(metrics.loss).all(axis=1).any():
        for member, losses in zip(work.members, metrics.loss, strict=True):
            require_finite(work.recipe, member.seed, losses, steps_done)
