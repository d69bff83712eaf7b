import jax
import jax.numpy as jnp
import numpy as np
import pytest

import airjax
from airjax.kernels.backend import Driver
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Recipe
from airjax.training.compile import compiler_options
from airjax.training.loop import train
from airjax.training.run import Arrays, Segment, make_run, segments

FROZEN = ("whiten_bias",)


def test_segments_cut_at_the_freeze_and_at_epochs() -> None:
    recipe = RECIPES["94"]
    assert segments(recipe, by_epoch=False) == [Segment(0, (), 144), Segment(3, FROZEN, 332)]
    by_epoch = segments(recipe, by_epoch=True)
    assert [segment.num_steps for segment in by_epoch] == [48] * 9 + [44]
    assert [segment.frozen for segment in by_epoch] == [()] * 3 + [FROZEN] * 7
    halfway = recipe.override(whiten_bias_epochs=0.5, epochs=1.0)
    assert segments(halfway, by_epoch=True) == [Segment(0, (), 24), Segment(0, FROZEN, 24)]
    in_fives = segments(recipe, by_epoch=True, at_most=lambda size: 5)
    assert [segment.num_steps for segment in in_fives] == [1, 4, *([*(9 * [5]), 3] * 9)[1:], *(8 * [5]), 4]
    assert [segment.epoch for segment in in_fives] == sorted([0, *[*range(9)] * 10, *[9] * 9])
    in_ones = segments(halfway, by_epoch=False, at_most=lambda size: 1)
    assert in_ones == 24 * [Segment(0, (), 1)] + 24 * [Segment(0, FROZEN, 1)]
    never = recipe.override(whiten_bias_epochs=0.0, epochs=1.0)
    assert segments(never, by_epoch=False) == [Segment(0, FROZEN, 48)]


@pytest.fixture(scope="module")
def small(tiny: Recipe) -> Recipe:
    return tiny.override(train_examples=32, batch_size=8, test_examples=20, whiten_examples=32)


def test_one_traced_run_equals_the_host_driven_one(small: Recipe, toy: airjax.Dataset) -> None:
    data = Arrays(*(jnp.asarray(a) for a in (toy.train_images, toy.train_labels, toy.test_images, toy.test_labels)))
    run = jax.jit(make_run(small), compiler_options=compiler_options(jax.default_backend()))
    traced = run(jax.random.key(7), data)
    driven = train(small, toy, 7)
    assert np.allclose(traced.metrics.loss, driven.metrics.loss, rtol=2e-4)
    assert np.allclose(traced.logits, driven.logits, atol=5e-3)
    assert traced.logits.shape == (20, 10)


@pytest.mark.parametrize("driver", ["chunks", "scan"])
def test_all_drivers_give_the_numbers_of_a_loop(small: Recipe, toy: airjax.Dataset, driver: Driver) -> None:
    reports: list = []
    loop = train(small, toy, 3, driver="loop")
    other = train(small, toy, 3, driver=driver, on_epoch=reports.append)
    assert np.allclose(loop.metrics.loss, other.metrics.loss, rtol=2e-4)
    assert np.allclose(loop.logits, other.logits, atol=5e-3)
    assert [report.epoch for report in reports] == [0, 1]


@pytest.mark.parametrize("driver", ["chunks", "scan"])
def test_all_drivers_agree_to_rounding_in_float64(small: Recipe, toy: airjax.Dataset, driver: Driver) -> None:
    with jax.enable_x64(True):
        exact = small.override(precision="float64")
        loop, other = (train(exact, toy, 3, driver=chosen) for chosen in ("loop", driver))
        assert loop.logits.dtype == np.float64
        assert np.allclose(loop.metrics.loss, other.metrics.loss, rtol=1e-11)
        assert np.allclose(loop.logits, other.logits, atol=1e-10)
