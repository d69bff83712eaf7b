"""Plain momentum in torch's units: what decays, and numbers by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from airjax.kernels.backend import PRECISIONS
from airjax.nn.build import init_variables
from airjax.optim.build import make_optimizer
from airjax.optim.groups import label_decaying
from airjax.optim.hyperparameters import hyperparameters
from airjax.optim.schedule import learning_rate_factor
from airjax.recipes.optimizer import Optimizer, Sgd
from airjax.recipes.optimizer_heavy_ball import HeavyBall
from airjax.recipes.optimizer_muon import Muon
from airjax.recipes.published import RECIPES
from airjax.training.backend import backend_of

RECIPE = RECIPES["imagenet-resnet18-16"].override(
    learning_rate=0.1, weight_decay=0.01, batch_size=4, widths=(8, 8, 16, 16)
)


def test_batchnorms_outside_of_shortcuts_do_not_decay_and_all_else_does() -> None:
    params = jax.eval_shape(lambda: init_variables(RECIPE, backend_of(RECIPE), jax.random.key(0)))["params"]
    labels = label_decaying(params)
    block = labels["stage2_block1"]
    for norm in (labels["norm"], block["norm1"], block["norm2"]):
        assert norm == {"bias": "norm_fixed", "scale": "norm_fixed"}
    assert set(block["norm_shortcut"].values()) == {"norm_decaying"}
    assert {labels["conv"], block["conv1"], block["shortcut"], *labels["head"].values()} == {"decaying"}


def test_a_step_is_the_mean_gradient_with_decay_and_a_momentum_that_looks_at_no_future() -> None:
    names = {"norm1": {"bias": 0.5}, "norm_shortcut": {"bias": 0.5}, "head": {"bias": 0.5}}
    params = jax.tree.map(jnp.float32, {"block": names["norm1"], "stage2_block1": names})
    optimizer = make_optimizer(RECIPE, PRECISIONS["float32"], hyperparameters(RECIPE))
    state, gradients = optimizer.init(params), jax.tree.map(lambda _: jnp.float32(8), params)  # of a sum over 4
    rates = 0.1 * np.asarray(learning_rate_factor(RECIPE, jnp.arange(2)))
    moved, velocity, value = params, {True: 0.0, False: 0.0}, {True: 0.5, False: 0.5}
    for rate in rates:
        updates, state = optimizer.update(gradients, state, moved)
        moved = jax.tree.map(jnp.add, moved, updates)
        for decays in (True, False):
            velocity[decays] = 0.9 * velocity[decays] + 2 + (0.01 * value[decays] if decays else 0)
            value[decays] -= rate * velocity[decays]
    found = {name: float(moved["stage2_block1"][name]["bias"]) for name in names}
    np.testing.assert_allclose(found["norm1"], value[False], rtol=1e-6)
    np.testing.assert_allclose([found["norm_shortcut"], found["head"]], value[True], rtol=1e-6)
    assert abs(value[True] - value[False]) > 1e-4 * abs(rates).max()


def test_the_rate_rises_to_epoch_2_and_falls_to_nothing_in_straight_lines_by_the_step() -> None:
    for name in ("imagenet-resnet18-16", "imagenet-resnet18-20", "imagenet-resnet18-88"):
        recipe, steps = RECIPES[name], np.arange(0, RECIPES[name].total_steps, 7)
        wanted = np.interp(steps / 1251, [0, 2, recipe.epochs], [1e-4, 1, 0])
        # float32: rounding of a step's number over all of them.
        np.testing.assert_allclose(np.asarray(learning_rate_factor(recipe, jnp.asarray(steps))), wanted, atol=2e-7)


@pytest.mark.parametrize(
    "optimizer", [RECIPES["tiny"].optimizer, Sgd(), Muon(), HeavyBall()], ids=lambda one: type(one).__name__
)
def test_every_optimizer_leaves_a_frozen_bias_where_it_is(optimizer: Optimizer) -> None:
    recipe = RECIPES["tiny"].override(optimizer=optimizer)
    hyper = hyperparameters(recipe)
    params = init_variables(recipe, backend_of(recipe), jax.random.key(0))["params"]
    params = jax.tree.map(lambda leaf: leaf + 0.5, params)
    training, frozen = (make_optimizer(recipe, PRECISIONS["float32"], hyper, names) for names in ((), ("whiten_bias",)))
    ones = jax.tree.map(jnp.ones_like, params)
    updates, state = training.update(ones, training.init(params), params)
    assert np.abs(updates["whiten"]["bias"]).min() > 0
    updates, _ = frozen.update(jax.tree.map(jnp.zeros_like, params), state, params)
    assert not np.asarray(updates["whiten"]["bias"]).any()
    assert np.asarray(updates["head"]).any()  # the momentum goes on


def test_a_group_that_there_is_not_cannot_be_frozen() -> None:
    recipe = RECIPES["imagenet-resnet18-16"].override(optimizer=Sgd())
    with pytest.raises(ValueError, match="frozen names whiten_bias, but the groups are "):
        make_optimizer(recipe, PRECISIONS["float32"], hyperparameters(recipe), ("whiten_bias",))
