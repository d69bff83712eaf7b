"""What a training reports while it runs, and how long each of its stages took."""

import time
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from airjax.training.step import StepMetrics

# What a training is doing; "validate" is an evaluation without test-time augmentation, which is not timed.
Stage = Literal["compile", "whiten", "train", "validate", "evaluate"]


class EpochReport(NamedTuple):
    """One row of the table of a run."""

    epoch: int  # from 0
    train_loss: float  # mean over the epoch's examples
    train_accuracy: float  # the same, as they were trained on
    validation_accuracy: float | None  # without test-time augmentation; None unless asked for
    tta_accuracy: float | None  # with it; None before the last epoch
    seconds: float  # of training so far, validation not counted


class CropResult(NamedTuple):
    """How well a network does on one test crop of a tree of images. (§9)"""

    size: int  # pixels, height and width of what it sees
    fraction: float  # side of the crop, as a fraction of an image's shorter side
    accuracy: float  # of the plain images, in [0, 1]
    tta_accuracy: float  # with the recipe's test-time augmentation


class Callbacks(NamedTuple):
    """What a training calls while it runs; None is not called."""

    on_phase: Callable[[Stage], None] | None = None
    on_step: Callable[[int, StepMetrics], None] | None = None
    on_epoch: Callable[[EpochReport], None] | None = None
    on_group: Callable[[int], None] | None = None


class Clock:
    """Adds up the seconds of stages with a monotonic timer, and calls on_phase with each that begins."""

    def __init__(self, on_phase: Callable[[Stage], None] | None = None) -> None:
        self.seconds = {"compile": 0.0, "whiten": 0.0, "train": 0.0, "evaluate": 0.0}
        self._on_phase = on_phase
        self._stage: Stage | None = None

    def begin(self, stage: Stage) -> None:
        """End the stage before, and begin one."""
        self.pause()
        if self._on_phase is not None:
            self._on_phase(stage)
        self._stage, self._since = stage, time.perf_counter()

    def add(self, seconds: dict[str, float]) -> None:
        """Add what an earlier process spent on each stage."""
        for stage, spent in seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + spent

    def since(self, before: Mapping[str, float]) -> dict[str, float]:
        """Return the seconds of each stage since the clock had those."""
        return {stage: seconds - before.get(stage, 0.0) for stage, seconds in self.seconds.items()}

    def pause(self) -> None:
        """End the stage, if there is one: the time until the next is not counted."""
        if self._stage in self.seconds:
            self.seconds[self._stage] += time.perf_counter() - self._since
        self._stage = None
