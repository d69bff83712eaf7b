"""What a check is run on: a recipe, images, a PyTorch implementation, and the precisions asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import jax
import numpy as np

from airjax.recipes.recipe import Recipe
from parity.kinds import airbench_network, is_residual
from parity.torch_implementation import TorchImplementation

BOTH = ("float64", "float32")


class CheckSetup(NamedTuple):
    """The arguments of every check."""

    name: str  # of the recipe
    recipe: Recipe
    images: np.ndarray  # [N,32,32,3] uint8, a few hundred
    labels: np.ndarray  # [N] int32
    reference: TorchImplementation
    precisions: tuple[str, ...]  # of "float64" and "float32"
    seed: int = 0  # of everything that is drawn: weights, gradients, augmentation


def at_precision(recipe: Recipe, precision: str) -> Recipe:
    """Return the recipe in another arithmetic. Raises ValueError for an unknown one."""
    return recipe.override(precision=precision)  # pyright: ignore[reportArgumentType]


@contextmanager
def jax_precision(precision: str) -> Iterator[None]:
    """64-bit types in JAX where the precision needs them, and only inside."""
    with jax.enable_x64(precision == "float64"):
        yield


def narrow(recipe: Recipe) -> Recipe:
    """Return the same structure with about an eighth of the channels: XLA's float64 convolutions on a CPU are slow."""
    if is_residual(recipe):
        return recipe.override(widths=tuple(width // 8 for width in recipe.network.widths))
    first, second, third = airbench_network(recipe).widths
    return recipe.override(widths=(24 + first // 16, second // 8, third // 8))
