"""Check of the layers one by one, forwards and backwards, on random arrays. (§1, §4.1)"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from airjax.kernels import backend
from airjax.nn import airbench as model
from airjax.training import step
from airjax.utils.platform import default_platform
from parity.check_setup import BOTH, CheckSetup, jax_precision
from parity.compare import Comparison, Place, compare
from parity.convert import TO_JAX
from parity.pools import smallest_lead
from parity.run import run
from parity.torch_network import BatchNorm

MOMENTUM, EPSILON = 0.6, 1e-12
RESNET_EPSILON = 1e-5
RESULTS = ("output", "input gradient", "parameter gradient", "scale gradient")
Case = tuple[Callable[..., Any], Callable[..., Any], list[np.ndarray]]  # airjax's layer, PyTorch's, and their arguments
LEAD = 1e-3  # of a pool's largest pixel over the next, where all are about 7


def check_layers(setup: CheckSetup) -> Iterator[Comparison]:
    """Compare every layer's output and the gradients of all its inputs, for a random cotangent."""
    generator = np.random.default_rng(setup.seed)

    def random(*shape: int) -> np.ndarray:
        return generator.standard_normal(shape).astype(np.float32).astype(np.float64)

    square, kernel = random(3, 5, 6, 6), random(7, 5, 3, 3)

    def untied(size: int) -> np.ndarray:
        # Rounding cannot change which pixels the pool after the convolution takes.
        while True:
            image = random(3, 5, size, size)
            if smallest_lead(F.conv2d(torch.from_numpy(image), torch.from_numpy(kernel), padding="same"), 2) > LEAD:
                return image

    image, odd = untied(8), untied(9)
    logits, labels = 3 * random(6, 10), np.arange(6)

    ops = _ops()
    cases: dict[str, Case] = {
        "first convolution": (ops.conv_first, F.conv2d, [image, random(7, 5, 2, 2)]),
        "convolution": (ops.conv_same, lambda x, k: F.conv2d(x, k, padding="same"), [image, kernel]),
        "convolution and pool": (_airjax_conv_pool, _torch_conv_pool, [image, kernel]),
        "convolution and pool, odd size": (_airjax_conv_pool, _torch_conv_pool, [odd, kernel]),
        "last pool": (lambda x: ops.max_pool(x, 3), lambda x: F.max_pool2d(x, 3), [square]),
        "pool of ties": (lambda x: ops.max_pool(x, 2), lambda x: F.max_pool2d(x, 2), [np.round(square)]),
        "GELU": (ops.gelu, F.gelu, [2 * image]),
        "SiLU": (ops.silu, F.silu, [2 * image]),
        "BatchNorm": (_airjax_batch_norm, _torch_batch_norm, [image, random(5)]),
        "smoothed cross entropy": (
            lambda x: step.smoothed_loss(x, jnp.asarray(labels, jnp.int32), jnp.asarray(0.2, x.dtype)),
            lambda x: F.cross_entropy(x, torch.as_tensor(labels), label_smoothing=0.2, reduction="none"),
            [logits],
        ),
    }
    cases |= _residual_cases(ops, image, odd, kernel, [random(7, 5, 1, 1), random(5), random(5)])
    for name, (ours, theirs, arguments) in cases.items():
        exact, rounded = (_torch_vjp(theirs, arguments, getattr(torch, precision)) for precision in BOTH)
        for precision in setup.precisions:
            place = Place("layers", setup.name, precision)
            with jax_precision(precision):
                outputs = run(_vjp(ours), *(jnp.asarray(_to_jax(a), precision) for a in arguments))
            for index, label in enumerate(RESULTS[: len(outputs)]):
                yardstick = rounded[index] if precision == "float32" else None
                yield compare(place, f"{name}, {label}", outputs[index], exact[index], yardstick)


