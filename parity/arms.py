"""The two arms of a distribution study: each trains whole networks, number after number, in a process of its own."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from airjax.data.dataset import Dataset
from airjax.recipes.recipe import Recipe
from parity.environment import Device, start_jax
from parity.study import Arm, Outcome

Reference = Literal["own", "upstream"]


class Work(NamedTuple):
    """What a process is to train, again and again."""

    arm: Arm
    reference: Reference
    recipe: Recipe
    data: Dataset
    device: Device

    @property
    def labels(self) -> np.ndarray:
        """Of the test images that the recipe uses."""
        return self.data.test_labels[: self.recipe.test_examples]


def make_trainer(work: Work) -> Callable[[int], Outcome]:
    """The function from a seed to a trained network's outcome. Raises ValueError for what an arm cannot do."""
    if work.arm == "airjax":
        return _airjax_trainer(work)
    return _own_trainer(work) if work.reference == "own" else _upstream_trainer(work)


def _airjax_trainer(work: Work) -> Callable[[int], Outcome]:
    from airjax.training.loop import DivergedError, train

    start_jax(work.device)
    labels = work.labels

    def run(seed: int) -> Outcome:
        try:
            done = train(work.recipe, work.data, seed)
        except DivergedError:
            return Outcome(np.zeros(len(labels), bool), True, {})
        return Outcome(done.logits.argmax(1) == labels, not bool(np.isfinite(done.logits).all()), done.seconds)

    return run


def _own_trainer(work: Work) -> Callable[[int], Outcome]:
    from parity import reference

    labels = work.labels

    def run(seed: int) -> Outcome:
        done = reference.train(work.recipe, work.data, seed=seed, device=work.device)
        finite = bool(np.isfinite(done.losses).all() and np.isfinite(done.logits).all())
        return Outcome(done.logits.argmax(1) == labels, not finite, done.seconds)

    return run


def _upstream_trainer(work: Work) -> Callable[[int], Outcome]:
    from parity import upstream

    labels = work.labels
    package = upstream.Trainer(work.recipe, work.data, work.device)

    def run(seed: int) -> Outcome:
        logits, seconds = package.train(seed)
        return Outcome(logits.argmax(1) == labels, not bool(np.isfinite(logits).all()), seconds)

    return run
