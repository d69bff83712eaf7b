"""The layers that only a GPU has compute the same as everybody's, on a CPU."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from scipy import special

from airjax.kernels import convolution as forms
from airjax.kernels import first_conv, reductions, triton, weight_gradient
from airjax.kernels.backend import make_ops
from airjax.kernels.norm_gelu import norm_gelu
from airjax.kernels.normalization import batch_moments

# Sums of at most 400 products of float32, in another order: some units of 2^-24 of the largest result.
SAME = 2e-6


def normal(seed: int, *shape: int, dtype: Any = jnp.float32) -> Array:
    return jax.random.normal(jax.random.key(seed), shape).astype(dtype)


def difference(ours: Array, exact: Any) -> float:
    ours, exact = np.asarray(ours, np.float64), np.asarray(exact, np.float64)
    return float(np.abs(ours - exact).max() / np.abs(exact).max())


def with_gradients(function: Callable[..., Array], cotangent: Array, *arguments: Array) -> tuple[Array, ...]:
    def both(cotangent: Array, *arguments: Array) -> tuple[Array, ...]:
        out, pull = jax.vjp(function, *arguments)
        return out, *pull(cotangent)

    return jax.jit(both)(cotangent, *arguments)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_first_convolution_as_sums_is_the_convolution(channels: int) -> None:
    x, kernel, cotangent = normal(0, 4, 8, 9, channels), normal(1, 2, 2, channels, 6), normal(2, 4, 7, 8, 6)
    ours, exact = (
        with_gradients(function, cotangent, x, kernel)
        for function in (first_conv.conv_first_as_sums, first_conv.conv_first)
    )
    assert [difference(a, b) < SAME for a, b in zip(ours, exact, strict=True)] == [True, True, True]


def test_the_first_convolution_is_one_only_of_more_channels_than_four() -> None:
    def lowered(channels: int) -> str:
        x, kernel = normal(0, 4, 8, 9, channels), normal(1, 2, 2, channels, 6)
        return jax.jit(first_conv.conv_first_as_sums).lower(x, kernel).as_text()

    assert "stablehlo.convolution" not in lowered(4)
    assert "stablehlo.convolution" in lowered(5)


def test_the_first_convolution_in_half_precision_is_rounded_once() -> None:
    x, kernel = normal(0, 4, 8, 8, 3, dtype=jnp.bfloat16), normal(1, 2, 2, 3, 24, dtype=jnp.bfloat16)
    exact = first_conv.conv_first(x.astype(jnp.float32), kernel.astype(jnp.float32))
    # The nearest bfloat16, or its neighbour where the order of the sum decides.
    assert difference(first_conv.conv_first_as_sums(x, kernel), exact) <= 2**-8
    assert first_conv.conv_first_as_sums(x, kernel).dtype == jnp.bfloat16


@pytest.mark.parametrize("size", [1, 3, 5, 7])
@pytest.mark.parametrize("name", ["conv_same", "conv_to_pool"])
def test_a_padded_weight_gradient_is_the_weight_gradient(name: str, size: int) -> None:
    if name == "conv_to_pool" and size == 1:
        pytest.skip("no pool has an image of one pixel")
    x, kernel = normal(0, 4, size, size, 5), normal(1, 3, 3, 5, 6)
    plain = getattr(forms, name)
    cotangent = normal(2, *jax.eval_shape(plain, x, kernel).shape)
    ours = with_gradients(getattr(weight_gradient, name), cotangent, x, kernel)
    exact = with_gradients(plain, cotangent, x, kernel)
    assert [difference(a, b) < SAME for a, b in zip(ours, exact, strict=True)] == [True, True, True]


@pytest.mark.parametrize(("size", "gradient"), [(3, "4x4"), (7, "7x7")])
def test_the_gradient_has_more_rows_than_the_kernel(size: int, gradient: str) -> None:
    x, kernel = normal(0, 8, size, size, 5), normal(1, 3, 3, 5, 6)
    pull = jax.jit(lambda x, kernel: jax.vjp(weight_gradient.conv_same, x, kernel)[1](x[..., :1] * jnp.ones(6)))
    with jax.numpy_rank_promotion("allow"):
        text = pull.lower(x, kernel).as_text()
    rows, columns = gradient.split("x")
    assert f"tensor<8x{rows}x{columns}x6xf32>" in text
    assert ("optimization_barrier" in text) == (size == 3)


def test_the_slope_of_gelu_is_exact_to_float32() -> None:
    x = np.linspace(-12, 12, 100_001)
    exact = special.ndtr(x) + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi)
    # 1.5e-7 is the formula's own bound; the rest is float32's.
    assert np.abs(np.asarray(triton.gelu_slope(jnp.asarray(x, jnp.float32))) - exact).max() < 4e-7


def exact_gradients(x: np.ndarray, bias: np.ndarray, cotangent: np.ndarray, pooled: bool) -> tuple[np.ndarray, ...]:
    """Of GELU(BatchNorm(pool(x))) in float64, by the textbook's formulas."""
    n, h, w, c = x.shape
    whole, taken = x, None
    if pooled:
        windows = x[:, : h // 2 * 2, : w // 2 * 2].reshape(n, h // 2, 2, w // 2, 2, c)
        windows = windows.transpose(0, 1, 3, 5, 2, 4).reshape(n, h // 2, w // 2, c, 4)
        taken, x = windows.argmax(-1), windows.max(-1)
    mean, scale = x.mean((0, 1, 2)), (x.var((0, 1, 2)) + 1e-5) ** -0.5
    centred = (x - mean) * scale
    z = centred + bias
    d = cotangent * (special.ndtr(z) + z * np.exp(-z * z / 2) / np.sqrt(2 * np.pi))
    gradient = (d - d.mean((0, 1, 2)) - centred * (d * centred).mean((0, 1, 2))) * scale
    if taken is not None:
        spread = np.zeros(whole.shape)
        for pixel in range(4):
            down, right = divmod(pixel, 2)
            spread[:, down : h // 2 * 2 : 2, right : w // 2 * 2 : 2] = gradient * (taken == pixel)
        gradient = spread
    return gradient, d.sum((0, 1, 2))


def pooled_shape(shape: tuple[int, ...], pooled: bool) -> tuple[int, ...]:
    n, h, w, c = shape
    return (n, h // 2, w // 2, c) if pooled else shape


# Sizes that fill no tile, channels that are no power of two, and an odd size, of which the pool drops a row.
@pytest.mark.parametrize(("shape", "pooled"), [((6, 8, 8, 24), False), ((3, 7, 5, 96), True), ((40, 6, 6, 64), True)])
@pytest.mark.parametrize(("dtype", "allowed"), [(jnp.float32, 2e-6), (jnp.bfloat16, 2**-8)])
def test_a_fused_gradient_is_that_of_float64(shape: tuple[int, ...], pooled: bool, dtype: Any, allowed: float) -> None:
    x, bias = normal(0, *shape, dtype=dtype), normal(1, shape[-1])
    fused = functools.partial(norm_gelu, reductions=reductions.ACCELERATOR, moments=batch_moments, interpret=True)
    cotangent = normal(2, *pooled_shape(shape, pooled), dtype=dtype)

    @jax.jit
    def gradients(x: Array, bias: Array, cotangent: Array) -> tuple[Array, ...]:
        return jax.vjp(lambda x, bias: fused(x, bias, 1e-5, pooled)[0], x, bias)[1](cotangent)

    ours = gradients(x, bias, cotangent)
    exact = exact_gradients(*(np.asarray(a, np.float64) for a in (x, bias, cotangent)), pooled)
    # Rounded once to x's dtype; the bias' gradient stays float32, but for the moments of half precision.
    assert difference(ours[0], exact[0]) < allowed
    assert difference(ours[1], exact[1]) < (2e-6 if dtype == jnp.float32 else 1e-4)
    assert ours[0].dtype == dtype


def test_a_fused_layer_is_pool_batch_norm_and_gelu() -> None:
    plain, fused = (make_ops("cpu", "native", fuse_gradients=fuse) for fuse in (False, True))
    assert plain.norm_gelu is None
    assert fused.norm_gelu is not None
    x, bias = normal(0, 4, 8, 8, 6), normal(1, 6)
    out, mean, variance = fused.norm_gelu(x, bias, 1e-5, True)
    normalized, *moments = plain.batch_norm(plain.max_pool(x, 2), bias, 1e-5)
    assert np.array_equal(out, plain.gelu(normalized))
    assert np.array_equal([mean, variance], moments)


def test_fused_gradients_refuse_float64_and_several_devices() -> None:
    fused = make_ops("gpu", "native", fuse_gradients=True).norm_gelu
    assert fused is not None
    with pytest.raises(ValueError, match="leave fuse_gradients out with several devices"):
        make_ops("gpu", "native", reductions.across_devices(reductions.ACCELERATOR, "data", 4), fuse_gradients=True)
    with jax.enable_x64(True), pytest.raises(ValueError, match="fuse_gradients=False"):
        fused(jnp.ones((2, 4, 4, 3), jnp.float64), jnp.ones(3, jnp.float64), 1e-5, False)


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
def test_only_a_gpu_has_its_own_layers(platform: str) -> None:
    functions = make_ops(platform, "native")
    assert [part.func for part in (functions.conv_first, functions.conv_same, functions.conv_to_pool)] == [  # pyright: ignore[reportFunctionMemberAccess]
        first_conv.conv_first,
        forms.conv_same,
        forms.conv_to_pool,
    ]
    ours = make_ops("gpu", "native")
    assert ours.conv_first.func is first_conv.conv_first_as_sums  # pyright: ignore[reportFunctionMemberAccess]