def _residual_cases(
    ops: backend.Ops, image: np.ndarray, odd: np.ndarray, kernel: np.ndarray, vectors: list[np.ndarray]
) -> dict[str, Case]:
    # What only a ResNet has: strides, ReLU, and BatchNorm with a scale.
    def ours(padding: int) -> Callable[..., Any]:
        return lambda x, k: ops.conv(x, k, ((padding, padding), (padding, padding)), stride=2)

    def theirs(padding: int) -> Callable[..., Tensor]:
        return lambda x, k: F.conv2d(x, k, stride=2, padding=padding)

    small, bias, scale = vectors
    return {
        "strided convolution": (ours(1), theirs(1), [image, kernel]),
        "strided convolution, odd size": (ours(1), theirs(1), [odd, kernel]),
        "strided 1x1 convolution": (ours(0), theirs(0), [image, small]),
        "ReLU": (ops.relu, F.relu, [np.round(2 * image)]),
        "BatchNorm with a scale": (_airjax_scaled_batch_norm, _torch_scaled_batch_norm, [image, bias, scale]),
    }


def check_cancellation(setup: CheckSetup) -> Iterator[Comparison]:
    """BatchNorm of values far from zero in float32: E[x^2] - E[x]^2 would lose the variance. (§1)"""
    x = 100 + np.random.default_rng(setup.seed).standard_normal((8, 8, 8, 5)).astype(np.float32)
    ours = run(_airjax_batch_norm, jnp.asarray(x), jnp.zeros(5, jnp.float32))
    theirs = _torch_batch_norm(torch.as_tensor(x.transpose(0, 3, 1, 2)).double(), torch.zeros(5, dtype=torch.float64))
    place = Place("cancellation", setup.name, "float32")
    yield compare(place, "BatchNorm far from zero", ours, theirs.numpy().transpose(0, 2, 3, 1))


def _ops() -> backend.Ops:
    # The form of convolution that every platform and precision has.
    return backend.make_ops(default_platform(), "native")


def _vjp(function: Callable[..., Any]) -> Callable[..., Any]:
    def with_gradients(*arguments: Any) -> Any:
        output, pull = jax.vjp(function, *arguments)
        return output, *pull(_cotangent(output))

    return with_gradients


def _cotangent(output: Any) -> Any:
    # A deterministic function of the output that is nowhere constant, so that permuted elements do not go unseen.
    return output * output + 1


def _torch_vjp(function: Callable[..., Tensor], arguments: list[np.ndarray], dtype: torch.dtype) -> list[np.ndarray]:
    tensors = [torch.as_tensor(argument, dtype=dtype).requires_grad_() for argument in arguments]
    output = function(*tensors)
    output.backward(_cotangent(output.detach()))
    results = [output.detach(), *(tensor.grad for tensor in tensors if tensor.grad is not None)]
    return [_to_jax(tensor.numpy()) for tensor in results]


def _to_jax(array: np.ndarray) -> np.ndarray:
    # Images NCHW -> NHWC and kernels OIHW -> HWIO, told apart by their size; vectors and matrices stay.
    if array.ndim != 4:
        return array
    return array.transpose(TO_JAX["OIHW"] if array.shape[-1] <= 3 and array.shape[0] == 7 else (0, 2, 3, 1))


def _airjax_batch_norm(x: Any, bias: Any) -> Any:
    norm = model.BatchNorm(MOMENTUM, EPSILON, x.dtype, _ops())
    stats = {"mean": jnp.zeros_like(bias), "var": jnp.ones_like(bias)}
    return norm.apply({"params": {"bias": bias}, "batch_stats": stats}, x, True, mutable=["batch_stats"])[0]


def _torch_batch_norm(x: Tensor, bias: Tensor) -> Tensor:
    norm = BatchNorm(x.shape[1], MOMENTUM, EPSILON).to(x.dtype).train()
    return F.batch_norm(x, None, None, norm.weight, bias, training=True, eps=EPSILON)


def _airjax_scaled_batch_norm(x: Any, bias: Any, scale: Any) -> Any:
    return _ops().batch_norm(x, bias, RESNET_EPSILON, scale)[0]


def _torch_scaled_batch_norm(x: Tensor, bias: Tensor, scale: Tensor) -> Tensor:
    return F.batch_norm(x, None, None, scale, bias, training=True, eps=RESNET_EPSILON)


def _airjax_conv_pool(x: Any, kernel: Any) -> Any:
    ops = _ops()
    return ops.max_pool(ops.conv_to_pool(x, kernel), 2)


def _torch_conv_pool(x: Tensor, kernel: Tensor) -> Tensor:
    return F.max_pool2d(F.conv2d(x, kernel, padding="same"), 2)
