"""airjax: CIFAR-10 networks trained to 94, 95 and 96% in seconds, in pure-functional JAX.

The short way in is `train94(load_cifar10())`; the command line is `python -m airjax.train --target 94`.
"""

import importlib
from typing import Any

import airjax.utils.logs  # noqa: F401 it comes before jax
from airjax.augment.draws import Draws, sample_draws
from airjax.augment.transforms import alternating_flip
from airjax.data import DataError, Dataset, DatasetInfo, load_builtin, load_cifar10, load_data
from airjax.nn.whitening import whitening_filters
from airjax.recipes.published import RECIPES, get_recipe
from airjax.recipes.recipe import Recipe
from airjax.training.api import Trained, evaluate, infer, train94, train95, train96, train_network
from airjax.training.arrays import fit_recipe, to_device
from airjax.training.checkpoint import Model, ModelError, load, save_model
from airjax.training.evaluate import tta_logits
from airjax.training.events import EpochReport
from airjax.training.loop import DivergedError
from airjax.training.many import ManyRuns, run_many, seed_keys
from airjax.training.members import Members, make_members
from airjax.training.run import Arrays, RunResult, make_run
from airjax.training.snapshots import Keeping, StoppedError
from airjax.training.step import StepMetrics, TrainState, train_step
from airjax.utils.platform import DeviceError
from airjax.utils.seeds import make_key

__all__ = [
    "RECIPES",
    "Arrays",
    "DataError",
    "Dataset",
    "DatasetInfo",
    "DeviceError",
    "DivergedError",
    "Draws",
    "EpochReport",
    "Keeping",
    "ManyRuns",
    "Members",
    "Model",
    "ModelError",
    "Recipe",
    "RunResult",
    "StepMetrics",
    "StoppedError",
    "TrainState",
    "Trained",
    "alternating_flip",
    "evaluate",
    "fit_recipe",
    "get_recipe",
    "infer",
    "load",
    "load_builtin",
    "load_cifar10",
    "load_data",
    "make_key",
    "make_members",
    "make_run",
    "run_many",
    "sample_draws",
    "save_model",
    "seed_keys",
    "to_device",
    "train94",
    "train95",
    "train96",
    "train_network",
    "train_step",
    "tta_logits",
    "whitening_filters",
]

# Documented modules that are not imported above: they are at hand as airjax.NAME, and cost nothing until then.
MODULES = {
    "agreement": "airjax.stats.agreement",
    "attribution": "airjax.stats.datamodels",
    "doctor": "airjax.training.self_check",
    "environment": "airjax.training.environment",
    "equivalence": "airjax.stats.equivalence",
    "export": "airjax.cli.export",
    "predict": "airjax.cli.predict",
    "speedup": "airjax.stats.speedup",
    "variance": "airjax.stats.variance",
} | {name: f"airjax.{name}" for name in ("driver", "recipe", "report", "results", "stats", "sweep")}


def __getattr__(name: str) -> Any:
    """Import modules when they are first asked for, and the version."""
    if name == "__version__":
        from importlib.metadata import version

        return version("airjax")
    if name in MODULES:
        return importlib.import_module(MODULES[name])
    raise AttributeError(f"module 'airjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *MODULES, "__version__"})
