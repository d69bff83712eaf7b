"""airjax: CIFAR-10 networks trained to 94, 95 and 96% in seconds, in pure-functional JAX.

The short way in is `train94(load_cifar10())`; the command line is `python -m airjax.train --target 94`.
"""

import importlib
from typing import Any

import airjax.logs  # noqa: F401 it comes before jax
from airjax.backend import DeviceError
from airjax.checkpoint import Model, ModelError, load, save_model
from airjax.data import DataError, Dataset, load_builtin, load_cifar10, load_data
from airjax.draws import Draws, make_key, sample_draws
from airjax.driver import DivergedError, EpochReport, to_device
from airjax.images import alternating_flip
from airjax.library import Trained, evaluate, infer, train94, train95, train96, train_network
from airjax.members import Members, make_members
from airjax.recipe import RECIPES, Recipe, get_recipe
from airjax.run import Arrays, RunResult, make_run
from airjax.seeds import ManyRuns, run_many, seed_keys
from airjax.step import StepMetrics, TrainState, train_step
from airjax.tta import tta_logits
from airjax.whiten import whitening_filters

__all__ = [
    "RECIPES",
    "Arrays",
    "DataError",
    "Dataset",
    "DeviceError",
    "DivergedError",
    "Draws",
    "EpochReport",
    "ManyRuns",
    "Members",
    "Model",
    "ModelError",
    "Recipe",
    "RunResult",
    "StepMetrics",
    "TrainState",
    "Trained",
    "alternating_flip",
    "evaluate",
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

# Modules that are documented and not imported above: they are at hand as airjax.NAME, and cost nothing until then.
MODULES = (
    "agreement",
    "attribution",
    "doctor",
    "equivalence",
    "export",
    "predict",
    "report",
    "results",
    "speedup",
    "sweep",
    "variance",
)


def __getattr__(name: str) -> Any:
    """The modules that are imported when they are first asked for, and the version."""
    if name == "__version__":
        from importlib.metadata import version

        return version("airjax")
    if name in MODULES:
        return importlib.import_module(f"airjax.{name}")
    raise AttributeError(f"module 'airjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *MODULES, "__version__"])
