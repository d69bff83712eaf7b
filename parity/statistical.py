"""Many networks of each framework, trained alternately in two processes: the runs of a distribution study."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from airjax.data.dataset import Dataset
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Recipe
from parity.environment import Device, describe, describe_data
from parity.study import FRAMEWORKS, Framework, RunOutcome, Study, add_run, open_study
from parity.timing import PACKAGE_PRECISIONS
from parity.torch_implementation import OWN
from parity.trainers import Reference, StudyJob, make_trainer
from parity.upstream_trainer import OTHERWISE, require_recipe
from parity.worker import Worker

RECIPE_NAMES = {
    "own": (*OWN.recipes, "tiny"),
    "upstream": ("94", "95", "96-paper", "mini"),
}


class Progress(NamedTuple):
    """A run that was just finished."""

    record: dict[str, Any]
    done: int  # runs of both frameworks, those of earlier starts included
    total: int


def plan_study(
    name: str, recipe: Recipe, data: Dataset, *, runs: int, margin: float, reference: Reference, device: Device
) -> dict[str, Any]:
    """Return what is fixed before the first run, as the first line of the study's file.

    Args:
        name: of the recipe in RECIPES that recipe is, or was made from.
        recipe: what both frameworks train.
        data: the data set, of which the recipe uses the first examples.
        runs: networks of each framework; their seeds are 0 to runs-1.
        margin: the largest difference of the mean accuracies that counts as none, in percentage points.
        reference: the PyTorch implementation: "own" or "upstream", which is the package airbench.
        device: "cpu" or "cuda".

    Raises ValueError for fewer than 4 runs, a margin that is not positive, or a recipe that the reference lacks.
    """
    if runs < 4:
        raise ValueError(f"runs is {runs}, but a distribution needs at least 4 networks of each framework")
    if not 0 < margin < 100:
        raise ValueError(f"margin is {margin}, but it must be more than 0 and less than 100 percentage points")
    if name not in RECIPE_NAMES[reference]:
        raise ValueError(f"recipe is {name!r}, but the {reference} reference has {', '.join(RECIPE_NAMES[reference])}")
    if reference == "upstream":
        require_recipe(recipe)
        if device == "cuda" and recipe.precision not in PACKAGE_PRECISIONS[device]:
            raise ValueError(
                f"airbench trains in float16 on a GPU, but precision is {recipe.precision}; leave it at auto, or "
                f"{OTHERWISE}"
            )
    elif (groups := recipe.network.batchnorm_groups) > 1:
        raise ValueError(
            f"batchnorm_groups is {groups}, but the PyTorch reference normalises a batch as a whole; leave it at 1"
        )
    original = RECIPES[name].flat()
    return {
        "recipe": name,
        "changed": {field: value for field, value in recipe.flat().items() if value != original[field]},
        "method": recipe.to_dict(),
        "runs": runs,
        "margin": margin,
        "reference": reference,
        **describe_data(data),
        "data_sha256": data.fingerprint,
        "device": device,
        "environment": describe(device),
    }


def run_study(
    file: Path, plan: dict[str, Any], recipe: Recipe, data: Dataset, on_run: Callable[[Progress], None]
) -> Study:
    """Train what a study still lacks; every run is in the file before the next begins.

    Each framework has a process of its own, which waits while the other trains, so that both have the whole machine.

    Raises StudyError where the file holds another study, and WorkerError where a process fails.
    """
    study = open_study(file, plan)
    missing = study.missing()
    data = data.head(recipe.train_examples, recipe.test_examples)
    with contextlib.ExitStack() as stack:
        workers: dict[Framework, Worker[int, RunOutcome]] = {}
        for framework in FRAMEWORKS:
            if any(name == framework for name, _ in missing):
                job = StudyJob(framework, plan["reference"], recipe, data, plan["device"])
                workers[framework] = stack.enter_context(Worker(framework, make_trainer, job))
        for framework, seed in missing:
            record = add_run(file, study, framework, seed, workers[framework].ask(seed, f"network {seed}"))
            on_run(Progress(record, len(study.runs), 2 * plan["runs"]))
    return study
