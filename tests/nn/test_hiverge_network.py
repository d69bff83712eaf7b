"""SiLU in the blocks, and BatchNorm in half precision."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from airjax.kernels.backend import PRECISIONS, make_ops
from airjax.kernels.silu import silu
from airjax.nn.build import apply_eval
from airjax.nn.layers import BatchNorm
from airjax.optim.groups import group_dtype
from airjax.recipes.recipe import Recipe
from airjax.training.backend import backend_of
from tests.networks import classify_in_training, initial


def test_silu_is_x_times_its_logistic_function_and_so_is_its_gradient() -> None:
    x = np.linspace(-30, 30, 61)
    logistic = 1 / (1 + np.exp(-x))
    given = jnp.asarray(x, jnp.float32)
    np.testing.assert_allclose(silu(given), x * logistic, atol=1e-5)
    gradient = jax.vmap(jax.grad(silu))(given)
    np.testing.assert_allclose(gradient, logistic * (1 + x * (1 - logistic)), atol=1e-6)
    half = silu(given.astype(jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), x * logistic, rtol=2**-8, atol=1e-10)


@pytest.mark.parametrize("changes", [{}, {"convs_per_block": 3, "residual": "before-activation"}])
def test_blocks_have_silu_and_the_first_convolution_gelu(tiny: Recipe, changes: dict) -> None:
    recipe = tiny.override(activation="silu", precision="float32", **changes)
    backend, used = backend_of(recipe), []

    def noted(name: str, x: jax.Array) -> jax.Array:
        used.append((name, x.shape[1]))
        return x

    ops = backend.ops._replace(gelu=lambda x: noted("gelu", x), silu=lambda x: noted("silu", x))
    use = functools.partial(apply_eval, recipe, backend._replace(ops=ops))
    jax.eval_shape(use, initial(recipe), jnp.ones((2, 32, 32, 3)))
    convs = recipe.network.convs_per_block  # pyright: ignore[reportAttributeAccessIssue]
    assert used == [("gelu", 31)] + [("silu", size) for size in (15, 7, 3) for _ in range(convs)]


@pytest.mark.parametrize(
    ("precision", "params", "running"),
    [("float16", "float16", "float16"), ("bfloat16", "float32", "bfloat16"), ("float32", "float32", "float32")],
)
def test_batchnorm_is_halved_where_all_else_is(tiny: Recipe, precision: str, params: str, running: str) -> None:
    recipe = tiny.override(precision=precision, batchnorm_half=True)
    backend = backend_of(recipe)
    images = jax.random.normal(jax.random.key(1), (4, 32, 32, 3)).astype(backend.precision.compute)
    variables = initial(recipe)
    _, statistics = classify_in_training(recipe, variables, images)
    assert {leaf.dtype.name for leaf in jax.tree.leaves((variables["batch_stats"], statistics))} == {running}
    assert variables["params"]["block1"]["norm1"]["bias"].dtype == params
    assert jnp.dtype(group_dtype(recipe, "norm_bias", PRECISIONS[precision])) == params
    plain = recipe.override(batchnorm_half=False)
    same = classify_in_training(plain, initial(plain), images, backend)[1]
    assert {leaf.dtype.name for leaf in jax.tree.leaves(same)} == {"float32"}
    for ours, exact in zip(jax.tree.leaves(statistics), jax.tree.leaves(same), strict=True):
        assert np.array_equal(ours, exact.astype(running))


def test_halved_running_statistics_move_by_their_momentum_and_are_rounded_once() -> None:
    norm = BatchNorm(0.5566, 1e-12, jnp.float32, make_ops("cpu", "native"), params=jnp.float16, running=jnp.float16)
    x = jnp.asarray(np.random.default_rng(0).normal(3, 2, (4, 5, 5, 2)), jnp.float16)
    old = {"mean": jnp.array([1.0, 2.0], jnp.float16), "var": jnp.array([0.5, 4.0], jnp.float16)}
    variables = {"params": {"bias": jnp.array([0.0, 1.0], jnp.float16)}, "batch_stats": old}
    out, updated = norm.apply(variables, x, True, mutable=["batch_stats"])
    exact = np.asarray(x, np.float64).reshape(-1, 2)
    mean = 0.5566 * np.array([1, 2]) + 0.4434 * exact.mean(0)
    variance = 0.5566 * np.array([0.5, 4]) + 0.4434 * exact.var(0, ddof=1)
    np.testing.assert_allclose(updated["batch_stats"]["mean"], mean, rtol=2**-11)
    np.testing.assert_allclose(updated["batch_stats"]["var"], variance, rtol=2**-11)
    normal = (exact - exact.mean(0)) / exact.std(0) + np.array([0, 1])
    assert out.dtype == jnp.float16
    np.testing.assert_allclose(np.asarray(out, np.float64).reshape(-1, 2), normal, rtol=2**-10, atol=2**-12)
    evaluated = np.asarray(norm.apply(variables, x, False), np.float64).reshape(-1, 2)
    np.testing.assert_allclose(evaluated, (exact - [1, 2]) / np.sqrt([0.5, 4]) + [0, 1], rtol=2**-10, atol=2**-11)
