"""The second kind of network goes through everything that the first one does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import airjax
from airjax.cli import predict
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


@pytest.mark.slow
@pytest.mark.nightly
def test_a_trained_network_is_saved_loaded_and_predicts_the_same(
    trained: airjax.Trained, toy: airjax.Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check_saved(trained, toy, tmp_path).variables["frozen"] == {}
    image = tmp_path / "image.png"
    from PIL import Image

    Image.fromarray(toy.test_images[0]).save(image)
    assert predict.main([str(tmp_path / "model.safetensors"), str(image)]) == 0
    assert toy.classes[int(trained.logits[0].argmax())] in capsys.readouterr().out


def test_a_stopped_training_goes_on_to_the_same_bits(
    recipe: Recipe, toy: airjax.Dataset, trained: airjax.Trained, tmp_path: Path
) -> None:
    resumed = check_resumed(recipe, toy, tmp_path)
    np.testing.assert_allclose(resumed.metrics.loss[:2], trained.losses[:2], rtol=1e-4)


def test_a_sweep_of_learning_rates_trains_one_network_for_each_setting_and_seed(tmp_path: Path) -> None:
    rows = sweep_rows(PLAN, tmp_path)
    assert sorted((row["changes"]["learning_rate"], row["seed"]) for row in rows) == [
        *((0.05, 0), (0.05, 1), (0.1, 0), (0.1, 1))
    ]


RATES = (0.1, 0.02)


@pytest.fixture(scope="module")
def singles(recipe: Recipe, toy: airjax.Dataset) -> list[TrainedRun]:
    return train_singles(recipe.override(epochs=1.0), toy, RATES)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", strategies())
def test_every_strategy_trains_the_networks_of_single_runs(
    recipe: Recipe, toy: airjax.Dataset, singles: list[TrainedRun], strategy: Strategy
) -> None:
    check_members(recipe.override(epochs=1.0), toy, singles, strategy, RATES)


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
@pytest.mark.nightly
def test_the_whole_run_as_one_function_is_the_same_training(recipe: Recipe, toy: airjax.Dataset) -> None:
    short = recipe.override(epochs=0.5, precision="float32")
    check_whole_run(short, toy)
