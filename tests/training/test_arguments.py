"""Arguments of the wrong kind: what was expected and what came."""

import dataclasses
import re
from typing import Any

import jax
import numpy as np
import pytest

import airjax
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Recipe
from airjax.training.loop import train
from airjax.training.step import StepMetrics

PIXELS = np.zeros((4, 32, 32, 3), np.uint8)
LABELS = np.zeros(4, np.int32)
SEED_0 = airjax.seed_keys([0])


@pytest.mark.parametrize(
    "call",
    [
        airjax.train94,
        lambda data: airjax.train_network("tiny", data),
        lambda data: airjax.run_many("tiny", SEED_0, data),
        lambda data: airjax.to_device(data, "tiny"),
        lambda data: airjax.evaluate(airjax.Model(RECIPES["tiny"], {}), data),
        lambda data: train("tiny", data, 0),
    ],
)
def test_a_name_is_no_data_set(call: Any) -> None:
    with pytest.raises(TypeError, match=r"data is 'cifar10' \(str\), but it must be a Dataset, as load_data"):
        call("cifar10")


@pytest.mark.parametrize("call", [airjax.train_network, lambda recipe, data: airjax.run_many(recipe, SEED_0, data)])
def test_a_number_is_no_recipe(call: Any, toy: airjax.Dataset) -> None:
    with pytest.raises(TypeError, match=r"a recipe is a Recipe or the name of one, not int; the recipes are 94, 95"):
        call(94, toy)


@pytest.mark.parametrize("seed", [2**32, -1, 1.5])
def test_no_entrance_takes_another_seed(seed: Any, toy: airjax.Dataset) -> None:
    for call in (
        lambda: airjax.train_network("tiny", toy, seed=seed),
        lambda: train("tiny", toy, seed),
        lambda: airjax.seed_keys([0, seed]),
        lambda: airjax.make_key(seed),
    ):
        with pytest.raises(ValueError, match=re.escape(f"seed is {seed!r}, but it must be a whole number from 0 to")):
            call()


def test_a_range_that_leaves_the_seeds_is_refused_before_a_list_is_built() -> None:
    with pytest.raises(ValueError, match="seed is 99999999999,"):
        airjax.seed_keys(range(100_000_000_000))
    with pytest.raises(TypeError, match=r"seeds is 3, but it must be a sequence of seeds, such as range\(4\)"):
        airjax.seed_keys(3)  # pyright: ignore[reportArgumentType]
    for seeds in ({0, 1}, (seed for seed in (0, 1))):
        with pytest.raises(TypeError, match="it must be a sequence of seeds"):
            airjax.seed_keys(seeds)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        (range(4), "range(0, 4) (range)"),
        (np.arange(4, dtype=np.uint32), "uint32[4]"),
        (jax.random.key_data(SEED_0), "uint32[1, 2]"),
        (SEED_0[0], "key<fry>[]"),
    ],
)
def test_only_keys_are_keys(keys: Any, kind: str, toy: airjax.Dataset) -> None:
    with pytest.raises(TypeError, match=re.escape(f"keys are {kind}, but they must be keys [K]: seed_keys(range(4))")):
        airjax.run_many("tiny", keys, toy)


def test_one_number_is_that_of_all_members() -> None:
    keys = airjax.seed_keys(range(3))
    one, all_the_same = (airjax.make_members("tiny", keys, learning_rate=rate) for rate in (9.0, [9.0] * 3))
    np.testing.assert_array_equal(one.hyper.learning_rate, all_the_same.hyper.learning_rate)
    assert one.hyper.learning_rate.shape == (3,)
    for wrong in ("9.0", ["a", "b", "c"], [[9.0] * 3], 9.0 + 1j):
        with pytest.raises(TypeError, match=r"learning_rate is .*, but it must be a number, or one for each of the 3"):
            airjax.make_members("tiny", keys, learning_rate=wrong)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"group": 1.5}, r"group is 1.5 \(float\), but it must be a whole number from 1"),
        ({"group": True}, r"group is True \(bool\), but it must be a whole number from 1"),
        ({"eval_size": 0}, r"eval_size is 0 \(int\), but it must be a whole number from 1"),
        (
            {"strategy": "fast"},
            r"strategy is 'fast' \(str\), but it must be one of auto, sequential, map, inter",
        ),
        ({"driver": "fast"}, r"driver is 'fast' \(str\), but it must be one of loop, chunks, scan"),
    ],
)
def test_run_many_names_an_option_that_it_does_not_have(
    arguments: dict[str, Any], message: str, toy: airjax.Dataset
) -> None:
    with pytest.raises(ValueError, match=message):
        airjax.run_many("tiny", SEED_0, toy, **arguments)


