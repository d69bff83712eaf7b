import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from airjax.kernels.backend import PRECISIONS
from airjax.nn.build import init_variables
from airjax.optim.build import make_optimizer
from airjax.optim.groups import label_convolutions
from airjax.optim.hyperparameters import hyperparameters
from airjax.optim.muon import newton_schulz, renormalized
from airjax.optim.schedule import learning_rate_factor
from airjax.recipes.optimizer_muon import Muon
from airjax.recipes.published import RECIPES
from airjax.training.backend import backend_of

RECIPE = RECIPES["94-muon"]
SHAPES: dict[str, Any] = {
    "whiten": {"bias": (24,)},
    "block1": {"conv1": (3, 3, 24, 8), "conv2": (3, 3, 8, 8), "norm1": {"bias": (8,)}},
    "wide": {"conv1": (1, 1, 3, 8)},  # more rows than columns
    "head": (8, 10),
}


@pytest.fixture
def _x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def draw(rng: np.random.Generator) -> Any:
    return jax.tree.map(lambda shape: rng.normal(size=shape), SHAPES, is_leaf=lambda node: isinstance(node, tuple))


def by_singular_values(matrix: np.ndarray) -> np.ndarray:
    """Newton-Schulz as what it does to each singular value, in float64."""
    left, values, right = np.linalg.svd(np.asarray(matrix, np.float64), full_matrices=False)
    values = values / (np.sqrt((values**2).sum()) + 1e-7)
    for _ in range(3):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return (left * values) @ right


@pytest.mark.usefixtures("_x64")
@pytest.mark.parametrize("shape", [(8, 30), (30, 8), (6, 6), (1, 5)])
@pytest.mark.parametrize(("dtype", "rounded", "bound"), [("float64", "float64", 1e-13), ("float32", "float32", 1e-6)])
def test_newton_schulz_is_a_polynomial_of_the_singular_values(
    shape: tuple[int, int], dtype: str, rounded: str, bound: float
) -> None:
    matrix = 100 * np.random.default_rng(0).normal(size=shape)
    found = newton_schulz(jnp.asarray(matrix, dtype), Muon(), jnp.dtype(rounded))
    assert found.dtype == dtype
    np.testing.assert_allclose(found, by_singular_values(matrix), rtol=0, atol=bound)


def test_bfloat16_costs_a_few_of_its_last_bits() -> None:
    matrix = np.random.default_rng(0).normal(size=(64, 576))
    found = newton_schulz(jnp.asarray(matrix, jnp.float32), Muon(), jnp.bfloat16)
    assert found.dtype == "float32"
    distance = np.linalg.norm(found - by_singular_values(matrix)) / np.linalg.norm(found)
    assert 1e-3 < distance < 1e-2  # of 2^-9, its relative rounding


@pytest.mark.parametrize(("rows", "columns"), [(64, 216), (64, 576), (256, 576), (256, 2304)])
@pytest.mark.parametrize("rounded", ["float32", "bfloat16"])
def test_matrices_of_the_network_s_shapes_get_singular_values_near_one(rows: int, columns: int, rounded: str) -> None:
    matrix = np.random.default_rng(1).normal(size=(rows, columns))
    values = np.linalg.svd(newton_schulz(jnp.asarray(matrix, jnp.float32), Muon(), jnp.dtype(rounded)))[1]
    assert 0.65 < values.min() < values.max() < 1.22


def test_small_singular_values_grow_as_the_method_says() -> None:
    found = newton_schulz(jnp.diag(jnp.array([1.0, 0.01, 0.001])), Muon(), jnp.float32)
    assert np.diag(found)[1:] == pytest.approx([0.40, 0.041], abs=0.005)


@pytest.mark.usefixtures("_x64")
def test_two_hundred_updates_are_those_of_the_method_written_in_numpy() -> None:
    recipe, rng = RECIPE.override(precision="float64"), np.random.default_rng(0)
    params, hyper = draw(rng), hyperparameters(recipe)
    phases = [make_optimizer(recipe, PRECISIONS["float64"], hyper, frozen) for frozen in ((), ("whiten_bias",))]
    ours, buffers = jax.tree.map(jnp.asarray, params), jax.tree.map(np.zeros_like, params)
    state, update = phases[0].init(ours), [jax.jit(phase.update) for phase in phases]
    for step in range(200):
        gradients = draw(rng)
        updates, state = update[step >= 75](jax.tree.map(jnp.asarray, gradients), state, ours)
        ours = optax.apply_updates(ours, updates)
        moved = jax.tree.map_with_path(functools.partial(by_hand, step), params, gradients, buffers)
        is_pair = lambda node: isinstance(node, tuple)  # noqa: E731
        params, buffers = (jax.tree.map(lambda pair, k=k: pair[k], moved, is_leaf=is_pair) for k in (0, 1))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


def by_hand(step: int, path: Any, p: np.ndarray, gradient: np.ndarray, buffer: np.ndarray) -> Any:
    """One parameter and its momentum after a step of 94-muon. (§4.6)"""
    if p.ndim == 4:
        buffer = 0.6 * buffer + gradient
        rows = (gradient + 0.6 * buffer).transpose(3, 0, 1, 2)
        turned = by_singular_values(rows.reshape(len(rows), -1)).reshape(rows.shape).transpose(1, 2, 3, 0)
        return p * p.shape[3] ** 0.5 / np.sqrt((p**2).sum()) - 0.24 * (1 - step / 200) * turned, buffer
    names = [entry.key for entry in path]
    if names[0] == "whiten" and step >= 75:
        return p, buffer
    rate, steps = (0.67, 200) if names == ["head"] else (0.053, 75 if names[0] == "whiten" else 200)
    gradient = gradient + 2e-6 * 2000 / rate * p
    buffer = 0.85 * buffer + gradient
    return p - rate * (1 - step / steps) * (gradient + 0.85 * buffer), buffer


