"""What an experiment will cost, and how far it has got: predicted from its plans, by rates measured on this device."""

from pathlib import Path
from typing import NamedTuple

from airjax.cli.sweep import predict_cost
from airjax.sweep.plan import Plan, PlanError
from airjax.utils.units import format_seconds
from experiments.cells import count_finished
from experiments.experiment import Experiment, Scale
from experiments.trainings import count_trained
from experiments.views import view_folder


class Forecast(NamedTuple):
    """What is known beforehand."""

    planned: int  # networks
    finished: int
    flops: float
    seconds: float | None  # with one worker; None where nothing was measured on this kind of device
    missing: str = ""  # why a part cannot be trained here
    again: int = 0  # evaluations of trained networks in another way
    evaluated: int = 0  # of these

    @property
    def text(self) -> str:
        """Say it in a line."""
        if not self.planned:
            return self.missing or "no training"
        time = "time: nothing was measured on this device" if self.seconds is None else format_seconds(self.seconds)
        again = f", {self.evaluated:,} of {self.again:,} evaluated again" if self.again else ""
        state = f"{self.finished:,} of {self.planned:,} networks finished{again}; all: {self.flops:.3g} FLOP, {time}"
        return f"{state}; {self.missing}" if self.missing else state


def forecast(experiment: Experiment, scale: Scale, out: Path) -> Forecast:
    """Predict the cost of the parts that are known so far: of a search, that is up to the round that it has reached."""
    planned, finished, again, evaluated, flops, seconds, missing = 0, 0, 0, 0, 0.0, 0.0, []
    for part in experiment.parts(scale, out):
        try:
            plan = part.load()
        except PlanError as error:
            missing.append(f"{part.name}: {error}")
            continue
        work, time = predict_cost(plan)
        share = _views_share(plan, part.views)
        planned, finished = planned + plan.num_runs, finished + min(plan.num_runs, count_finished(out / part.name))
        again += plan.num_runs * len(part.views)
        views = (view_folder(out / part.name, level) for level in part.views)
        evaluated += sum(min(plan.num_runs, count_finished(folder)) for folder in views)
        flops += work * (1 + share)
        seconds = None if seconds is None or time is None else seconds + time * (1 + share)
    for training in experiment.trainings(scale):
        planned, finished = planned + training.seeds, finished + count_trained(training, out)
        flops += training.seeds * training.load().flops
        time = training.seconds
        seconds = None if seconds is None or time is None else seconds + training.seeds * time
    return Forecast(planned, finished, flops, seconds, "; ".join(missing), again, evaluated)


def _views_share(plan: Plan, levels: tuple[int, ...]) -> float:
    # The work of evaluating all networks again, as a fraction of training them.
    again = 0.0
    for setting in plan.settings:
        recipe = setting.recipe
        views = sum(recipe.override(tta_level=level).evaluation.passes_per_image for level in levels)
        again += 2.0 * recipe.forward_macs * recipe.test_examples * views
    return again / sum(setting.recipe.flops for setting in plan.settings)
