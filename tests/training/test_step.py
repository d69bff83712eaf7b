import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import airjax
from airjax.augment.batch import batch_at
from airjax.optim.hyperparameters import hyperparameters
from airjax.recipes.recipe import Recipe
from airjax.training.backend import backend_of, resolve_precision
from airjax.training.run import start_run
from airjax.training.step import accuracy_of, averaged_variables, smoothed_loss, train_step


def test_loss_is_smoothed_over_all_classes_with_the_methods_minimum() -> None:
    smoothing = jnp.float32(0.2)
    perfect = jnp.log(jnp.full((1, 10), 0.02).at[0, 3].set(0.82))
    assert float(smoothed_loss(perfect, jnp.array([3]), smoothing)[0]) == pytest.approx(0.86689, abs=1e-5)
    logits = jax.random.normal(jax.random.key(0), (4, 10))
    logp = np.asarray(jax.nn.log_softmax(logits), np.float64)
    labels = np.array([0, 9, 5, 5])
    expected = -0.8 * logp[np.arange(4), labels] - 0.02 * logp.sum(axis=1)
    assert np.allclose(smoothed_loss(logits, jnp.asarray(labels), smoothing), expected, rtol=1e-6)


def test_accuracy_counts_the_largest_logit() -> None:
    assert float(accuracy_of(jnp.eye(10)[:4], jnp.array([0, 1, 2, 9]))) == 0.75


@pytest.fixture(scope="module")
def started(tiny: Recipe, toy: airjax.Dataset) -> tuple:
    recipe = resolve_precision(tiny.override(batch_size=8))
    images, labels = jnp.asarray(toy.train_images[:256]), jnp.asarray(toy.train_labels[:256])
    hyper = hyperparameters(recipe)
    start = jax.jit(functools.partial(start_run, recipe, backend_of(recipe)))
    state, draws = start(jax.random.key(0), images, hyper)
    return recipe, state, batch_at(recipe, images, labels, draws, state.step), hyper


@functools.partial(jax.jit, static_argnums=0, static_argnames="frozen")
def take_step(recipe: Recipe, state: Any, batch: Any, hyper: Any, frozen: tuple[str, ...] = ()) -> Any:
    return train_step(recipe, state, batch, hyper, frozen=frozen)


def convolutions_of(recipe: Recipe, started: tuple, frozen: tuple[str, ...]) -> int:
    _, state, batch, hyper = started

    def step(state: object, batch: object, hyper: object) -> object:
        native = backend_of(recipe, convolution="native")
        return train_step(recipe, state, batch, hyper, frozen=frozen, backend=native)

    return jax.jit(step).lower(state, batch, hyper).as_text().count("stablehlo.convolution")


def test_freezing_the_bias_saves_its_part_of_the_backward_pass(started: tuple) -> None:
    # Forward, weight gradient and input gradient of six convolutions, and the forward whitening convolution.
    assert convolutions_of(started[0], started, frozen=()) == 3 * 6 + 1
    # Frozen: the first 3x3 convolution's input gradient is gone.
    assert convolutions_of(started[0], started, frozen=("whiten_bias",)) == 3 * 6


def test_freezing_stops_the_bias_and_nothing_else(started: tuple) -> None:
    recipe, state, batch, hyper = started
    trained, _ = take_step(recipe, state, batch, hyper)
    frozen, metrics = take_step(recipe, state, batch, hyper, frozen=("whiten_bias",))
    assert not np.array_equal(trained.params["whiten"]["bias"], state.params["whiten"]["bias"])
    assert np.array_equal(frozen.params["whiten"]["bias"], state.params["whiten"]["bias"])
    assert np.allclose(trained.params["head"], frozen.params["head"], rtol=1e-5, atol=1e-6)
    assert np.array_equal(frozen.frozen["whiten"]["kernel"], state.frozen["whiten"]["kernel"])
    assert int(frozen.step) == 1
    assert 2 < float(metrics.loss) < 3


def test_the_last_network_is_lookaheads_slow_copy(started: tuple) -> None:
    recipe, state, batch, hyper = started
    for _ in range(2):
        state, _ = take_step(recipe, state, batch, hyper)
    assert not np.array_equal(averaged_variables(state)["params"]["head"], state.params["head"])
    assert np.array_equal(averaged_variables(state)["params"]["head"], state.lookahead.slow[0]["head"])
    plain = recipe.override(lookahead=False)
    start = functools.partial(start_run, plain, backend_of(plain))
    begun, _ = jax.eval_shape(start, jax.random.key(0), jnp.zeros((256, 32, 32, 3), jnp.uint8), hyper)
    assert begun.lookahead is None
