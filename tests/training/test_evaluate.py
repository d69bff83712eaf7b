from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import airjax
from airjax.augment.transforms import normalize
from airjax.kernels.onednn import onednn_available
from airjax.recipes.inputs import Inputs
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Recipe
from airjax.training.backend import backend_of, resolve_precision
from airjax.training.eval_plans import EvalPlan, eval_plan
from airjax.training.evaluate import compile_logits, tta_logits, tta_logits_in_passes
from tests.networks import classify, initial


@pytest.mark.parametrize("level", [0, 1, 2])
def test_logits_are_averaged_with_the_methods_weights(tiny: Recipe, toy: airjax.Dataset, level: int) -> None:
    recipe = resolve_precision(tiny)
    variables = initial(recipe)
    variables["frozen"]["whiten"]["kernel"] = jax.random.normal(jax.random.key(1), (2, 2, 3, 24))
    images = jnp.asarray(toy.test_images[:3])
    x = np.asarray(normalize(images, Inputs(), jnp.float32))

    def net(view: np.ndarray) -> np.ndarray:
        return np.asarray(classify(recipe, variables, jnp.asarray(view)))

    def mirrored(view: np.ndarray) -> np.ndarray:
        return 0.5 * net(view) + 0.5 * net(view[:, :, ::-1])

    expected = net(x) if level == 0 else mirrored(x)
    if level == 2:
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
        expected = 0.5 * expected + 0.25 * mirrored(padded[:, :32, :32]) + 0.25 * mirrored(padded[:, 2:, 2:])
    assert np.allclose(tta_logits(recipe, variables, images, level), expected, atol=1e-5)


def test_passes_give_the_logits_of_one(tiny: Recipe, toy: airjax.Dataset) -> None:
    recipe = resolve_precision(tiny)
    variables = initial(recipe)
    variables["frozen"]["whiten"]["kernel"] = jax.random.normal(jax.random.key(1), (2, 2, 3, 24))
    images = jnp.asarray(toy.test_images[:12])
    expected, backend, plan = tta_logits(recipe, variables, images), backend_of(recipe), EvalPlan(batch=4, passes=3)
    compute = jax.jit(lambda count: tta_logits_in_passes(recipe, backend, variables, images, count, plan))
    assert np.allclose(compute(3), expected, atol=1e-5)
    assert np.allclose(compute(2)[:8], expected[:8], atol=1e-5)
    assert not compute(2)[8:].any()  # six views are a pass: nothing more is computed


@pytest.mark.skipif(not onednn_available(), reason="oneDNN is not installed, or does not load")
def test_views_that_fill_no_whole_passes_give_the_same_logits(tiny: Recipe, toy: airjax.Dataset) -> None:
    recipe = resolve_precision(tiny)
    variables = initial(recipe)
    variables["frozen"]["whiten"]["kernel"] = jax.random.normal(jax.random.key(1), (2, 2, 3, 24))
    images = jnp.asarray(toy.test_images[:14])
    backend, plan = backend_of(recipe, convolution="onednn"), EvalPlan(batch=14, passes=1)  # three images at once
    compute = jax.jit(lambda count: tta_logits_in_passes(recipe, backend, variables, images, count, plan))
    assert np.allclose(compute(1), tta_logits(recipe, variables, images), atol=1e-5)


@pytest.mark.parametrize("examples", [1, 100, 200, 201, 2000, 4001, 9999, 10_000])
def test_an_evaluation_looped_over_inside_takes_hardly_an_image_too_many(examples: int) -> None:
    recipe = RECIPES["94"].override(test_examples=examples)
    plan = eval_plan(recipe, backend_of(recipe, convolution="onednn"))
    calls = -(-examples // (plan.batch * plan.passes))
    assert plan.batch <= (200 if jax.default_backend() == "cpu" else 2000)
    assert plan.passes <= 20
    assert examples <= calls * plan.batch * plan.passes < examples + calls * plan.passes
    at_most = 200 if jax.default_backend() == "cpu" else 2000
    assert eval_plan(recipe, backend_of(recipe, convolution="native")) == EvalPlan(min(examples, at_most), 1)


@pytest.mark.parametrize("level", [3, -1, True, 1.5, "2"])
def test_other_levels_are_refused_wherever_they_come_in(tiny: Recipe, toy: airjax.Dataset, level: Any) -> None:
    recipe = resolve_precision(tiny)
    model = airjax.Model(recipe, {"frozen": {}} | initial(recipe), toy.classes)
    airjax.infer(model, toy.test_images[:1], tta_level=1)  # its program is kept, and True is equal to 1
    message = f"tta-level is {level!r}, but it must be a whole number from 0 to 2"
    with pytest.raises(ValueError, match=message):
        airjax.infer(model, toy.test_images[:1], tta_level=level)
    with pytest.raises(ValueError, match=message):
        airjax.evaluate(model, toy, tta_level=level)
    with pytest.raises(ValueError, match=message):
        tta_logits(recipe, model.variables, jnp.asarray(toy.test_images[:1]), level)
    with pytest.raises(ValueError, match=message):
        compile_logits(recipe, level, backend_of(recipe))


def test_numpys_whole_numbers_are_levels(tiny: Recipe, toy: airjax.Dataset) -> None:
    recipe = resolve_precision(tiny)
    model = airjax.Model(recipe, {"frozen": {}} | initial(recipe))
    images = toy.test_images[:2]
    assert np.array_equal(airjax.infer(model, images, tta_level=np.int64(1)), airjax.infer(model, images, tta_level=1))


def test_recipes_that_differ_in_no_evaluation_share_its_program(tiny: Recipe) -> None:
    recipe = resolve_precision(tiny)
    compiled = compile_logits(recipe, 0, backend_of(recipe))
    assert (
        compile_logits(recipe.override(learning_rate=3.0, flip="none", epochs=1.0), 0, backend_of(recipe)) is compiled
    )
    assert compile_logits(recipe.override(logit_scale=0.5), 0, backend_of(recipe)) is not compiled


def test_without_mirrored_views_an_image_stands_for_both(tiny: Recipe, toy: airjax.Dataset) -> None:
    recipe = resolve_precision(tiny).override(tta_mirror=False)
    variables = initial(recipe)
    variables["frozen"]["whiten"]["kernel"] = jax.random.normal(jax.random.key(1), (2, 2, 3, 24))
    images = jnp.asarray(toy.test_images[:3])
    plain = tta_logits(recipe, variables, images, 0)
    assert np.array_equal(tta_logits(recipe, variables, images, 1), plain)
    assert not np.allclose(tta_logits(recipe.override(tta_mirror=True), variables, images, 1), plain)
    assert [recipe.override(tta_level=level).evaluation.num_views for level in (0, 1, 2)] == [1, 1, 3]
