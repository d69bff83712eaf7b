"""Many networks of each framework, trained alternately in two processes: the runs of a distribution study."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from airjax.data.dataset import Dataset
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Recipe
from parity.arms import Reference, Work, make_trainer
from parity.environment import Device, describe
from parity.study import ARMS, Arm, Outcome, Study, add_run, open_study
from parity.worker import Worker

RECIPE_NAMES = {"own": ("94", "95", "96", "96-paper", "mini", "tiny"), "upstream": ("94", "95", "96-paper", "mini")}


class Progress(NamedTuple):
    """A run that was just finished."""

    record: dict[str, Any]
    done: int  # runs of both arms, those of earlier starts included
    total: int


def plan_study(
    name: str, recipe: Recipe, data: Dataset, *, runs: int, margin: float, reference: Reference, device: Device
) -> dict[str, Any]:
    """What is fixed before the first run, as the first line of the study's file.

    Args:
        name: of the recipe in RECIPES that recipe is, or was made from.
        recipe: what both arms train.
        data: the data set, of which the recipe uses the first examples.
        runs: networks of each arm; their seeds are 0 to runs-1.
        margin: the largest difference of the mean accuracies that counts as none, in percentage points.
        reference: the PyTorch arm: "own" or "upstream", which is the package airbench.
        device: "cpu" or "cuda".

    Raises ValueError for fewer than 4 runs, a margin that is not positive, or a recipe that the reference lacks.
    """
    if runs < 4:
        raise ValueError(f"runs is {runs}, but a distribution needs at least 4 networks of each framework")
    if not 0 < margin < 100:
        raise ValueError(f"margin is {margin}, but it must be more than 0 and less than 100 percentage points")
    if name not in RECIPE_NAMES[reference]:
        raise ValueError(f"recipe is {name!r}, but the {reference} reference has {', '.join(RECIPE_NAMES[reference])}")
    original = RECIPES[name].to_dict()
    return {
        "recipe": name,
        "changed": {field: value for field, value in recipe.to_dict().items() if value != original[field]},
        "method": recipe.to_dict(),
        "runs": runs,
        "margin": margin,
        "reference": reference,
        "data": data.name,
        "data_sha256": data.fingerprint,
        "device": device,
        "environment": describe(device),
    }


def run_study(
    file: Path, plan: dict[str, Any], recipe: Recipe, data: Dataset, on_run: Callable[[Progress], None]
) -> Study:
    """Train what a study still lacks; every run is in the file before the next begins.

    Each arm has a process of its own, and one trains while the other waits, so that both have the whole machine.

    Raises StudyError where the file holds another study, and WorkerError where a process fails.
    """
    study = open_study(file, plan)
    missing = study.missing()
    data = data.head(recipe.train_examples, recipe.test_examples)
    with contextlib.ExitStack() as stack:
        workers: dict[Arm, Worker[int, Outcome]] = {}
        for arm in ARMS:
            if any(name == arm for name, _ in missing):
                work = Work(arm, plan["reference"], recipe, data, plan["device"])
                workers[arm] = stack.enter_context(Worker(arm, make_trainer, work))
        for arm, seed in missing:
            record = add_run(file, study, arm, seed, workers[arm].ask(seed, f"network {seed}"))
            on_run(Progress(record, len(study.runs), 2 * plan["runs"]))
    return study