def test_the_schedule_of_the_first_bias_ends_where_it_is_frozen() -> None:
    assert (RECIPE.total_steps, RECIPE.freeze_step) == (200, 75)
    steps = jnp.array([0, 50, 75, 100, 200])
    np.testing.assert_allclose(learning_rate_factor(RECIPE, steps), [1, 0.75, 0.625, 0.5, 0], atol=1e-7)
    np.testing.assert_allclose(learning_rate_factor(RECIPE, steps, 75)[:3], [1, 1 / 3, 0], atol=1e-7)


def test_a_first_bias_that_is_never_frozen_has_the_schedule_of_all() -> None:
    # With the tail, whose floor keeps the rate above nothing.
    recipe = RECIPES["94-curriculum"].override(whiten_bias_epochs=None)
    params = {"whiten": {"bias": jnp.ones(24)}, "head": jnp.ones((3, 2))}
    optimizer = make_optimizer(recipe, PRECISIONS["float32"], hyperparameters(recipe))
    state = jax.tree.map(
        lambda leaf: jnp.int32(recipe.total_steps - 1) if leaf.shape == () and leaf.dtype == jnp.int32 else leaf,
        optimizer.init(params),
    )
    updates, _ = optimizer.update(jax.tree.map(jnp.ones_like, params), state, params)
    assert np.abs(updates["whiten"]["bias"]).min() > 0


def test_a_kernel_is_rescaled_to_a_norm_of_one_for_each_output_channel() -> None:
    kernel = jax.random.normal(jax.random.key(0), (3, 3, 4, 16))
    found = renormalized(kernel)
    assert float(jnp.linalg.norm(found)) == pytest.approx(4.0, rel=1e-6)
    np.testing.assert_allclose(found / found[0, 0, 0, 0], kernel / kernel[0, 0, 0, 0], rtol=1e-5)


@pytest.mark.parametrize(("precision", "of_kernels"), [("bfloat16", "float32"), ("float16", "float16")])
def test_momentum_and_updates_have_the_dtypes_of_their_parameters(precision: str, of_kernels: str) -> None:
    recipe = RECIPE.override(precision=precision)
    params = jax.tree.map(lambda one: jnp.asarray(one, of_kernels), draw(np.random.default_rng(0)))
    params["block1"]["norm1"]["bias"] = jnp.ones(8, jnp.float32)
    optimizer = make_optimizer(recipe, PRECISIONS[precision], hyperparameters(recipe))
    updates, state = optimizer.update(params, optimizer.init(params), params)
    assert jax.tree.map(lambda one: one.dtype, updates) == jax.tree.map(lambda one: one.dtype, params)
    buffers = [leaf for leaf in jax.tree.leaves(state) if leaf.ndim]
    assert sorted(str(leaf.dtype) for leaf in buffers) == sorted(str(p.dtype) for p in jax.tree.leaves(params))
    norm = jnp.linalg.norm(optax.apply_updates(params, jax.tree.map(jnp.zeros_like, updates))["block1"]["conv1"])
    assert float(norm) > 8  # else the test below would hold without renormalisation
    conv = optax.apply_updates(params, updates)["block1"]["conv1"]
    assert float(jnp.linalg.norm(conv.astype(jnp.float32))) < 8**0.5 + 0.24 * 1.3 * 8**0.5


def test_every_kernel_of_a_convolution_is_in_the_group_of_convolutions() -> None:
    params = jax.eval_shape(lambda: init_variables(RECIPE, backend_of(RECIPE), jax.random.key(0)))["params"]
    labels = label_convolutions(params)
    assert labels["block3"] == {"conv1": "conv", "conv2": "conv", **{f"norm{n}": {"bias": "norm_bias"} for n in (1, 2)}}
    assert labels["head"] == "other"
    assert labels["whiten"] == {"bias": "whiten_bias"}


def test_a_frozen_bias_stays_and_all_else_moves() -> None:
    params = jax.tree.map(lambda one: jnp.asarray(one, jnp.float32), draw(np.random.default_rng(0)))
    hyper = hyperparameters(RECIPE)
    training, frozen = (make_optimizer(RECIPE, PRECISIONS["float32"], hyper, names) for names in ((), ("whiten_bias",)))
    _, state = training.update(params, training.init(params), params)
    updates, _ = frozen.update(params, state, params)
    moved = jax.tree.map(lambda one: bool(jnp.any(one != 0)), updates)
    assert moved == jax.tree.map(lambda _: True, updates) | {"whiten": {"bias": False}}


def test_optax_s_own_muon_is_another_rule_in_the_first_steps() -> None:
    kernel = jnp.zeros((8, 30), jnp.float32)
    theirs = optax.contrib.scale_by_muon(ns_steps=3, beta=0.6, eps=1e-7)
    state, buffer, distances = theirs.init(kernel), jnp.zeros_like(kernel), []
    for step in range(40):
        gradient = jax.random.normal(jax.random.key(step), kernel.shape)
        with jax.numpy_dtype_promotion("standard"):
            update, state = theirs.update(gradient, state)
        buffer = 0.6 * buffer + gradient
        ours = newton_schulz(gradient + 0.6 * buffer, Muon(), jnp.float32)
        distances.append(float(jnp.abs(update - ours).max()))
    assert distances[0] < 1e-5
    assert distances[1] > 1e-2
    assert distances[-1] < 1e-5
