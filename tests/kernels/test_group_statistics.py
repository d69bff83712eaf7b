"""BatchNorm of a batch in groups, and of a batch that is cut over devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from airjax.kernels.backend import make_ops
from airjax.nn.layers import BatchNorm
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Recipe
from airjax.recipes.stored import to_plain
from airjax.training.evaluate import evaluated_part
from tests.device_scripts import run_on_devices

OPS = make_ops("cpu", "native")


def ghost_norm(x: np.ndarray, groups: int, epsilon: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """BatchNorm without bias of each group by itself, and the means of the groups' means and unbiased variances."""
    parts = np.split(x.astype(np.float64), groups)
    means, variances = zip(*((part.mean((0, 1, 2)), part.var((0, 1, 2))) for part in parts), strict=True)
    out = [(p - m) / np.sqrt(v + epsilon) for p, m, v in zip(parts, means, variances, strict=True)]
    count = parts[0].size // x.shape[-1]
    return np.concatenate(out), np.mean(means, 0), np.mean(variances, 0) * count / (count - 1)


def far_parts(dtype: type = np.float32) -> np.ndarray:
    """Images [8,3,3,5] of which each pair has another mean and spread, so that groups matter."""
    x = np.random.default_rng(0).normal(size=(8, 3, 3, 5))
    return (x * np.repeat([1, 2, 3, 4], 2)[:, None, None, None] + np.arange(8)[:, None, None, None]).astype(dtype)


def test_every_group_is_normalised_by_itself_and_the_running_statistics_are_their_means() -> None:
    images = far_parts()
    x = jnp.asarray(images)
    layer = BatchNorm(0.6, 1e-5, jnp.float32, OPS, groups=4)
    variables = layer.init(jax.random.key(0), x, train=False)
    out, updated = layer.apply(variables, x, train=True, mutable=["batch_stats"])
    expected, mean, variance = ghost_norm(images, 4, 1e-5)
    np.testing.assert_allclose(np.asarray(out), expected, atol=1e-5)  # float32 of numbers up to 3
    found = updated["batch_stats"]
    np.testing.assert_allclose(found["mean"], 0.4 * mean, rtol=1e-5)
    np.testing.assert_allclose(found["var"], 0.6 + 0.4 * variance, rtol=1e-5)
    whole = BatchNorm(0.6, 1e-5, jnp.float32, OPS)
    other, _ = whole.apply(variables, x, train=True, mutable=["batch_stats"])
    assert np.abs(np.asarray(other) - expected).max() > 0.1  # the batch as one group is another thing
    np.testing.assert_allclose(np.asarray(other), ghost_norm(images, 1, 1e-5)[0], atol=1e-5)


def test_gradients_of_groups_are_those_of_batches_of_their_own() -> None:
    x, bias, scale = jnp.asarray(far_parts()), jnp.arange(5, dtype=np.float32), jnp.linspace(0.5, 2, 5)
    weights = np.random.default_rng(1).normal(size=x.shape).astype(np.float32)

    def together(x: jax.Array, bias: jax.Array, scale: jax.Array) -> jax.Array:
        return (OPS.batch_norm(x, bias, 1e-5, scale, groups=4)[0] * weights).sum()

    def apart(x: jax.Array, bias: jax.Array, scale: jax.Array) -> jax.Array:
        parts = [OPS.batch_norm(part, bias, 1e-5, scale)[0] for part in jnp.split(x, 4)]
        return (jnp.concatenate(parts) * weights).sum()

    ours, theirs = (jax.grad(function, (0, 1, 2))(x, bias, scale) for function in (together, apart))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_on_devices_statistics_and_gradients_are_those_of_one() -> None:
    run_on_devices(
        2,
        """
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
from airjax.kernels.backend import make_backend
from airjax.training.data_parallel import *
from tests.kernels.test_group_statistics import far_parts
mesh = make_mesh(2)
ours, alone = (make_backend("float64", "cpu", "native", mesh=one).ops for one in (mesh, None))
x, bias = far_parts(np.float64), np.arange(5.0)
weights = np.random.default_rng(1).normal(size=x.shape)

def of(ops, groups):
    def loss(x, bias, weights):
        out, *moments = ops.batch_norm(x, bias, 1e-5, groups=groups)
        return (out * weights).sum(), moments
    return jax.value_and_grad(loss, (0, 1), has_aux=True)

def everywhere(ops, groups):
    def on_device(x, bias, weights):
        (loss, moments), (by_x, by_bias) = of(ops, groups)(x, bias, weights)
        return sum_over_devices(mesh, (loss, by_bias)), moments, gather_parts(mesh, by_x)
    (loss, by_bias), moments, by_x = jax.jit(over_devices(mesh, on_device, (True, False, True)))(x, bias, weights)
    return (loss, moments), (by_x, by_bias)

def distance(a, b):
    return max(jax.tree.leaves(jax.tree.map(lambda one, other: float(np.abs(one - other).max()), a, b)))

for groups in (1, 2, 4):
    assert distance(everywhere(ours, groups), of(alone, groups)(x, bias, weights)) < 1e-12, groups
# Statistics of each device's part are those of two groups, and not those of the batch.
assert distance(everywhere(alone, 1)[1], of(alone, 2)(x, bias, weights)[1]) < 1e-12
assert distance(everywhere(alone, 1), of(alone, 1)(x, bias, weights)) > 0.1
""",
    )


def test_groups_are_a_field_that_other_recipes_are_stored_without() -> None:
    grouped = RECIPES["94"].override(batchnorm_groups=8)
    assert Recipe.from_dict(grouped.to_dict()) == grouped != RECIPES["94"]
    assert to_plain(grouped)["network"]["batchnorm_groups"] == 8
    for name, recipe in RECIPES.items():
        assert "batchnorm_groups" not in str(recipe.to_dict()), name
        assert Recipe.from_dict(recipe.to_dict()) == recipe


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batchnorm_groups": 0}, "batchnorm-groups is 0, but it must be .* of groups from 1"),
        ({"batchnorm_groups": 3}, "batchnorm-groups is 3, but batch-size is 32 examples"),
        ({"batchnorm_groups": 32}, "batchnorm-groups is 32, but batch-size is 32 examples.*two or more"),
        ({"batchnorm_groups": 16, "proxy": True}, "batchnorm-groups is 16, but what proxy-keep leaves .* 16 examples"),
    ],
)
def test_groups_that_a_batch_does_not_make_are_refused(changes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RECIPES["tiny"].override(**changes)


def test_groups_that_go_with_a_new_batch_size_are_taken_with_it_in_either_order() -> None:
    both = RECIPES["94"].override(batch_size=1000, batchnorm_groups=10)
    assert both == RECIPES["94"].override(batchnorm_groups=10, batch_size=1000)
    assert (both.batch_size, both.value_of("batchnorm_groups")) == (1000, 10)


def test_an_evaluation_knows_no_groups() -> None:
    recipe = RECIPES["mini"].override(batchnorm_groups=5)  # which no batch of the default size has
    assert evaluated_part(recipe) == evaluated_part(RECIPES["mini"])
    assert evaluated_part(recipe) != evaluated_part(RECIPES["mini"].override(logit_scale=0.5))
