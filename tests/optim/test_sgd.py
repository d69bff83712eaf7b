import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from airjax.kernels.backend import PRECISIONS
from airjax.optim.build import make_optimizer
from airjax.optim.groups import group_dtype, label_params
from airjax.optim.hyperparameters import hyperparameters
from airjax.optim.schedule import learning_rate_factor
from airjax.recipes.published import RECIPES

RECIPE = RECIPES["resnet18"].override(learning_rate=0.1, weight_decay=0.01, momentum=0.9, batch_size=4)
PARAMS = {
    "conv": jnp.array([1.0, -2.0]),
    "norm": {"scale": jnp.array([1.0]), "bias": jnp.array([0.5])},
    "head": {"kernel": jnp.array([3.0]), "bias": jnp.array([-1.0])},
}


def test_every_parameter_decays_and_moves_by_torch_s_rule() -> None:
    optimizer = make_optimizer(RECIPE, PRECISIONS["float32"], hyperparameters(RECIPE))
    state, params = optimizer.init(PARAMS), PARAMS
    expected = jax.tree.map(lambda p: np.array(p, np.float64), PARAMS)
    buffers = jax.tree.map(np.zeros_like, expected)
    for step in range(3):
        # Of the sum over four examples; the mean's is 1 + step.
        summed = jax.tree.map(lambda p, step=step: jnp.full_like(p, 4.0 * (1 + step)), params)
        updates, state = optimizer.update(summed, state, params)
        params = optax.apply_updates(params, updates)
        decayed = jax.tree.map(lambda p, step=step: 1 + step + 0.01 * p, expected)
        buffers = jax.tree.map(lambda b, g: 0.9 * b + g, buffers, decayed)
        expected = jax.tree.map(lambda p, g, b: p - 0.1 * (g + 0.9 * b), expected, decayed, buffers)
        for ours, theirs in zip(jax.tree.leaves(params), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_norms_have_groups_of_their_own_in_the_dtype_of_statistics() -> None:
    labels = label_params(PARAMS)
    assert labels["norm"] == {"scale": "norm_scale", "bias": "norm_bias"}
    assert labels["head"] == {"kernel": "other", "bias": "other"}
    assert set(jax.tree.leaves(labels)) == set(RECIPE.network.parameter_groups)
    half = PRECISIONS["float16"]
    assert (group_dtype(RECIPE, "norm_scale", half), group_dtype(RECIPE, "other", half)) == (jnp.float32, jnp.float16)


def test_the_learning_rate_drops_at_epochs_60_120_and_160() -> None:
    recipe = RECIPES["resnet18"]
    edges = [epoch * recipe.steps_per_epoch for epoch in (60, 120, 160)]
    factors = learning_rate_factor(recipe, jnp.array([0, *(step + d for step in edges for d in (-1, 0)), 77_999]))
    np.testing.assert_allclose(factors, [1, 1, 0.2, 0.2, 0.04, 0.04, 0.008, 0.008], rtol=1e-6)
    assert float(learning_rate_factor(recipe.override(schedule_drops=()), jnp.int32(77_999))) == 1.0


def test_the_triangle_of_resnet18_80_begins_at_a_fifth_and_ends_at_zero() -> None:
    factors = learning_rate_factor(RECIPES["resnet18-80"], jnp.array([0, 800, 1600, 4800, 8000]))
    assert factors.tolist() == pytest.approx([0.2, 0.6, 1.0, 0.5, 0.0])
