from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array, lax
from jax.typing import DTypeLike
from scipy import special

from airjax.kernels import reductions
from airjax.kernels.backend import make_ops
from airjax.kernels.normalization import batch_moments
from airjax.kernels.pool import overlapping_max_pool

OPS = make_ops("cpu", "native")


def normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize(("size", "pooled"), [(31, 15), (15, 7), (7, 3), (8, 4)])
def test_conv_to_pool_equals_a_full_convolution_then_a_floor_pool(size: int, pooled: int) -> None:
    x, kernel = normal(0, 2, size, size, 3), normal(1, 3, 3, 3, 5)

    def reference(x: jax.Array, kernel: jax.Array) -> jax.Array:
        window, least = (1, 2, 2, 1), jnp.array(-jnp.inf, jnp.float32)
        return lax.reduce_window(OPS.conv_same(x, kernel), least, lax.max, window, window, "VALID")

    def ours_pooled(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return OPS.max_pool(OPS.conv_to_pool(x, kernel), 2)

    assert OPS.conv_to_pool(x, kernel).shape == (2, 2 * pooled, 2 * pooled, 5)
    assert np.allclose(ours_pooled(x, kernel), reference(x, kernel), atol=1e-5)
    weights = normal(2, 2, pooled, pooled, 5)
    gradients = [
        jax.grad(lambda x, kernel, f=function: (f(x, kernel) * weights).sum(), argnums=(0, 1))(x, kernel)
        for function in (ours_pooled, reference)
    ]
    for ours, theirs in zip(*gradients, strict=True):
        assert np.allclose(ours, theirs, atol=2e-4)


def test_a_ties_gradient_goes_to_the_first_element() -> None:
    gradient = jax.grad(lambda x: OPS.max_pool(x, 2).sum())(jnp.ones((1, 2, 2, 1)))
    assert gradient[0, :, :, 0].tolist() == [[1, 0], [0, 0]]


@pytest.mark.parametrize("size", [8, 9, 16, 17, 63])
def test_a_large_window_has_its_maximum_and_gradient_at_the_first_of_the_largest(size: int) -> None:
    x = np.asarray(normal(1, 3, size + 1, 2 * size, 4)).round(1)  # with equals; the last row fills no window
    windows = x[:, :size].reshape(3, size, 2, size, 4).transpose(0, 2, 1, 3, 4).reshape(3, 2, size**2, 4)
    out, pullback = jax.vjp(lambda x: OPS.max_pool(x, size), jnp.asarray(x))
    assert np.array_equal(out[:, 0], windows.max(2))
    weights = np.asarray(normal(2, 3, 1, 2, 4))
    expected = np.zeros_like(windows)
    np.put_along_axis(expected, windows.argmax(2)[:, :, None], weights[:, 0, :, None], 2)
    gradient = np.asarray(pullback(jnp.asarray(weights))[0])
    assert not gradient[:, size:].any()
    ours = gradient[:, :size].reshape(3, size, 2, size, 4).transpose(0, 2, 1, 3, 4).reshape(3, 2, size**2, 4)
    assert np.array_equal(ours, expected)


def test_max_pool_of_three_takes_the_largest_of_nine() -> None:
    x = normal(0, 4, 3, 3, 6)
    assert np.array_equal(OPS.max_pool(x, 3)[:, 0, 0], x.max(axis=(1, 2)))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (8, 8), (7, 10)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_overlapping_windows_have_xla_s_maxima_and_gradients(height: int, width: int, dtype: str) -> None:
    def reference(x: jax.Array) -> jax.Array:
        window, stride, edges = (1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (1, 1), (0, 0))
        return lax.reduce_window(x, np.array(-np.inf, x.dtype), lax.max, window, stride, edges)

    x = normal(0, 3, height, width, 4).round(0).astype(dtype)  # with equals
    theirs, pull_theirs = jax.vjp(reference, x)
    ours, pull_ours = jax.vjp(overlapping_max_pool, x)
    assert np.array_equal(ours, theirs)
    weights = normal(1, *ours.shape).round(2).astype(dtype)
    (expected,), (gradient,) = pull_theirs(weights), pull_ours(weights)
    assert gradient.dtype == dtype
    # XLA rounds after every addition.
    assert np.allclose(
        gradient.astype(np.float32), expected.astype(np.float32), atol=1e-6 if dtype == "float32" else 0.05
    )


def test_a_nan_is_the_largest_of_its_windows() -> None:
    x = jnp.zeros((1, 6, 6, 1)).at[0, 1, 1, 0].set(jnp.nan)
    assert np.isnan(overlapping_max_pool(x))[0, :, :, 0].tolist() == [
        [True, True, False],
        [True, True, False],
        [False] * 3,
    ]


def test_gelu_is_exact() -> None:
    x = np.linspace(-6, 6, 1001, dtype=np.float32)
    assert np.allclose(OPS.gelu(jnp.asarray(x)), x * special.ndtr(x.astype(np.float64)), atol=2e-6)


def test_batch_moments_do_not_cancel() -> None:
    x = 1000 + normal(0, 64, 5, 5, 2)
    mean, variance = batch_moments(x, reductions.CPU)
    exact = np.asarray(x, np.float64)
    assert np.allclose(mean, exact.mean(axis=(0, 1, 2)), rtol=1e-6)
    assert np.allclose(variance, exact.var(axis=(0, 1, 2)), rtol=1e-4)


@pytest.mark.parametrize("size", [2, 3, 8, 9])
def test_a_maximum_over_a_value_that_is_none_is_none(size: int) -> None:
    for place in {0, 1, size, size**2 - 1}:
        x = normal(0, 1, size, size, 2).at[0, place // size, place % size, 0].set(jnp.nan)
        found = OPS.max_pool(x, size)
        assert np.isnan(found[0, 0, 0, 0]), place
        assert found[0, 0, 0, 1] == x[..., 1].max()


def test_moments_of_float16_do_not_cancel() -> None:
    x = (1000 + normal(0, 64, 15, 15, 3)).astype(jnp.float16)
    _, variance = batch_moments(x, reductions.CPU)
    assert np.allclose(variance, np.asarray(x, np.float64).var(axis=(0, 1, 2)), rtol=1e-3)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("center", [0.0, 3.0, -40.0])
def test_moments_of_half_precision_are_those_of_their_values(dtype: DTypeLike, center: float) -> None:
    x = (center + normal(0, 64, 15, 15, 3)).astype(dtype)
    mean, variance = batch_moments(x, reductions.CPU)
    exact = np.asarray(x.astype(jnp.float32), np.float64)
    assert mean.dtype == variance.dtype == jnp.float32
    assert np.allclose(mean, exact.mean(axis=(0, 1, 2)), rtol=1e-5, atol=1e-5)
    assert np.allclose(variance, exact.var(axis=(0, 1, 2)), rtol=2e-3)


def test_a_constant_channel_of_half_precision_has_no_negative_variance() -> None:
    x = jnp.full((64, 15, 15, 2), 3.1, jnp.bfloat16)
    normalized, mean, variance = OPS.batch_norm(x, jnp.zeros(2), 1e-12)
    assert (variance >= 0).all()
    assert np.allclose(mean, x[0, 0, 0].astype(jnp.float32), rtol=1e-6)
    assert np.isfinite(normalized.astype(jnp.float32)).all()


def test_a_bias_gradient_of_half_precision_adds_up_in_float32() -> None:
    # In bfloat16 a sum of ones stops at 256.
    x = jnp.ones((64, 31, 31, 3), jnp.bfloat16)
    gradient = jax.grad(lambda bias: OPS.add_bias(x, bias).astype(jnp.float32).sum())(jnp.zeros(3))
    assert gradient.dtype == jnp.float32
    assert (gradient == 64 * 31 * 31).all()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_what_an_accelerator_writes_to_memory_changes_no_value(dtype: DTypeLike) -> None:
    x, kernel, bias = normal(0, 4, 15, 15, 3).astype(dtype), normal(1, 3, 3, 3, 8).astype(dtype), normal(2, 8)

    def compile_with(materialize: Any) -> Any:
        ops = make_ops("cpu", "native", reductions.CPU._replace(materialize=materialize))

        def loss(x: Array, kernel: Array, bias: Array) -> Array:
            pooled = ops.max_pool(ops.conv_to_pool(x, kernel), 2)
            normalized = ops.batch_norm(pooled, bias, 1e-5)[0]
            return jnp.square(ops.gelu(normalized).astype(jnp.float32)).sum()

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2))).lower(x, kernel, bias)

    plain, lowered = compile_with(reductions.leave_alone), compile_with(lax.optimization_barrier)
    barriers = [one.as_text().count("optimization_barrier") for one in (plain, lowered)]
    assert barriers[1] >= barriers[0] + 2
    expected, found = plain.compile()(x, kernel, bias), lowered.compile()(x, kernel, bias)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        scale = np.abs(np.asarray(theirs, np.float32)).max()
        tolerance = 1e-5 if dtype == jnp.float32 else 0.02  # a CPU rounds half precision at other places, too
        assert np.allclose(np.asarray(ours, np.float32), np.asarray(theirs, np.float32), atol=tolerance * scale)


