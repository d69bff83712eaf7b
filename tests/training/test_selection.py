"""A step with selection: which examples are chosen, what each of the two networks learns from, and when."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import airjax
from airjax.augment.batch import Batch, batch_at
from airjax.kernels.backend import PRECISIONS
from airjax.nn.build import apply_train
from airjax.optim.build import make_optimizer
from airjax.optim.hyperparameters import hyperparameters
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Recipe
from airjax.training.backend import backend_of, resolve_precision
from airjax.training.run import start_run
from airjax.training.selection import hardest, proxy_recipe, take_examples
from airjax.training.step import TrainState, batch_losses, select_examples, smoothed_loss, train_step

Started = tuple[Recipe, TrainState, Batch, Any]
CHANGES: dict[str, Any] = {"proxy": True, "proxy_widths": (4, 6, 6), "batch_size": 8, "epochs": 1.0}


@pytest.mark.parametrize(
    ("losses", "count", "chosen"),
    [
        ([0.5, 3.0, 1.0, 2.0], 2, [1, 3]),
        ([3.0, 1.0, 2.0, 3.0, 3.0], 2, [0, 3]),  # of three equal ones the first two
        ([1.0, 1.0, 1.0, 1.0], 3, [0, 1, 2]),
        ([0.0, -1.0, 0.0, 5.0], 2, [0, 3]),
        ([2.0, np.nan, 9.0], 1, [1]),
        ([2.0, np.inf, 9.0], 3, [0, 1, 2]),
    ],
)
def test_the_largest_losses_are_chosen_and_of_equal_ones_the_first(
    losses: list[float], count: int, chosen: list[int]
) -> None:
    assert hardest(jnp.array(losses), count).tolist() == chosen


def test_chosen_examples_keep_their_labels_and_weights() -> None:
    images = jnp.arange(4.0).reshape(4, 1, 1, 1)
    chosen = jnp.array([1, 3])
    taken = take_examples(Batch(images, jnp.array([5, 6, 7, 8]), jnp.array([0.1, 0.2, 0.3, 0.4])), chosen)
    assert taken.images.ravel().tolist() == [1.0, 3.0]
    assert taken.labels.tolist() == [6, 8]
    assert taken.weights is not None
    np.testing.assert_allclose(taken.weights, [0.2, 0.4])
    assert take_examples(Batch(images, jnp.array([5, 6, 7, 8])), chosen).weights is None


@pytest.fixture(scope="module")
def start(tiny: Recipe, toy: airjax.Dataset) -> Callable[..., Started]:
    images, labels = jnp.asarray(toy.train_images[:256]), jnp.asarray(toy.train_labels[:256])

    def started(**changes: Any) -> Started:
        recipe = resolve_precision(tiny.override(**(CHANGES | changes)))
        hyper = hyperparameters(recipe)
        start = jax.jit(functools.partial(start_run, recipe, backend_of(recipe)))
        state, draws = start(jax.random.key(0), images, hyper)
        return recipe, state, batch_at(recipe, images, labels, draws, state.step), hyper

    return started


@pytest.fixture(scope="module")
def started(start: Callable[..., Started]) -> Started:
    return start()


def take_step(recipe: Recipe, state: TrainState, batch: Batch, hyper: Any) -> tuple[TrainState, Any]:
    return jax.jit(functools.partial(train_step, recipe))(state, batch, hyper)


def select(recipe: Recipe, proxy: TrainState, batch: Batch, hyper: Any) -> Any:
    return jax.jit(functools.partial(select_examples, recipe, backend=backend_of(recipe)))(proxy, batch, hyper)


def same(first: Any, second: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (first, second)), strict=True))


def test_the_network_learns_from_the_half_that_the_proxy_finds_hardest(started: Started) -> None:
    recipe, state, batch, hyper = started
    assert state.proxy is not None
    own, backend = proxy_recipe(recipe), backend_of(recipe)
    proxy = {"params": state.proxy.params, "frozen": state.proxy.frozen, "batch_stats": state.proxy.batch_stats}
    logits, _ = jax.jit(functools.partial(apply_train, own, backend))(proxy, batch.images)
    losses = np.asarray(smoothed_loss(logits, batch.labels, hyper.label_smoothing))
    chosen = sorted(np.argsort(-losses)[:4].tolist())
    assert chosen != [0, 1, 2, 3]
    assert select(recipe, state.proxy, batch, hyper)[1].tolist() == chosen
    after, metrics = take_step(recipe, state, batch, hyper)
    part = Batch(batch.images[np.array(chosen)], batch.labels[np.array(chosen)])
    without, metrics_without = take_step(recipe.override(proxy=False), state._replace(proxy=None), part, hyper)
    ours, theirs = ((after._replace(proxy=None), metrics), (without, metrics_without))
    for one, other in zip(*map(jax.tree.leaves, (ours, theirs)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)  # two programs round in their own ways
    assert not np.allclose(without.params["head"], state.params["head"], rtol=1e-5, atol=1e-6)


def test_weights_count_in_the_choice(started: Started) -> None:
    recipe, state, batch, hyper = started
    weighted = batch._replace(weights=jnp.array([0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0]))
    assert state.proxy is not None
    assert select(recipe, state.proxy, weighted, hyper)[1].tolist() == [1, 3, 5, 7]


def test_both_networks_train_and_the_proxy_s_parameters_every_fourth_step(started: Started) -> None:
    recipe, state, batch, hyper = started
    step = jax.jit(lambda state: train_step(recipe, state, batch, hyper)[0])
    moved = []
    for _ in range(9):
        before, state = state, step(state)
        assert before.proxy is not None
        assert state.proxy is not None
        moved.append(not same(before.proxy.params, state.proxy.params))
        assert not same(before.proxy.batch_stats, state.proxy.batch_stats)  # it looks at every batch
        assert not same(before.params, state.params)
        assert int(state.proxy.step) == int(state.step)
    assert moved == [True, False, False, False, True, False, False, False, True]
    assert state.proxy is not None
    assert "bias" not in state.proxy.params.get("whiten", {})
    assert same(state.proxy.frozen, state.frozen)


@pytest.mark.parametrize("step", [0, 4])
def test_the_proxy_moves_by_the_gradient_of_the_chosen_losses_on_the_schedule_of_all_steps(
    start: Callable[..., Started], step: int
) -> None:
    recipe, state, batch, hyper = start(momentum=0.0, weight_decay=0.0)
    assert state.proxy is not None
    proxy, own, backend = state.proxy._replace(step=jnp.int32(step)), proxy_recipe(recipe), backend_of(recipe)
    after, chosen, _ = select(recipe, proxy, batch, hyper)

    def chosen_loss(params: Any) -> jax.Array:
        # BatchNorm's statistics are those of all examples, chosen or not.
        return batch_losses(own, backend, proxy, batch, hyper, (), params)[0][chosen].sum()

    gradients = jax.jit(jax.grad(chosen_loss))(proxy.params)
    # 32 steps, of which the first int(0.23 * 32) = 7 climb from 0.2 to 1.
    rate = recipe.sgd_learning_rate * (0.2 + 0.8 * step / 7)
    expected = proxy.params["head"] - rate * gradients["head"]
    np.testing.assert_allclose(after.params["head"], expected, rtol=1e-5, atol=1e-7)
    assert float(jnp.abs(after.params["head"] - proxy.params["head"]).max()) > 1e-4


def test_only_a_proxy_with_lookahead_is_averaged(start: Callable[..., Started]) -> None:
    _, plain, _, _ = start()
    assert plain.proxy is not None
    assert plain.proxy.lookahead is None
    recipe, state, batch, hyper = start(proxy_lookahead=True, lookahead_every=2)
    step = jax.jit(lambda state: train_step(recipe, state, batch, hyper)[0])
    first = step(state)
    second = step(first)
    assert same(first.proxy.lookahead.slow[0], state.proxy.params)
    assert not same(second.proxy.lookahead.slow[0], state.proxy.params)
    assert same(second.proxy.params, second.proxy.lookahead.slow[0])


def test_the_network_starts_as_without_a_proxy_and_sees_the_same_batches(start: Callable[..., Started]) -> None:
    _, state, batch, _ = start()
    _, alone, batch_alone, _ = start(proxy=False)
    assert alone.proxy is None
    assert same(state._replace(proxy=None), alone)
    assert same(batch, batch_alone)
    assert not np.array_equal(state.proxy.params["head"], state.params["head"][:6])


def test_a_step_without_selection_has_neither_a_second_network_nor_a_branch(started: Started) -> None:
    recipe, state, batch, hyper = started
    with_proxy = str(jax.make_jaxpr(lambda s, b: train_step(recipe, s, b, hyper))(state, batch))
    assert "cond[" in with_proxy
    assert "top_k[" in with_proxy
    plain, alone = recipe.override(proxy=False), state._replace(proxy=None)
    without = str(jax.make_jaxpr(lambda s, b: train_step(plain, s, b, hyper))(alone, batch))
    assert "cond[" not in without
    assert "top_k[" not in without


def test_torch_s_sgd_takes_the_mean_over_the_chosen_examples() -> None:
    recipe = RECIPES["resnet18"].override(proxy=True, momentum=0.0, weight_decay=0.0, batch_size=8, precision="float32")
    params = {"head": {"bias": jnp.zeros(3)}}
    optimizer = make_optimizer(recipe, PRECISIONS["float32"], hyperparameters(recipe))
    updates, _ = optimizer.update({"head": {"bias": jnp.array([4.0, 8.0, 0.0])}}, optimizer.init(params), params)
    np.testing.assert_allclose(updates["head"]["bias"], [-0.1, -0.2, 0.0], rtol=1e-6)  # of 4 examples, at rate 0.1
