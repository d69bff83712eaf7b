from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import airjax
from airjax.augment.transforms import normalize
from airjax.nn.airbench import apply_eval, init_variables
from airjax.recipes.precision import resolve_precision
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Recipe
from airjax.training.evaluate import EvalPlan, eval_plan, tta_logits, tta_logits_in_passes
from airjax.training.loop import compile_logits


@pytest.mark.parametrize("level", [0, 1, 2])
def test_logits_are_averaged_with_the_methods_weights(tiny: Recipe, toy: airjax.Dataset, level: int) -> None:
    recipe = resolve_precision(tiny)
    variables = init_variables(recipe, jax.random.key(0))
    variables["frozen"]["whiten"]["kernel"] = jax.random.normal(jax.random.key(1), (2, 2, 3, 24))
    images = jnp.asarray(toy.test_images[:3])
    x = np.asarray(normalize(images, jnp.float32))

    def net(view: np.ndarray) -> np.ndarray:
        return np.asarray(apply_eval(recipe, variables, jnp.asarray(view)))

    def mirrored(view: np.ndarray) -> np.ndarray:
        return 0.5 * net(view) + 0.5 * net(view[:, :, ::-1])

    expected = net(x) if level == 0 else mirrored(x)
    if level == 2:
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
        expected = 0.5 * expected + 0.25 * mirrored(padded[:, :32, :32]) + 0.25 * mirrored(padded[:, 2:, 2:])
    assert np.allclose(tta_logits(recipe, variables, images, level), expected, atol=1e-5)


def test_passes_give_the_logits_of_one(tiny: Recipe, toy: airjax.Dataset) -> None:
    recipe = resolve_precision(tiny)
    variables = init_variables(recipe, jax.random.key(0))
    variables["frozen"]["whiten"]["kernel"] = jax.random.normal(jax.random.key(1), (2, 2, 3, 24))
    images = jnp.asarray(toy.test_images[:12])
    expected = tta_logits(recipe, variables, images)
    compute = jax.jit(lambda count: tta_logits_in_passes(recipe, variables, images, count, EvalPlan(batch=4, passes=3)))
    assert np.allclose(compute(3), expected, atol=1e-5)
    assert np.allclose(compute(2)[:8], expected[:8], atol=1e-5)
    assert not compute(2)[8:].any()


@pytest.mark.parametrize("examples", [1, 100, 200, 201, 2000, 4001, 9999, 10_000])
def test_an_evaluation_looped_over_inside_takes_hardly_an_image_too_many(examples: int) -> None:
    recipe = RECIPES["94"].override(test_examples=examples)
    plan = eval_plan(recipe, "onednn")
    calls = -(-examples // (plan.batch * plan.passes))
    assert plan.batch <= (200 if jax.default_backend() == "cpu" else 2000)
    assert plan.passes <= 20
    assert examples <= calls * plan.batch * plan.passes < examples + calls * plan.passes
    assert eval_plan(recipe, "native") == EvalPlan(min(examples, 200 if jax.default_backend() == "cpu" else 2000), 1)


@pytest.mark.parametrize("level", [3, -1, True, 1.5, "2"])
def test_other_levels_are_refused_wherever_they_come_in(tiny: Recipe, toy: airjax.Dataset, level: Any) -> None:
    recipe = resolve_precision(tiny)
    model = airjax.Model(recipe, {"frozen": {}} | init_variables(recipe, jax.random.key(0)))
    airjax.infer(model, toy.test_images[:1], tta_level=1)  # its program is kept, and True is equal to 1
    message = f"tta-level is {level!r}, but it must be a whole number from 0 to 2"
    with pytest.raises(ValueError, match=message):
        airjax.infer(model, toy.test_images[:1], tta_level=level)
    with pytest.raises(ValueError, match=message):
        airjax.evaluate(model, toy, tta_level=level)
    with pytest.raises(ValueError, match=message):
        tta_logits(recipe, model.variables, jnp.asarray(toy.test_images[:1]), level)
    with pytest.raises(ValueError, match=message):
        compile_logits(recipe, level, "native")


def test_numpys_whole_numbers_are_levels(tiny: Recipe, toy: airjax.Dataset) -> None:
    recipe = resolve_precision(tiny)
    model = airjax.Model(recipe, {"frozen": {}} | init_variables(recipe, jax.random.key(0)))
    images = toy.test_images[:2]
    assert np.array_equal(airjax.infer(model, images, tta_level=np.int64(1)), airjax.infer(model, images, tta_level=1))
