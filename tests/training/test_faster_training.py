"""Two networks in one step go through everything that one does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import airjax
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Recipe
from airjax.training.loop import TrainedRun, train
from airjax.training.members import Strategy
from tests.recipe_trainings import (
    check_members,
    check_resumed,
    check_saved,
    check_whole_run,
    strategies,
    sweep_rows,
    train_singles,
)

SMALL: dict[str, Any] = {
    "widths": (4, 6, 8),
    "proxy_widths": (3, 4, 4),
    "epochs": 2.0,
    "whiten_examples": 64,
    "batch_size": 16,
    "train_examples": 70,
    "test_examples": 20,
}
PLAN = """
recipe = "96-faster"
data = "synthetic"
seeds = 2
[set]
widths = [4, 6, 8]
proxy_widths = [3, 4, 4]
epochs = 1.0
whiten_examples = 32
batch_size = 16
train_examples = 40
test_examples = 20
[grid]
proxy_keep = [0.25, 0.5]
"""


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return RECIPES["96-faster"].override(**SMALL)


def test_a_trained_network_is_saved_without_its_proxy_loaded_and_predicts_the_same(
    recipe: Recipe, toy: airjax.Dataset, tmp_path: Path
) -> None:
    trained = airjax.train_network(recipe, toy, seed=3)
    assert trained.losses.shape == (8,)
    loaded = check_saved(trained, toy, tmp_path)
    assert loaded.variables["params"]["head"].shape == (8, 10)


def test_a_stopped_training_of_both_networks_goes_on_to_the_same_bits(
    recipe: Recipe, toy: airjax.Dataset, tmp_path: Path
) -> None:
    check_resumed(recipe, toy, tmp_path, stop_after=3)  # between two updates of the proxy


@pytest.mark.slow
@pytest.mark.nightly
def test_a_sweep_of_fractions_trains_one_network_for_each_setting_and_seed(tmp_path: Path) -> None:
    rows = sweep_rows(PLAN, tmp_path)
    assert sorted((row["changes"]["proxy_keep"], row["seed"]) for row in rows) == [
        (0.25, 0),
        (0.25, 1),
        (0.5, 0),
        (0.5, 1),
    ]


RATES = (9.0, 4.0)


@pytest.fixture(scope="module")
def singles(recipe: Recipe, toy: airjax.Dataset) -> list[TrainedRun]:
    return train_singles(recipe, toy, RATES)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", strategies("vmap"))
def test_every_strategy_trains_the_networks_of_single_runs(
    recipe: Recipe, toy: airjax.Dataset, singles: list[TrainedRun], strategy: Strategy
) -> None:
    check_members(recipe, toy, singles, strategy, RATES)


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_every_precision_learns_what_one_batch_shows(precision: str, toy: airjax.Dataset) -> None:
    one_batch = {"train_examples": 16, "whiten_examples": 16, "epochs": 240.0, "flip": "none", "translate": 0}
    recipe = RECIPES["96-faster"].override(**(SMALL | one_batch), cutout=0, precision=precision)
    losses = train(recipe, toy, 0).metrics.loss
    assert 0.866 < losses[-1] < 0.7 * losses[0]  # of the hardest half; smoothed labels allow no less


@pytest.mark.slow
@pytest.mark.nightly
def test_the_whole_run_as_one_function_is_the_same_training(recipe: Recipe, toy: airjax.Dataset) -> None:
    short = recipe.override(epochs=1.0, precision="float32")
    check_whole_run(short, toy)


@pytest.mark.slow
def test_a_proxy_beside_a_resnet_trains_with_torch_s_sgd(toy: airjax.Dataset) -> None:
    small = {name: value for name, value in SMALL.items() if name not in ("widths", "whiten_examples")}
    recipe = RECIPES["resnet18"].override(**small, proxy=True, widths=(4, 4, 6, 6))
    assert np.isfinite(train(recipe, toy, 0).metrics.loss).all()