def test_normalized_channels_have_zero_mean_plus_bias_and_unit_variance() -> None:
    x = 3 + 2 * normal(0, 32, 4, 4, 2)
    bias = jnp.array([0.0, 5.0])
    result = OPS.normalize_channels(x, *batch_moments(x, reductions.CPU), bias, 1e-12)
    assert np.allclose(result.mean(axis=(0, 1, 2)), bias, atol=1e-5)
    assert np.allclose(result.var(axis=(0, 1, 2)), 1, atol=1e-5)


def test_sums_over_pixels_are_accurate() -> None:
    x = np.abs(np.random.default_rng(0).normal(3, 1, (64, 31, 31, 5))).astype(np.float32)
    np.testing.assert_allclose(reductions.CPU.sums(jnp.asarray(x)), x.sum((0, 1, 2), dtype=np.float64), rtol=2e-6)


def test_batch_norm_s_gradient_is_autodiff_s() -> None:
    def by_autodiff(x: Array, bias: Array) -> Array:
        mean, variance = batch_moments(x, reductions.CPU)
        return OPS.normalize_channels(x, mean, variance, bias, 1e-12)

    with jax.enable_x64(True):
        x = jax.random.normal(jax.random.key(0), (6, 5, 5, 4), jnp.float64) * 3 + 7
        bias = jnp.arange(4.0, dtype=jnp.float64)
        cotangent = jax.random.normal(jax.random.key(1), x.shape, jnp.float64)
        expected, pull = jax.vjp(by_autodiff, x, bias)
        ours, pull_ours = jax.vjp(lambda x, bias: OPS.batch_norm(x, bias, 1e-12)[0], x, bias)
        np.testing.assert_allclose(ours, expected, rtol=1e-14)
        for mine, theirs in zip(pull_ours(cotangent), pull(cotangent), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-10, atol=1e-13)


