"""Two networks in one step go through everything that one does."""

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
    assert np.isfinite(trained.losses).all()
    assert trained.losses.shape == (8,)
    airjax.save_model(tmp_path / "model.safetensors", trained.model)
    loaded = airjax.load(tmp_path / "model.safetensors")
    assert loaded.recipe == trained.model.recipe
    assert loaded.variables["params"]["head"].shape == (8, 10)
    assert np.array_equal(airjax.infer(loaded, toy.test_images[:20]), trained.logits)


def test_a_stopped_training_of_both_networks_goes_on_to_the_same_bits(
    recipe: Recipe, toy: airjax.Dataset, tmp_path: Path
) -> None:
    asked = iter([False, False, True])  # between two updates of the proxy
    with pytest.raises(StoppedError):
        train(recipe, toy, 3, driver="loop", keeping=Keeping(tmp_path, 1, functools.partial(next, asked)))
    resumed = train(recipe, toy, 3, driver="loop", keeping=Keeping(tmp_path))
    whole = train(recipe, toy, 3, driver="loop")
    np.testing.assert_array_equal(resumed.metrics.loss, whole.metrics.loss)
    np.testing.assert_array_equal(resumed.logits, whole.logits)


@pytest.mark.slow
def test_a_sweep_of_fractions_trains_one_network_for_each_setting_and_seed(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(PLAN)
    assert sweep.main([str(tmp_path / "plan.toml"), "--out", str(tmp_path / "out"), "--workers", "1"]) == 0
    rows = load(tmp_path / "out").rows
    assert sorted((row["changes"]["proxy_keep"], row["seed"]) for row in rows) == [
        (0.25, 0),
        (0.25, 1),
        (0.5, 0),
        (0.5, 1),
    ]
    assert not any(row["error"] for row in rows)


@pytest.fixture
def _x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


RATES = (9.0, 4.0)


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
def test_every_precision_learns_what_one_batch_shows(precision: str, toy: airjax.Dataset) -> None:
    one_batch = {"train_examples": 16, "whiten_examples": 16, "epochs": 240.0, "flip": "none", "translate": 0}
    recipe = RECIPES["96-faster"].override(**(SMALL | one_batch), cutout=0, precision=precision)
    losses = train(recipe, toy, 0).metrics.loss
    assert 0.866 < losses[-1] < 0.7 * losses[0]  # of the hardest half; smoothed labels allow no less


@pytest.mark.slow
def test_the_whole_run_as_one_function_is_the_same_training(recipe: Recipe, toy: airjax.Dataset) -> None:
    short = recipe.override(epochs=1.0, precision="float32")
    result = jax.jit(make_run(short))(airjax.make_key(3), airjax.to_device(toy, short))
    np.testing.assert_allclose(result.metrics.loss, train(short, toy, 3).metrics.loss, rtol=1e-3)


@pytest.mark.slow
def test_a_proxy_beside_a_resnet_trains_with_torch_s_sgd(toy: airjax.Dataset) -> None:
    small = {name: value for name, value in SMALL.items() if name not in ("widths", "whiten_examples")}
    recipe = RECIPES["resnet18"].override(**small, proxy=True, widths=(4, 4, 6, 6))
    assert np.isfinite(train(recipe, toy, 0).metrics.loss).all()
