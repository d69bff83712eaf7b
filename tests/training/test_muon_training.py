"""Muon goes through everything that Nesterov's momentum does."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import airjax
from airjax.cli import sweep
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Recipe
from airjax.sweep.store import load
from airjax.training.loop import TrainedRun, train
from airjax.training.many import run_many, seed_keys
from airjax.training.members import STRATEGIES, Strategy, make_members
from airjax.training.run import make_run
from airjax.training.snapshots import Keeping, StoppedError

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


def test_a_trained_network_is_saved_loaded_and_predicts_the_same(
    recipe: Recipe, toy: airjax.Dataset, tmp_path: Path
) -> None:
    trained = airjax.train_network(recipe, toy, seed=3)
    assert np.isfinite(trained.losses).all()
    airjax.save_model(tmp_path / "model.safetensors", trained.model)
    loaded = airjax.load(tmp_path / "model.safetensors")
    assert loaded.recipe == trained.model.recipe
    assert np.array_equal(airjax.infer(loaded, toy.test_images[:20]), trained.logits)


def test_a_stopped_training_goes_on_to_the_same_bits(recipe: Recipe, toy: airjax.Dataset, tmp_path: Path) -> None:
    asked = iter([False, True])
    with pytest.raises(StoppedError):
        train(recipe, toy, 3, driver="loop", keeping=Keeping(tmp_path, 1, functools.partial(next, asked)))
    resumed = train(recipe, toy, 3, driver="loop", keeping=Keeping(tmp_path))
    whole = train(recipe, toy, 3, driver="loop")
    np.testing.assert_array_equal(resumed.metrics.loss, whole.metrics.loss)
    np.testing.assert_array_equal(resumed.logits, whole.logits)


def test_kernels_end_with_a_norm_of_one_for_each_output(recipe: Recipe, toy: airjax.Dataset) -> None:
    done = train(recipe, toy, 3).variables["params"]
    # The last update is small, for the rate is near its end: what is left is the rescaling before it.
    for block, width in zip(("block1", "block2", "block3"), recipe.network.widths, strict=True):
        assert np.linalg.norm(done[block]["conv2"]) == pytest.approx(width**0.5, rel=0.1)


def test_a_sweep_of_momenta_trains_one_network_for_each_setting_and_seed(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(PLAN)
    assert sweep.main([str(tmp_path / "plan.toml"), "--out", str(tmp_path / "out"), "--workers", "1"]) == 0
    rows = load(tmp_path / "out").rows
    assert sorted((row["changes"]["momentum"], row["seed"]) for row in rows) == [(0.6, 0), (0.6, 1), (0.8, 0), (0.8, 1)]
    assert not any(row["error"] for row in rows)


@pytest.fixture
def _x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


RATES = (0.24, 0.1)


@pytest.fixture(scope="module")
def singles(recipe: Recipe, toy: airjax.Dataset) -> list[TrainedRun]:
    with jax.enable_x64(True):
        exact = recipe.override(precision="float64")
        return [train(exact.override(learning_rate=rate), toy, seed) for seed, rate in enumerate(RATES)]


@pytest.mark.slow
@pytest.mark.usefixtures("_x64")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_trains_the_networks_of_single_runs(
    recipe: Recipe, toy: airjax.Dataset, singles: list[TrainedRun], strategy: Strategy
) -> None:
    exact = recipe.override(precision="float64")
    members = make_members(exact, seed_keys(range(2)), learning_rate=RATES)
    done = run_many(exact, members, toy, strategy=strategy, keep_variables=True)
    assert not np.array_equal(singles[0].metrics.loss, singles[1].metrics.loss)
    for k, single in enumerate(singles):
        # The order of the sums differs; eight steps amplify that.
        np.testing.assert_allclose(done.metrics.loss[k], single.metrics.loss, rtol=1e-9)
        np.testing.assert_allclose(done.logits[k], single.logits, rtol=0, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("rounded", ["bfloat16", "float32"])
def test_every_precision_learns_what_one_batch_shows(precision: str, rounded: str, toy: airjax.Dataset) -> None:
    one_batch = {"train_examples": 16, "whiten_examples": 16, "epochs": 30.0, "flip": "none", "translate": 0}
    changes = SMALL | one_batch | {"precision": precision, "newton_schulz_precision": rounded}
    losses = train(RECIPES["94-muon"].override(**changes), toy, 0).metrics.loss
    assert 0.866 < losses[-1] < 0.5 * losses[0]  # smoothed labels allow no less


@pytest.mark.slow
def test_the_whole_run_as_one_function_is_the_same_training(recipe: Recipe, toy: airjax.Dataset) -> None:
    short = recipe.override(epochs=1.0, precision="float32", newton_schulz_precision="float32")
    result = jax.jit(make_run(short))(airjax.make_key(3), airjax.to_device(toy, short))
    np.testing.assert_allclose(result.metrics.loss, train(short, toy, 3).metrics.loss, rtol=1e-3)
