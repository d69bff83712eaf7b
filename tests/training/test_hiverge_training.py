"""94-hiverge goes through everything that other recipes do."""

from typing import Any

import jax
import numpy as np
import pytest

import airjax
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Recipe
from airjax.training.loop import TrainedRun, train
from airjax.training.members import Strategy
from tests.recipe_trainings import check_members, check_saved, check_whole_run, strategies, train_singles

SMALL: dict[str, Any] = {
    "widths": (4, 6, 8),
    "logit_scale": 1 / 8,
    "epochs": 2.0,
    "whiten_bias_epochs": 1.0,
    "whiten_examples": 64,
    "batch_size": 16,
    "train_examples": 64,
    "test_examples": 20,
    "renormalize_growth": 0.0,
}


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return RECIPES["94-hiverge"].override(**SMALL)


def test_a_network_in_half_precision_is_saved_loaded_and_predicts_the_same(
    recipe: Recipe, toy: airjax.Dataset, tmp_path: Any
) -> None:
    trained = airjax.train_network(recipe.override(precision="float16"), toy, seed=3)
    loaded = check_saved(trained, toy, tmp_path)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(loaded.variables)} == {"float16"}


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
def test_every_precision_learns_what_one_batch_shows(precision: str, toy: airjax.Dataset) -> None:
    one_batch = {"train_examples": 16, "whiten_examples": 16, "epochs": 30.0, "flip": "none", "translate": 0}
    losses = train(RECIPES["94-hiverge"].override(**SMALL | one_batch, precision=precision), toy, 0).metrics.loss
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.slow
@pytest.mark.nightly
def test_the_whole_run_as_one_function_is_the_same_training(recipe: Recipe, toy: airjax.Dataset) -> None:
    short = recipe.override(epochs=1.0, precision="float32", newton_schulz_precision="float32")
    result, single = check_whole_run(short, toy)
    np.testing.assert_allclose(result.logits, single.logits, atol=0.02 * np.abs(single.logits).max())
