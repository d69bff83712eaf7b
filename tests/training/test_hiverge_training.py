"""94-hiverge goes through everything that other recipes do."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest

import airjax
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Recipe
from airjax.training.loop import TrainedRun, train
from airjax.training.many import run_many, seed_keys
from airjax.training.members import STRATEGIES, Strategy
from airjax.training.run import make_run

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
    assert np.isfinite(trained.losses).all()
    airjax.save_model(tmp_path / "model.safetensors", trained.model)
    loaded = airjax.load(tmp_path / "model.safetensors")
    assert loaded.recipe == trained.model.recipe
    assert {leaf.dtype.name for leaf in jax.tree.leaves(loaded.variables)} == {"float16"}
    assert np.array_equal(airjax.infer(loaded, toy.test_images[:20]), trained.logits)


@pytest.fixture
def _x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def singles(recipe: Recipe, toy: airjax.Dataset) -> list[TrainedRun]:
    with jax.enable_x64(True):
        return [train(recipe.override(precision="float64"), toy, seed) for seed in range(2)]


@pytest.mark.slow
@pytest.mark.usefixtures("_x64")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_trains_the_networks_of_single_runs(
    recipe: Recipe, toy: airjax.Dataset, singles: list[TrainedRun], strategy: Strategy
) -> None:
    done = run_many(recipe.override(precision="float64"), seed_keys(range(2)), toy, strategy=strategy)
    for k, single in enumerate(singles):
        # The order of the sums differs; eight steps amplify that.
        np.testing.assert_allclose(done.metrics.loss[k], single.metrics.loss, rtol=1e-9)
        np.testing.assert_allclose(done.logits[k], single.logits, rtol=0, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_every_precision_learns_what_one_batch_shows(precision: str, toy: airjax.Dataset) -> None:
    one_batch = {"train_examples": 16, "whiten_examples": 16, "epochs": 30.0, "flip": "none", "translate": 0}
    losses = train(RECIPES["94-hiverge"].override(**SMALL | one_batch, precision=precision), toy, 0).metrics.loss
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.slow
def test_the_whole_run_as_one_function_is_the_same_training(recipe: Recipe, toy: airjax.Dataset) -> None:
    short = recipe.override(epochs=1.0, precision="float32", newton_schulz_precision="float32")
    result, single = jax.jit(make_run(short))(airjax.make_key(3), airjax.to_device(toy, short)), train(short, toy, 3)
    np.testing.assert_allclose(result.metrics.loss, single.metrics.loss, rtol=1e-3)
    np.testing.assert_allclose(result.logits, single.logits, atol=0.02 * np.abs(single.logits).max())