def test_a_scaled_batch_norm_and_its_gradients_are_autodiff_s() -> None:
    def by_autodiff(x: Array, bias: Array, scale: Array) -> Array:
        mean, variance = x.mean((0, 1, 2), keepdims=True), x.var((0, 1, 2), keepdims=True)
        shape = (1, 1, 1, -1)
        return (x - mean) / jnp.sqrt(variance + 1e-5) * scale.reshape(shape) + bias.reshape(shape)

    with jax.enable_x64(True):
        x = jax.random.normal(jax.random.key(0), (6, 5, 5, 4), jnp.float64) * 3 + 7
        bias, scale = jnp.arange(4.0, dtype=jnp.float64), jnp.array([1.0, -2.0, 0.5, 3.0], jnp.float64)
        cotangent = jax.random.normal(jax.random.key(1), x.shape, jnp.float64)
        expected, pull = jax.vjp(by_autodiff, x, bias, scale)
        ours, pull_ours = jax.vjp(lambda x, bias, scale: OPS.batch_norm(x, bias, 1e-5, scale)[0], x, bias, scale)
        np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-13)
        for mine, theirs in zip(pull_ours(cotangent), pull(cotangent), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_both_platforms_sums_are_the_same_layers(dtype: DTypeLike) -> None:
    x, bias = (3 + normal(0, 4, 15, 15, 8)).astype(dtype), normal(1, 8)
    cotangent = normal(2, *x.shape).astype(dtype)

    def normalized(platform: str) -> tuple[Array, Array, Array]:
        ops = make_ops(platform, "native")
        out, pull = jax.vjp(lambda x, bias: ops.batch_norm(x, bias, 1e-5)[0], x, bias)
        return out, *pull(cotangent)

    for cpu, accelerator in zip(normalized("cpu"), normalized("gpu"), strict=True):
        scale = float(jnp.abs(cpu.astype(jnp.float32)).max())
        atol = (1e-5 if dtype == jnp.float32 else 2e-2) * scale
        np.testing.assert_allclose(accelerator.astype(jnp.float32), cpu.astype(jnp.float32), atol=atol)
