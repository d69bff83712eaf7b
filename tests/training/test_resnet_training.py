"""The second kind of network goes through everything that the first one does."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import airjax
from airjax.cli import predict, sweep
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Recipe
from airjax.sweep.store import load
from airjax.training.loop import TrainedRun, train
from airjax.training.many import run_many, seed_keys
from airjax.training.members import STRATEGIES, Strategy, make_members
from airjax.training.run import make_run
from airjax.training.snapshots import Keeping, StoppedError

SMALL = {"widths": (4, 4, 6, 8), "epochs": 2.0, "batch_size": 16, "train_examples": 64, "test_examples": 20}
PLAN = """
recipe = "resnet18"
data = "synthetic"
seeds = 2
[set]
widths = [4, 4, 6, 8]
epochs = 1.0
batch_size = 16
train_examples = 32
test_examples = 20
[grid]
learning_rate = [0.05, 0.1]
"""


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return RECIPES["resnet18"].override(**SMALL)


@pytest.fixture(scope="module")
def trained(recipe: Recipe, toy: airjax.Dataset) -> airjax.Trained:
    return airjax.train_network(recipe, toy, seed=3)


def test_a_trained_network_is_saved_loaded_and_predicts_the_same(
    trained: airjax.Trained, toy: airjax.Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert np.isfinite(trained.losses).all()
    file = tmp_path / "model.safetensors"
    airjax.save_model(file, trained.model)
    loaded = airjax.load(file)
    assert loaded.recipe == trained.model.recipe
    assert loaded.variables["frozen"] == {}
    assert np.array_equal(airjax.infer(loaded, toy.test_images[:20]), trained.logits)
    image = tmp_path / "image.png"
    from PIL import Image

    Image.fromarray(toy.test_images[0]).save(image)
    assert predict.main([str(file), str(image)]) == 0
    assert toy.classes[int(trained.logits[0].argmax())] in capsys.readouterr().out


def test_a_stopped_training_goes_on_to_the_same_bits(
    recipe: Recipe, toy: airjax.Dataset, trained: airjax.Trained, tmp_path: Path
) -> None:
    asked = iter([False, True])
    with pytest.raises(StoppedError):
        train(recipe, toy, 3, driver="loop", keeping=Keeping(tmp_path, 1, functools.partial(next, asked)))
    resumed = train(recipe, toy, 3, driver="loop", keeping=Keeping(tmp_path))
    whole = train(recipe, toy, 3, driver="loop")
    np.testing.assert_array_equal(resumed.metrics.loss, whole.metrics.loss)
    np.testing.assert_array_equal(resumed.logits, whole.logits)
    np.testing.assert_allclose(resumed.metrics.loss[:2], trained.losses[:2], rtol=1e-4)


def test_a_sweep_of_learning_rates_trains_one_network_for_each_setting_and_seed(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(PLAN)
    assert sweep.main([str(tmp_path / "plan.toml"), "--out", str(tmp_path / "out"), "--workers", "1"]) == 0
    rows = load(tmp_path / "out").rows
    assert sorted((row["changes"]["learning_rate"], row["seed"]) for row in rows) == [
        *((0.05, 0), (0.05, 1), (0.1, 0), (0.1, 1))
    ]
    assert not any(row["error"] for row in rows)


@pytest.fixture
def _x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


RATES = (0.1, 0.02)


@pytest.fixture(scope="module")
def singles(recipe: Recipe, toy: airjax.Dataset) -> list[TrainedRun]:
    with jax.enable_x64(True):
        exact = recipe.override(precision="float64", epochs=1.0)
        return [train(exact.override(learning_rate=rate), toy, seed) for seed, rate in enumerate(RATES)]


@pytest.mark.slow
@pytest.mark.usefixtures("_x64")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_trains_the_networks_of_single_runs(
    recipe: Recipe, toy: airjax.Dataset, singles: list[TrainedRun], strategy: Strategy
) -> None:
    exact = recipe.override(precision="float64", epochs=1.0)
    members = make_members(exact, seed_keys(range(2)), learning_rate=RATES)
    done = run_many(exact, members, toy, strategy=strategy, keep_variables=True)
    for k, single in enumerate(singles):
        # The order of the sums differs; four steps amplify that.
        np.testing.assert_allclose(done.metrics.loss[k], single.metrics.loss, rtol=1e-9)
        np.testing.assert_allclose(done.logits[k], single.logits, rtol=0, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_every_precision_learns_what_one_batch_shows(precision: str, toy: airjax.Dataset) -> None:
    changes: dict[str, Any] = SMALL | {
        "train_examples": 16,
        "epochs": 30.0,
        "flip": "none",
        "translate": 0,
        "cutout": 0,
    }
    done = train(RECIPES["resnet18-80"].override(**changes, precision=precision), toy, 0)
    assert done.metrics.loss[-1] < 0.5 * done.metrics.loss[0]


@pytest.mark.slow
def test_the_whole_run_as_one_function_is_the_same_training(recipe: Recipe, toy: airjax.Dataset) -> None:
    short = recipe.override(epochs=0.5, precision="float32")
    result = jax.jit(make_run(short))(airjax.make_key(3), airjax.to_device(toy, short))
    np.testing.assert_allclose(result.metrics.loss, train(short, toy, 3).metrics.loss, rtol=1e-3)
