"""Which pixels the max-pools and ReLUs of a training take: where pixels nearly tie, a last bit decides.

A last bit would decide to which pixel a pool's gradient goes, and whether a ReLU passes a gradient on. airjax's report
what goes into them, from inside the program that trains; PyTorch's are then directed to take the same pixels, and how
far these are below the largest of their windows, or on the wrong side of zero, is compared instead.
"""

import ctypes
import functools
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest import mock

import jax
import numpy as np
import torch
from jax import Array
from torch import Tensor, nn

from airjax.kernels import backend
from airjax.kernels.ffi import Buffer, register
from airjax.recipes.network_resnet import BLOCKS
from airjax.recipes.recipe import Recipe
from parity.kinds import is_residual

SIZES = (2, 2, 2, 0)  # of the windows of the network's pools, in their order; 0 is the whole image
RELUS = 2 * BLOCKS * 4 + 1  # of a ResNet-18: two in every block, and the stem's
NUMPY_TYPES = {"f32": np.float32, "f64": np.float64}
_numbers = itertools.count()


class Pool(NamedTuple):
    """What one of PyTorch's pools or ReLUs saw in one training pass, each [N,C,h,w]."""

    largest: np.ndarray  # the largest pixel of every window; of a ReLU, the pixel or zero
    taken: np.ndarray  # the pixel, or zero, that it was directed to take


@contextmanager
def watch_pools() -> Iterator[list[np.ndarray]]:
    """Programs that are traced within append what goes into each pool, [N,H,W,C], to the list whenever they run.

    For a ReLU, it is which pixels it passes on: bool [N,H,W,C]. They compute on the very numbers that they report:
    compiled a second time, the layers before them may round otherwise.
    """
    inputs: list[np.ndarray] = []
    number = next(_numbers)  # a name is registered once for the whole process
    pool, relu = f"parity_pool_{number}", f"parity_relu_{number}"
    register(pool, functools.partial(_report, inputs, positive=False))
    register(relu, functools.partial(_report, inputs, positive=True))
    right = backend.make_ops

    def watched(*arguments: Any) -> backend.Ops:
        ops = right(*arguments)
        return ops._replace(max_pool=_watched(ops.max_pool, pool), relu=_watched(ops.relu, relu))

    with mock.patch.object(backend, "make_ops", watched):
        yield inputs


def picks(inputs: list[np.ndarray], sizes: tuple[int, ...] = SIZES, networks: int = 1) -> list[list[np.ndarray]]:
    """Return the `winners` of each pool in each pass, or what each ReLU passes on, from what `watch_pools` lists.

    sizes are those of the windows of a network's pools; one that ends with a mean lacks the last. A pass goes through
    so many networks, one after the other.
    """
    if inputs and inputs[0].dtype == bool:
        passed = [x.transpose(0, 3, 1, 2) for x in inputs]
        return [passed[first : first + RELUS] for first in range(0, len(passed), RELUS)]
    found = [winners(x.transpose(0, 3, 1, 2), sizes[number % len(sizes)]) for number, x in enumerate(inputs)]
    size = networks * len(sizes)
    return [found[first : first + size] for first in range(0, len(found), size)]


def pool_name(recipe: Recipe) -> str:
    """Return what the recipe's network has, in the names of comparisons."""
    return "ReLU" if is_residual(recipe) else "pool"


def pool_sizes(recipe: Recipe) -> tuple[int, ...]:
    """Return the sizes of the windows of the network's max-pools, in their order."""
    return SIZES[:-1] if recipe.value_of("final_pool") == "mean" else SIZES


def winners(x: np.ndarray, size: int) -> np.ndarray:
    """Return which pixel of each size x size window of x [N,C,H,W] is the largest, by rows, the first of equals:
    [N,C,h,w].
    """
    return _windows(torch.from_numpy(np.ascontiguousarray(x)), size).numpy().argmax(-1)


def smallest_lead(x: Tensor, size: int) -> float:
    """By how much the largest pixel of a window exceeds the next, at least, over all windows of x [N,C,H,W]."""
    first, second = _windows(x, size).topk(2).values.unbind(-1)
    return float((first - second).min())


def direct_pools(network: nn.Module, taken: list[list[np.ndarray]], seen: list[list[Pool]]) -> None:
    """Make a network's pools or ReLUs take these pixels [pass][pool] in training passes, and append what they saw.

    Evaluation is left alone. The network raises IndexError in a pass for which there are no pixels.
    """
    pools = [module for module in network.modules() if isinstance(module, nn.MaxPool2d | nn.ReLU)]
    for number, module in enumerate(pools):
        module.register_forward_hook(functools.partial(_take, number, taken, seen))


def _take(
    number: int, taken: list[list[np.ndarray]], seen: list[list[Pool]], module: nn.Module, inputs: Any, output: Tensor
) -> Tensor | None:
    if not module.training:
        return None
    if number == 0:
        seen.append([])
    chosen = torch.from_numpy(taken[len(seen) - 1][number])
    if isinstance(module, nn.ReLU):
        pixels = torch.where(chosen, inputs[0], 0)
    else:
        pixels = _windows(inputs[0], SIZES[number % len(SIZES)]).gather(-1, chosen[..., None])[..., 0]
    seen[-1].append(Pool(output.detach().numpy().copy(), pixels.detach().numpy().copy()))
    return pixels


def _windows(x: Tensor, size: int) -> Tensor:
    size = size or x.shape[-1]
    return x.unfold(2, size, size).unfold(3, size, size).flatten(4)  # [N,C,h,w,size * size]


def _watched(pool: Callable[..., Array], name: str) -> Callable[..., Array]:
    @jax.custom_vjp
    def reported(x: Array) -> Any:
        return jax.ffi.ffi_call(name, jax.ShapeDtypeStruct(x.shape, x.dtype))(x)

    reported.defvjp(lambda x: (reported(x), None), lambda _, cotangent: (cotangent,))
    return lambda x, *size: pool(reported(x), *size)


def _report(inputs: list[np.ndarray], x: Buffer, same: Buffer, *, positive: bool) -> None:
    dtype = np.dtype(NUMPY_TYPES[x.dtype])
    size = int(np.prod(x.shape)) * dtype.itemsize
    ctypes.memmove(same.address, x.address, size)
    pixels = np.frombuffer(ctypes.string_at(x.address, size), dtype).reshape(x.shape)
    inputs.append(pixels > 0 if positive else pixels)
