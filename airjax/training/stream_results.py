"""What a training on a tree of images reports after its epochs and at its end: means, and both test crops. (§9)"""

from collections.abc import Callable

import jax
import numpy as np

from airjax.nn.build import Variables
from airjax.training.data_parallel import to_one_device
from airjax.training.events import Clock, Stage
from airjax.training.loop import TrainedRun, join, metrics_of_epoch, report_epoch
from airjax.training.step import StepMetrics, TrainState, averaged_variables, variables_of
from airjax.training.stream_eval import (
    CropLogits,
    accuracy_on,
    crop_logits,
    eval_views,
    measure_crop,
    prepare_crop,
)
from airjax.training.stream_work import Progress, StreamWork, save


def end_epoch(work: StreamWork, progress: Progress, clock: Clock, *, stopping: bool) -> None:
    """Report the epoch that is over, and take a snapshot where one is due.

    Where the training is stopped here, the networks are not evaluated, which takes long; its stop takes the snapshot.
    """
    epoch = progress.steps_done // work.recipe.steps_per_epoch - 1
    if work.called.on_epoch is not None:
        plain = None
        if work.validate and not stopping:
            networks = [_network(progress.state, k, variables_of) for k in range(len(work.members))]
            (found,) = _evaluate(work, networks, clock, "validate")
            plain = _mean_accuracy(work, found.plain)
        metrics = metrics_of_epoch(work.recipe, epoch, progress.history, len(work.members))
        work.called.on_epoch(report_epoch(epoch, metrics, plain, None, clock))
    if not stopping and work.snapshots is not None and work.snapshots.due(epoch):
        save(work, progress, clock)


def finish(work: StreamWork, progress: Progress, clock: Clock) -> list[TrainedRun]:
    """Evaluate the networks on all test crops, report the last epoch, and return what the training yields."""
    networks = [_network(progress.state, k, averaged_variables) for k in range(len(work.members))]
    found = _evaluate(work, networks, clock, "evaluate")
    first, last_epoch = found[0], (progress.steps_done - 1) // work.recipe.steps_per_epoch
    if work.called.on_epoch is not None:
        plain = _mean_accuracy(work, first.plain) if work.validate else None
        metrics = metrics_of_epoch(work.recipe, last_epoch, progress.history, len(work.members))
        work.called.on_epoch(report_epoch(last_epoch, metrics, plain, _mean_accuracy(work, first.tta), clock))
    metrics = join(progress.history, len(work.members))
    crops = [tuple(measure_crop(crop, k, work.tree) for crop in found) for k in range(len(work.members))]
    seconds = {part: total / len(work.members) for part, total in clock.seconds.items()}
    return [
        TrainedRun(
            work.recipe.override(flip=member.flip),
            member.seed,
            to_one_device(work.backend.mesh, networks[k]),
            StepMetrics(*(column[k] for column in metrics)),
            first.tta[k],
            crops[k][0].tta_accuracy,
            seconds,
            crops[k],
            crops[k][0].accuracy if work.validate else None,
        )
        for k, member in enumerate(work.members)
    ]


def _evaluate(work: StreamWork, networks: list[Variables], clock: Clock, stage: Stage) -> list[CropLogits]:
    # On all test crops, or between epochs on the first one.
    views, found = eval_views(work.recipe, work.backend), []
    for view in views[:1] if stage == "validate" else views:
        clock.begin("compile")
        prepare_crop(work.recipe, work.backend, networks[0], view)
        clock.begin(stage)
        found.append(crop_logits(work.recipe, work.backend, networks, work.tree, view, workers=work.workers))
        clock.pause()
    return found


def _network(state: TrainState, member: int, pick: Callable[[TrainState], Variables]) -> Variables:
    return jax.tree.map(lambda leaf: leaf[member], pick(state))


def _mean_accuracy(work: StreamWork, logits: np.ndarray) -> float:
    return float(np.mean([accuracy_on(work.tree, one) for one in logits]))
