"""The self-check: does the compiler compute the method right on this device? python -m airjax.doctor.

Each check compares a compiled piece of the method with plain numpy in float64. A compiler that returns wrong numbers is
rare, but it ruins a sweep silently, so every sweep begins with these checks.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from airjax.augment.transforms import take_moved
from airjax.kernels.backend import Ops, make_ops
from airjax.kernels.convolution import default_convolution
from airjax.training.compile import compile_function, compile_lowered, compile_repeated
from airjax.training.environment import describe, fingerprint_of
from airjax.utils.platform import default_platform

# Relative to the largest magnitude: sums of some hundred products, whose results are rounded to eight bits in bfloat16.
ALLOWED = {"float32": 1e-5, "bfloat16": 2**-8}


class Check(NamedTuple):
    """The result of one check."""

    name: str
    error: float  # largest difference, over the largest magnitude of the exact result; infinite where one is not finite
    allowed: float

    @property
    def passed(self) -> bool:
        """Say whether the result is right."""
        return self.error <= self.allowed


def default_ops(dtype: str) -> Ops:
    """Return the functions that networks are made of here, in a dtype."""
    platform = default_platform()
    return make_ops(platform, default_convolution(dtype, platform))


def run_checks(ops_of: Callable[[str], Ops] = default_ops, take: Callable[..., Any] = take_moved) -> list[Check]:
    """Run all checks, on the default device; a few seconds, most of them compilation.

    What is checked are the functions that ops_of gives for each dtype, and take, which moves images.
    """
    ops = ops_of("float32")
    generator = np.random.default_rng(0)
    x = generator.normal(size=(4, 8, 8, 6)).astype(np.float32)
    kernel = generator.normal(size=(3, 3, 6, 5)).astype(np.float32)
    cotangent = generator.normal(size=(4, 8, 8, 5)).astype(np.float32)
    checks = []
    for name, allowed in ALLOWED.items():
        dtype = jnp.dtype(name)
        checks += _convolution_checks(
            ops_of(name), x.astype(dtype), kernel.astype(dtype), cotangent.astype(dtype), name, allowed
        )
    ties = np.round(x)  # many pixels of a window are equal
    gradient = _run(jax.grad(lambda x: (ops.max_pool(x, 2) ** 2).sum()), ties)
    checks.append(Check("gradient of a pool with ties", _difference(gradient, _pool_gradient(ties)), 0.0))
    far = x + 100
    normalized = _run(lambda x: ops.batch_norm(x, jnp.zeros(6), 1e-12)[0], far)
    exact = far.astype(np.float64)
    exact = (exact - exact.mean((0, 1, 2))) / exact.std((0, 1, 2))
    checks.append(Check("BatchNorm far from zero", _difference(normalized, exact), 1e-3))
    many = generator.random(4_000_000, np.float32)
    checks.append(Check("sum of four million", _difference(_run(jnp.sum, many), many.sum(dtype=np.float64)), 1e-5))
    pixels, order = generator.integers(0, 256, (4, 32, 32, 3), np.uint8), np.array([2, 0, 3, 1], np.int32)
    flips, mirrors = generator.random((2, 4)) < 0.5
    shifts = generator.integers(0, 5, (4, 2)).astype(np.int8)
    moved = _run(lambda images, *draws: take(images, 2, *draws), pixels, order, flips, mirrors, shifts)
    checks.append(Check("crops", _difference(moved, _move(pixels[order], flips, mirrors, shifts)), 0.0))
    # On a CPU nothing trains like that, and the answers of its environment are on record.
    return checks if default_platform() == "cpu" else [*checks, check_loop(ops)]


def check_loop(ops: Ops) -> Check:
    """Check convolutions side by side in a loop, which a GPU runs as one graph."""
    generator = np.random.default_rng(1)
    x = generator.normal(size=(4, 8, 8, 6)).astype(np.float32)
    kernels = generator.normal(scale=0.1, size=(6, 3, 3, 6, 6)).astype(np.float32)

    def looped(x: jax.Array, kernels: jax.Array) -> jax.Array:
        def turn(x: jax.Array, _: None) -> tuple[jax.Array, None]:
            return sum((ops.conv_same(x, kernel) for kernel in kernels), jnp.zeros_like(x)), None

        return jax.lax.scan(turn, x, length=3)[0]

    exact = x.astype(np.float64)
    for _ in range(3):
        exact = sum((_convolve(exact, kernel) for kernel in kernels), np.zeros(x.shape))
    lowered, arguments = jax.jit(looped).lower(x, kernels), (jnp.asarray(x), jnp.asarray(kernels))
    errors = []
    for compiled_by in (compile_lowered, compile_repeated):  # as a graph, too, which cannot capture what has not run
        errors.append(_difference(jax.device_get(compiled_by(lowered)(*arguments)), exact))
    return Check("convolutions in a loop", max(errors), ALLOWED["float32"])


def fingerprint(checks: list[Check]) -> str:
    """Return a digest of device, settings, versions and which checks passed: the same for the same environment."""
    return fingerprint_of(describe() | {"answers": {check.name: check.passed for check in checks}})


def _run(function: Callable[..., Any], *arguments: np.ndarray) -> Any:
    shapes = [jax.ShapeDtypeStruct(argument.shape, argument.dtype) for argument in arguments]
    return jax.device_get(compile_function(function, *shapes)(*map(jnp.asarray, arguments)))


def _convolution_checks(
    ops: Ops, x: np.ndarray, kernel: np.ndarray, cotangent: np.ndarray, dtype: str, allowed: float
) -> list[Check]:
    exact, in_dtype = _convolve(x, kernel), "" if dtype == "float32" else f" in {dtype}"
    checks = [Check(f"convolution{in_dtype}", _difference(_run(ops.conv_same, x, kernel), exact), allowed)]
    gradients = _run(lambda x, k, g: jax.vjp(ops.conv_same, x, k)[1](g), x, kernel, cotangent)
    exact_gradients = _convolution_gradients(x, kernel, cotangent)
    for name, ours, right in zip(("input", "kernel"), gradients, exact_gradients, strict=True):
        checks.append(Check(f"convolution's gradient by its {name}{in_dtype}", _difference(ours, right), allowed))
    pooled = _run(lambda x, kernel: ops.max_pool(ops.conv_to_pool(x, kernel), 2), x[:, :7, :7], kernel)
    right = _pool(_convolve(x[:, :7, :7], kernel))
    return [*checks, Check(f"convolution and pool{in_dtype}", _difference(pooled, right), allowed)]


def _difference(ours: Any, exact: Any) -> float:
    ours, exact = np.asarray(ours, np.float64), np.asarray(exact, np.float64)
    if ours.shape != exact.shape or not np.isfinite(ours).all():
        return float("inf")
    return float(np.abs(ours - exact).max() / np.abs(exact).max())


def _move(images: np.ndarray, flips: np.ndarray, mirrors: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    moved = []
    for image, flip, mirror, (top, left) in zip(images, flips, mirrors, shifts, strict=True):
        padded = np.pad(image[:, ::-1] if flip else image, ((2, 2), (2, 2), (0, 0)), mode="reflect")
        cut = padded[top : top + 32, left : left + 32]
        moved.append(cut[:, ::-1] if mirror else cut)
    return np.stack(moved)


def _windows(x: np.ndarray) -> np.ndarray:
    # [n,h,w,3,3,i] of x [n,h,w,i], padded by one zero.
    padded = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    return np.moveaxis(np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2)), 3, 5)


def _convolve(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return np.einsum("nhwrci,rcio->nhwo", _windows(x), kernel.astype(np.float64))


def _convolution_gradients(x: np.ndarray, kernel: np.ndarray, cotangent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    flipped = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
    return _convolve(cotangent, flipped), np.einsum("nhwrci,nhwo->rcio", _windows(x), cotangent.astype(np.float64))


def _pool(x: np.ndarray) -> np.ndarray:
    size = x.shape[1] // 2 * 2
    return np.stack([x[:, r:size:2, c:size:2] for r in range(2) for c in range(2)]).max(0)


def _pool_gradient(x: np.ndarray) -> np.ndarray:
    # Of the sum of the squares; a tie's gradient goes to the first pixel of its window, by rows.
    gradient = np.zeros(x.shape)
    for image, row, column, channel in np.ndindex(x.shape[0], x.shape[1] // 2, x.shape[2] // 2, x.shape[3]):
        window = x[image, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2, channel]
        down, right = divmod(int(window.argmax()), 2)
        gradient[image, 2 * row + down, 2 * column + right, channel] = 2 * window.max()
    return gradient
