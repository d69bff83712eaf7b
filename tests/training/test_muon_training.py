"""Muon goes through everything that Nesterov's momentum does."""

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
    "logit_scale": 1 / 8,
    "epochs": 2.0,
    "whiten_bias_epochs": 1.0,
    "whiten_examples": 64,
    "batch_size": 16,
    "train_examples": 64,
    "test_examples": 20,
}
PLAN = """
recipe = "94-muon"
data = "synthetic"
seeds = 2
[set]
widths = [4, 6, 8]
epochs = 1.0
whiten_examples = 32
batch_size = 16
train_examples = 32
test_examples = 20
[grid]
momentum = [0.6, 0.8]
"""


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return RECIPES["94-muon"].override(**SMALL)


@pytest.mark.slow
@pytest.mark.nightly
def test_a_trained_network_is_saved_loaded_and_predicts_the_same(
    recipe: Recipe, toy: airjax.Dataset, tmp_path: Path
) -> None:
    trained = airjax.train_network(recipe, toy, seed=3)
    check_saved(trained, toy, tmp_path)


def test_a_stopped_training_goes_on_to_the_same_bits(recipe: Recipe, toy: airjax.Dataset, tmp_path: Path) -> None:
    check_resumed(recipe, toy, tmp_path)


def test_kernels_end_with_a_norm_of_one_for_each_output(recipe: Recipe, toy: airjax.Dataset) -> None:
    done = train(recipe, toy, 3).variables["params"]
    # The last update is small, for the rate is near its end: what is left is the rescaling before it.
    for block, width in zip(("block1", "block2", "block3"), recipe.network.widths, strict=True):
        assert np.linalg.norm(done[block]["conv2"]) == pytest.approx(width**0.5, rel=0.1)


@pytest.mark.slow
@pytest.mark.nightly
def test_a_sweep_of_momenta_trains_one_network_for_each_setting_and_seed(tmp_path: Path) -> None:
    rows = sweep_rows(PLAN, tmp_path)
    assert sorted((row["changes"]["momentum"], row["seed"]) for row in rows) == [(0.6, 0), (0.6, 1), (0.8, 0), (0.8, 1)]


RATES = (0.24, 0.1)


@pytest.fixture(scope="module")
def singles(recipe: Recipe, toy: airjax.Dataset) -> list[TrainedRun]:
    return train_singles(recipe, toy, RATES)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", strategies())
def test_every_strategy_trains_the_networks_of_single_runs(
    recipe: Recipe, toy: airjax.Dataset, singles: list[TrainedRun], strategy: Strategy
) -> None:
    check_members(recipe, toy, singles, strategy, RATES)


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("rounded", ["bfloat16", "float32"])
def test_every_precision_learns_what_one_batch_shows(precision: str, rounded: str, toy: airjax.Dataset) -> None:
    one_batch = {"train_examples": 16, "whiten_examples": 16, "epochs": 30.0, "flip": "none", "translate": 0}
    changes = SMALL | one_batch | {"precision": precision, "newton_schulz_precision": rounded}
    losses = train(RECIPES["94-muon"].override(**changes), toy, 0).metrics.loss
    assert 0.866 < losses[-1] < 0.5 * losses[0]  # smoothed labels allow no less


@pytest.mark.slow
@pytest.mark.nightly
def test_the_whole_run_as_one_function_is_the_same_training(recipe: Recipe, toy: airjax.Dataset) -> None:
    short = recipe.override(epochs=1.0, precision="float32", newton_schulz_precision="float32")
    check_whole_run(short, toy)
