"""The trainings of a distribution study: a function from a seed to a trained network, for each framework."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from airjax.data.dataset import Dataset
from airjax.recipes.recipe import Recipe
from parity.environment import Device, start_jax
from parity.study import Framework, RunOutcome

Reference = Literal["own", "upstream"]


class StudyJob(NamedTuple):
    """What a process is to train, again and again."""

    framework: Framework
    reference: Reference
    recipe: Recipe
    data: Dataset
    device: Device

    @property
    def labels(self) -> np.ndarray:
        """Return those of the test images that the recipe uses."""
        return self.data.test_labels[: self.recipe.test_examples]


def make_trainer(job: StudyJob) -> Callable[[int], RunOutcome]:
    """Make the function from a seed to a trained network's outcome. Raises ValueError for what it cannot do."""
    if job.framework == "airjax":
        return _airjax_trainer(job)
    return _own_trainer(job) if job.reference == "own" else _upstream_trainer(job)


def _airjax_trainer(job: StudyJob) -> Callable[[int], RunOutcome]:
    from airjax.training.loop import DivergedError, train

    start_jax(job.device)
    labels = job.labels

    def run(seed: int) -> RunOutcome:
        try:
            done = train(job.recipe, job.data, seed)
        except DivergedError:
            return RunOutcome(np.zeros(len(labels), bool), True, {})
        return RunOutcome(done.logits.argmax(1) == labels, not bool(np.isfinite(done.logits).all()), done.seconds)

    return run


def _own_trainer(job: StudyJob) -> Callable[[int], RunOutcome]:
    from parity import reference

    labels = job.labels

    def run(seed: int) -> RunOutcome:
        done = reference.train(job.recipe, job.data, seed=seed, device=job.device)
        finite = bool(np.isfinite(done.losses).all() and np.isfinite(done.logits).all())
        return RunOutcome(done.logits.argmax(1) == labels, not finite, done.seconds)

    return run


def _upstream_trainer(job: StudyJob) -> Callable[[int], RunOutcome]:
    from parity import upstream_trainer

    labels = job.labels
    package = upstream_trainer.Trainer(job.recipe, job.data, job.device)

    def run(seed: int) -> RunOutcome:
        logits, seconds = package.train(seed)
        return RunOutcome(logits.argmax(1) == labels, not bool(np.isfinite(logits).all()), seconds)

    return run
