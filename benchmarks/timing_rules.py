"""What is in the clock of a record, and what is not. Times by different rules are not compared.

airjax's own clock adds up the seconds of stages (`airjax.training.events.Clock`): "compile", "whiten" (draws, the
network's initialisation and its whitening), "train" (all steps, with augmentation, order and averaging) and "evaluate"
(test-time augmentation, until the outputs are on the host). Loading the data, copying it to the device, validation
between epochs and writing files are in no stage.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class TimingRule:
    """A rule by which the seconds of a record are taken."""

    name: str
    in_clock: str
    not_in_clock: str
    source: str  # who times so, and where it is written
    stages: tuple[str, ...] = ()  # of airjax's clock, whose sum it is; (): it is no sum of them


AIRBENCH = TimingRule(
    "airbench",
    "whitening; every epoch's steps, with shuffling, augmentation and averaging; the test-time augmentation at the "
    "end, until accuracy is known. By airjax also drawing what is random and initialising the network",
    "loading the data and copying it to the device; making network and optimizer; validation between epochs; "
    "compilation; by airbench a whole warm-up training, by airjax none",
    "Jordan 2024 (arXiv:2404.00498): from the first access to training data to the predictions on the test data; "
    "the timers of KellerJordan/cifar10-airbench",
    ("whiten", "train", "evaluate"),
)

FULCRUM = TimingRule(
    "fulcrum",
    "resetting the network, whitening, making augmented batches, training",
    "the evaluation with test-time augmentation; building the network, compilation and capture of graphs",
    "fulcrumresearch/cifar-10-speedrun (2026), runners/README.md",
    ("whiten", "train"),
)

HIVERGE = TimingRule(
    "hiverge",
    "one segment without a gap, from whitening to the result of the test-time augmentation",
    "resetting the network and making the optimizer; compilation and a warm-up; pauses between runs",
    "hiverge/cifar10-speedrun (2025)",
)

WHOLE_PROCESS = TimingRule(
    "whole process",
    "everything from the start of `python` to its exit with one trained network: imports, loading the data, "
    "compilation (shorter where a cache has the programs: rows say how much it was), training, evaluation, writing",
    "nothing",
    "what a user waits; tinygrad's port of hlb-CIFAR10 is timed so, too",
)

RULES = {rule.name: rule for rule in (AIRBENCH, FULCRUM, HIVERGE, WHOLE_PROCESS)}


def seconds_by(rule: TimingRule, seconds: Mapping[str, float]) -> float:
    """Add up the stages of a network's clock that a rule counts. Raises ValueError for a rule that is no such sum."""
    if not rule.stages:
        raise ValueError(f"{rule.name!r} is no sum of the stages of airjax's clock")
    return sum(seconds[stage] for stage in rule.stages)
