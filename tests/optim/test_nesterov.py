import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from airjax.kernels.backend import PRECISIONS
from airjax.nn.build import init_variables
from airjax.optim.build import make_optimizer
from airjax.optim.groups import label_params
from airjax.optim.hyperparameters import hyperparameters
from airjax.optim.lookahead import lookahead_init, lookahead_update
from airjax.optim.schedule import learning_rate_factor
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Recipe
from airjax.training.backend import backend_of

PARAMS = {
    "whiten": {"bias": np.linspace(-1, 1, 4)},
    "block1": {"conv1": np.linspace(-2, 2, 6).reshape(2, 3), "norm1": {"bias": np.linspace(0, 1, 3)}},
    "head": np.linspace(1, 2, 4),
}


def test_every_parameter_of_the_network_has_its_group() -> None:
    recipe = RECIPES["96"]
    params = jax.eval_shape(lambda: init_variables(recipe, backend_of(recipe), jax.random.key(0)))["params"]
    labels = label_params(params)
    assert labels["whiten"]["bias"] == "whiten_bias"
    assert labels["block2"] == {
        **{f"conv{n}": "other" for n in (1, 2, 3)},
        **{f"norm{n}": {"bias": "norm_bias"} for n in (1, 2, 3)},
    }
    assert labels["head"] == "other"


def test_coefficients_of_94_are_those_of_the_method() -> None:
    recipe = RECIPES["94"]
    coefficient = recipe.sgd_weight_decay / recipe.sgd_learning_rate
    assert coefficient == pytest.approx(1.362365, rel=1e-6)
    assert coefficient / recipe.optimizer.bias_scale == pytest.approx(0.0212870, rel=1e-5)
    assert recipe.sgd_learning_rate * recipe.optimizer.bias_scale == pytest.approx(0.09375, rel=1e-6)


@pytest.mark.parametrize("name", ["94", "96"])
def test_update_is_nesterov_with_decay_before_momentum_and_rate_last(name: str) -> None:
    with jax.enable_x64(True):
        recipe = RECIPES[name].override(precision="float64", epochs=0.2)
        hyper = hyperparameters(recipe)
        params = jax.tree.map(jnp.asarray, PARAMS)
        optimizer = make_optimizer(recipe, PRECISIONS["float64"], hyper)
        state = optimizer.init(params)
        expected, buffers = dict(_flat(PARAMS)), {name: np.zeros_like(leaf) for name, leaf in _flat(PARAMS)}
        rng = np.random.default_rng(0)
        for step in range(recipe.total_steps):
            gradients = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), PARAMS)
            updates, state = optimizer.update(jax.tree.map(jnp.asarray, gradients), state, params)
            params = optax.apply_updates(params, updates)
            factor = float(learning_rate_factor(recipe, jnp.int32(step)))
            for path, gradient in _flat(gradients):
                rate = recipe.sgd_learning_rate * (recipe.optimizer.bias_scale if path == "block1/norm1/bias" else 1)
                total = gradient + recipe.sgd_weight_decay / rate * expected[path]
                buffers[path] = recipe.optimizer.momentum * buffers[path] + total
                expected[path] = expected[path] - rate * factor * (total + recipe.optimizer.momentum * buffers[path])
        for path, leaf in _flat(params):
            assert np.allclose(leaf, expected[path], rtol=1e-12, atol=1e-14), path


def test_a_frozen_bias_stays_exactly_where_it_is_in_spite_of_momentum_and_decay() -> None:
    recipe = RECIPES["94"]
    hyper = hyperparameters(recipe)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), PARAMS)
    training, frozen = (
        make_optimizer(recipe, PRECISIONS["float32"], hyper, frozen) for frozen in ((), ("whiten_bias",))
    )
    state = training.init(params)
    assert jax.tree.structure(state) == jax.tree.structure(frozen.init(params))
    updates, state = training.update(jax.tree.map(jnp.ones_like, params), state, params)
    moved = optax.apply_updates(params, updates)
    assert not np.array_equal(moved["whiten"]["bias"], params["whiten"]["bias"])
    # Not even a zero gradient may let the momentum of the step before act.
    updates, _ = frozen.update(jax.tree.map(jnp.zeros_like, params), state, moved)
    held = optax.apply_updates(moved, updates)
    assert np.array_equal(held["whiten"]["bias"], moved["whiten"]["bias"])
    assert not np.array_equal(held["head"], moved["head"])


def test_a_lookahead_that_keeps_nothing_gives_half_precision_back() -> None:
    first, second = jax.random.normal(jax.random.key(0), (2, 1000))
    fast, slow = first.astype(jnp.float16), (first + 0.02 * second).astype(jnp.float16)
    same, kept = lookahead_update(fast, lookahead_init(slow), jnp.float32(0), jnp.array(True))
    np.testing.assert_array_equal(same, fast)
    np.testing.assert_array_equal(kept.slow, fast)


def test_lookahead_moves_only_at_a_sync_and_then_both_ways() -> None:
    fast, state = {"a": jnp.array([1.0, 2.0])}, lookahead_init({"a": jnp.array([0.0, 2.0])})
    same, kept = lookahead_update(fast, state, jnp.float32(0.25), jnp.array(False))
    assert same["a"].tolist() == [1, 2]
    assert kept.slow["a"].tolist() == [0, 2]
    pulled, slow = lookahead_update(fast, state, jnp.float32(0.25), jnp.array(True))
    assert pulled["a"].tolist() == [0.75, 2]
    assert slow.slow["a"].tolist() == [0.75, 2]


def test_lookahead_keeps_a_tensor_that_no_longer_changes() -> None:
    values = {"a": jnp.asarray(np.random.default_rng(0).normal(size=1000), jnp.float32)}
    fast, state = values, lookahead_init(values)
    for decay in (0.1, 0.33, 0.77):
        fast, state = lookahead_update(fast, state, jnp.float32(decay), jnp.array(True))
    assert np.array_equal(fast["a"], values["a"])


def test_hyperparameters_are_arrays_of_the_statistics_type(tiny: Recipe) -> None:
    assert {leaf.dtype.name for leaf in hyperparameters(tiny.override(precision="float16"))} == {"float32"}


def _flat(tree: dict, prefix: str = "") -> list[tuple[str, np.ndarray]]:
    found = []
    for name, leaf in tree.items():
        found += _flat(leaf, f"{prefix}{name}/") if isinstance(leaf, dict) else [(prefix + name, np.asarray(leaf))]
    return found