def test_a_training_stands_for_its_model(tiny: Recipe, toy: airjax.Dataset) -> None:
    trained = airjax.train_network(tiny, toy)
    np.testing.assert_array_equal(airjax.infer(trained, toy.test_images), airjax.infer(trained.model, toy.test_images))
    assert airjax.evaluate(trained, toy) == trained.accuracy
    assert airjax.infer(trained, toy.test_images[:0]).shape == (0, 10)
    with pytest.raises(
        TypeError, match=r"model is 'model.safetensors' \(str\), but it must be a Model, as load\(file\)"
    ):
        airjax.infer("model.safetensors", toy.test_images)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="synthetic has no test images to evaluate on"):
        airjax.evaluate(trained, toy.head(10, 0))


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (PIXELS.tolist(), "list and ndarray; need numpy arrays"),
        (PIXELS / 255, "train images are float64 (4, 32, 32, 3); need uint8 from 0 to 255"),
        (
            PIXELS.transpose(0, 3, 1, 2),
            "(4, 3, 32, 32), channels first; need uint8 [N,H,W,C], channels last: images.tran",
        ),
        (
            PIXELS[0],
            "train images are uint8 (32, 32, 3); need uint8 [N,H,W,C]: images[None] where it is a single one",
        ),
    ],
)
def test_pixels_of_another_kind_are_named(pixels: Any, message: str) -> None:
    with pytest.raises(airjax.DataError, match=re.escape(message)):
        airjax.Dataset("mine", pixels, LABELS, PIXELS, LABELS)


def test_networks_that_were_not_kept_are_missed(tiny: Recipe) -> None:
    metrics, logits = StepMetrics(np.zeros((1, 16)), np.zeros((1, 16))), np.zeros((1, 100, 10))
    done = airjax.ManyRuns(tiny, "vmap", 1, metrics, logits, np.zeros(1), np.zeros(1, bool), [], {"train": 1.0})
    with pytest.raises(ValueError, match=r"1 seeds, 1 recipes, 1 trainings and 0 networks do not .* keep_variables"):
        done.runs([0])


def test_networks_with_rates_of_their_own_can_be_told_their_recipes(tiny: Recipe) -> None:
    metrics, logits = StepMetrics(np.zeros((2, 16)), np.zeros((2, 16))), np.zeros((2, 100, 10))
    done = airjax.ManyRuns(tiny, "vmap", 2, metrics, logits, np.zeros(2), np.zeros(2, bool), [{}, {}], {"train": 1.0})
    recipes = [tiny.override(learning_rate=rate) for rate in (1.0, 2.0)]
    assert [run.recipe for run in done.runs([0, 1], recipes)] == recipes
    assert [run.recipe for run in done.runs([0, 1])] == [tiny, tiny]
    with pytest.raises(ValueError, match="2 seeds, 1 recipes"):
        done.runs([0, 1], recipes[:1])


def test_many_networks_are_models_of_the_data_s_classes(tiny: Recipe, toy: airjax.Dataset) -> None:
    named = dataclasses.replace(toy, classes=tuple("abcdefghij"))
    some = named.head(64, 20)  # fewer than the recipe's: it is fitted, as train_network fits it
    done = airjax.run_many(tiny, SEED_0, some, keep_variables=True, progress=False)
    [model] = done.models()
    assert (model.classes, model.recipe.train_examples) == (named.classes, 64)
    np.testing.assert_allclose(airjax.infer(model, some.test_images), done.logits[0], atol=1e-4)
    with pytest.raises(ValueError, match="the networks were not kept; run_many keeps them with keep_variables=True"):
        done._replace(variables=[]).models()


def test_members_of_another_number_of_examples_are_refused(tiny: Recipe, toy: airjax.Dataset) -> None:
    subsets = np.arange(64)[None]
    members = airjax.make_members(tiny.override(train_examples=64), SEED_0, subsets=subsets)
    with pytest.raises(ValueError, match=r"train on 64 examples each, but the recipe on 256: hand the same recipe"):
        airjax.run_many(tiny, members, toy)


def test_a_run_in_memory_is_of_no_recipe_with_crops() -> None:
    with pytest.raises(ValueError, match="this recipe has crops, so it learns from a tree of images"):
        airjax.make_run("imagenet-resnet18-16")


def test_a_network_is_evaluated_on_its_own_classes(tiny: Recipe, toy: airjax.Dataset) -> None:
    model = airjax.train_network(tiny, toy).model
    labels = {"train_labels": toy.train_labels % 5, "test_labels": toy.test_labels % 5}
    five = dataclasses.replace(toy, **labels, classes=toy.classes[:5])
    with pytest.raises(ValueError, match=f"the model has 10 classes, but {toy.name} has 5"):
        airjax.evaluate(model, five)
    with pytest.warns(UserWarning, match=f"class 0 is '{toy.classes[0]}' of the model and '{toy.classes[9]}' of"):
        turned = airjax.evaluate(model, dataclasses.replace(toy, classes=toy.classes[::-1]))
    numbered = dataclasses.replace(toy, classes=())
    assert turned == airjax.evaluate(model, toy) == airjax.evaluate(model, numbered)
