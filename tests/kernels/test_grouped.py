"""A group's convolutions are those of its members one by one, and so are their gradients."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from jax.typing import DTypeLike

from airjax.kernels.convolution import Padding, conv, vmapped_convolution
from airjax.kernels.grouped import grouped_conv

# Sums of at most 2 * 8 * 8 products of standard normal numbers.
TOLERANCE = {"float32": 1e-4, "float64": 1e-12}
# Side of the image, side of the kernel, padding, stride: the first layer, conv_same, conv_to_pool of even and of odd
# images; a residual block's first convolution and its shortcut.
SHAPES: list[tuple[int, int, Padding, int]] = [
    (8, 2, ((0, 0), (0, 0)), 1),
    (6, 3, ((1, 1), (1, 1)), 1),
    (7, 3, ((1, 0), (1, 0)), 1),
    (3, 3, ((1, 1), (1, 1)), 1),  # no larger than the kernel
    (3, 3, ((1, 0), (1, 1)), 1),
    (8, 3, ((1, 1), (1, 1)), 2),
    (5, 3, ((1, 1), (1, 1)), 2),
    (4, 3, ((1, 1), (1, 1)), 2),  # its result is smaller than the kernel
    (6, 1, ((0, 0), (0, 0)), 2),
]


@pytest.fixture(autouse=True)
def _x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def normal(seed: int, *shape: int, dtype: DTypeLike) -> Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def value_and_gradients(x: Array, kernel: Array, convolve: Callable[[Array, Array], Array]) -> tuple[Any, ...]:
    y, pull = jax.vjp(convolve, x, kernel)
    return y, *pull(jnp.cos(y))


def assert_close(ours: Any, theirs: Any, dtype: str) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("size", "side", "padding", "stride"), SHAPES)
def test_one_network_s_are_xla_s_own(size: int, side: int, padding: Padding, stride: int, dtype: str) -> None:
    x, kernel = normal(0, 2, size, size, 3, dtype=dtype), normal(1, side, side, 3, 5, dtype=dtype)
    ours = value_and_gradients(x, kernel, lambda x, kernel: conv(x, kernel, padding, "grouped", stride))
    theirs = value_and_gradients(x, kernel, lambda x, kernel: conv(x, kernel, padding, stride=stride))
    assert_close(ours, theirs, dtype)


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("size", "side", "padding", "stride"), SHAPES)
def test_a_group_s_are_its_members_one_by_one(
    size: int, side: int, padding: Padding, stride: int, dtype: str, members: int
) -> None:
    x = normal(0, members, 2, size, size, 3, dtype=dtype)
    kernels = normal(1, members, side, side, 3, 5, dtype=dtype)

    def of_one(x: Array, kernel: Array, form: Any) -> tuple[Any, ...]:
        return value_and_gradients(x, kernel, lambda x, kernel: conv(x, kernel, padding, form, stride))

    together = jax.vmap(lambda x, kernel: of_one(x, kernel, "grouped"))(x, kernels)
    singles = [of_one(x[k], kernels[k], "native") for k in range(members)]
    assert_close(together, [jnp.stack(arrays) for arrays in zip(*singles, strict=True)], dtype)


@pytest.mark.parametrize("axes", [(None, 0), (0, None)])
def test_what_members_share_is_not_repeated(axes: tuple[int | None, int | None]) -> None:
    shapes = (2, 6, 6, 3), (3, 3, 3, 5)
    x, kernel = (
        normal(number, *shape if axis is None else (4, *shape), dtype=jnp.float64)
        for number, (shape, axis) in enumerate(zip(shapes, axes, strict=True))
    )
    padding = ((1, 1), (1, 1))

    def run(form: Any) -> tuple[Any, ...]:
        return jax.vmap(
            lambda x, kernel: value_and_gradients(x, kernel, lambda x, kernel: conv(x, kernel, padding, form)), axes
        )(x, kernel)

    assert_close(run("grouped"), run("native"), "float64")
    forward = jax.make_jaxpr(jax.vmap(lambda x, kernel: grouped_conv(x, kernel, padding), axes))(x, kernel)
    assert "feature_group_count=1" in str(forward)
    both = jax.make_jaxpr(jax.vmap(lambda kernel: grouped_conv(x[0] if x.ndim == 5 else x, kernel, padding)))(
        jnp.stack([kernel] * 4) if kernel.ndim == 4 else kernel
    )
    assert "feature_group_count=1" in str(both)


def test_a_group_s_kernel_gradient_is_a_grouped_convolution_s_own() -> None:
    x, kernels = normal(0, 4, 2, 8, 8, 3, dtype=jnp.float32), normal(1, 4, 3, 3, 3, 5, dtype=jnp.float32)

    def text(form: Any) -> str:
        def loss(x: Array, kernel: Array) -> Array:
            return conv(x, kernel, ((1, 1), (1, 1)), form).sum()

        return str(jax.make_jaxpr(jax.vmap(jax.grad(loss, argnums=1)))(x, kernels))

    # The form that XLA folds into the library's kernel for gradients of kernels has groups of the batch.
    assert "batch_group_count=4" in text("grouped")
    assert "batch_group_count=4" not in text("native")


def test_accelerators_alone_have_it() -> None:
    assert vmapped_convolution("cpu") == "native"
    assert vmapped_convolution("gpu") == vmapped_convolution("tpu") == "grouped"
