"""Test-time augmentation of the least confident images alone. (§5)"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import airjax
from airjax.recipes.recipe import Recipe
from airjax.training.backend import backend_of, resolve_precision
from airjax.training.eval_plans import EvalPlan, EvalRound, eval_rounds
from airjax.training.evaluate import batched_logits, compile_evaluation
from airjax.training.evaluate_group import compile_group_evaluation, group_logits
from airjax.training.members import Strategy, strategy_backend
from airjax.training.selective import least_confident, selective_logits
from tests.networks import initial


@pytest.fixture(scope="module")
def recipe(tiny: Recipe) -> Recipe:
    return resolve_precision(tiny).override(tta_fraction=0.3, tta_uniform=True, test_examples=40, logit_scale=1.0)


def networks(recipe: Recipe, count: int) -> list:
    found = []
    for seed in range(count):
        one = {"frozen": {}} | initial(recipe, seed)
        one["frozen"] = {"whiten": {"kernel": jax.random.normal(jax.random.key(100 + seed), (2, 2, 3, 24))}}
        found.append(one)
    return found


def expected(recipe: Recipe, network: dict, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Plain logits, replaced by those of all views for the images with the smallest largest probabilities."""
    backend, everywhere = backend_of(recipe), recipe.override(tta_fraction=1.0)
    plain, full = (batched_logits(everywhere, backend, network, images, level) for level in (0, 2))
    probabilities = np.exp(plain) / np.exp(plain).sum(1, keepdims=True)
    chosen = np.zeros(len(images), bool)
    chosen[np.argsort(probabilities.max(1))[: -(-3 * len(images) // 10)]] = True
    assert not np.allclose(plain, full, atol=1e-3)
    return np.where(chosen[:, None], full, plain), chosen


def test_the_least_confident_come_first_and_ties_in_their_own_order() -> None:
    logits = np.log(np.array([[0.9, 0.1], [0.4, 0.6], [0.5, 0.5], [0.6, 0.4]])).astype(np.float32) + 7
    logits[3] = logits[1, ::-1]
    assert least_confident(logits, 3).tolist() == [2, 1, 3]
    assert jax.jit(least_confident, static_argnums=1)(jnp.asarray(logits), 3).tolist() == [2, 1, 3]
    both = least_confident(np.stack([logits, logits[::-1]]), 1)
    assert both.tolist() == [[2], [1]]


@pytest.mark.parametrize("on_device", [False, True])
def test_only_the_least_confident_images_have_all_views(recipe: Recipe, toy: airjax.Dataset, on_device: bool) -> None:
    (network,) = networks(recipe, 1)
    images = toy.test_images[:37]  # not those that the sizes of calls are for
    wanted, chosen = expected(recipe, network, images)
    assert chosen.sum() == 12
    given = jnp.asarray(images) if on_device else images
    compile_evaluation(recipe, 2, backend_of(recipe), EvalPlan(16, 1), jnp.asarray(images))
    found = batched_logits(recipe, backend_of(recipe), network, given, 2, EvalPlan(16, 1))
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_what_is_traced_selects_the_same_images(recipe: Recipe, toy: airjax.Dataset) -> None:
    (network,) = networks(recipe, 1)
    images, backend = toy.test_images[:40], backend_of(recipe)

    def evaluated(images: jax.Array) -> jax.Array:
        return selective_logits(
            recipe, images, lambda part, level: airjax.tta_logits(recipe, network, part, level, backend=backend), 2
        )

    found = jax.jit(evaluated)(jnp.asarray(images))
    np.testing.assert_allclose(found, expected(recipe, network, images)[0], atol=1e-5)


@pytest.mark.parametrize("strategy", ["map", "vmap", "sharded"])
def test_each_network_of_a_group_selects_its_own_images(
    recipe: Recipe, toy: airjax.Dataset, strategy: Strategy
) -> None:
    members, images = networks(recipe, 2), jnp.asarray(toy.test_images[:40])
    wanted, chosen = zip(*(expected(recipe, one, np.asarray(images)) for one in members), strict=True)
    assert not np.array_equal(*chosen)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
    backend, plan = strategy_backend(recipe, strategy), EvalPlan(10, 2)
    assert len(compile_group_evaluation(recipe, backend, strategy, 2, plan, images)) == 2
    found = group_logits(recipe, backend, strategy, stacked, images, plan)
    np.testing.assert_allclose(found, np.stack(wanted), atol=1e-4)


def test_the_selected_images_take_no_more_calls_than_they_need(recipe: Recipe) -> None:
    test_set = recipe.override(test_examples=10_000, tta_fraction=0.25)
    for of, plan, selected in (
        (test_set, EvalPlan(2000, 1), EvalPlan(1250, 1)),  # two calls instead of five
        (test_set, EvalPlan(200, 20), EvalPlan(193, 13)),  # 2,509 images in one call
        (recipe, EvalPlan(40, 1), EvalPlan(12, 1)),
    ):
        assert eval_rounds(of, 2, plan) == (EvalRound(0, plan), EvalRound(2, selected, selected=True))
    assert eval_rounds(recipe, 0, plan) == (EvalRound(0, plan),)


def test_predictions_select_among_the_images_of_a_call(recipe: Recipe, toy: airjax.Dataset) -> None:
    (network,) = networks(recipe, 1)
    model = airjax.Model(recipe, network)
    found = airjax.infer(model, toy.test_images[:20])
    np.testing.assert_allclose(found, expected(recipe, network, toy.test_images[:20])[0], atol=1e-5)
    everywhere = airjax.Model(recipe.override(tta_fraction=1.0), network)
    alone = airjax.infer(model, toy.test_images[:1])  # one image is all of its call's least confident
    np.testing.assert_allclose(alone, airjax.infer(everywhere, toy.test_images[:1]), atol=1e-5)
    plain = airjax.infer(everywhere, toy.test_images[:20], tta_level=0)
    np.testing.assert_allclose(airjax.infer(model, toy.test_images[:20], tta_level=0), plain, atol=1e-5)
