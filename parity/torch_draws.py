"""Every random choice about the data, as tensors: converted from airjax's, or sampled by torch. (§3)"""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from airjax.augment.draws import Draws, hash_parity
from airjax.recipes.recipe import Recipe
from parity.torch_hiverge import sample_jitter


class TensorDraws(NamedTuple):
    """airjax's Draws as tensors: E epochs over N training examples."""

    flips: Tensor  # [N] bool: mirrored once, before cropping
    mirrors: Tensor  # [E,N] bool: mirrored in that epoch, after cropping
    shifts: Tensor | None  # [E,N,2] int: top and left of the crop; None without translation
    corners: Tensor | None  # [E,N,2] int: top and left of the cutout; None without cutout
    order: Tensor  # [E,N] int64: position in the epoch -> training example
    jitter: Tensor | None = None  # [E,N,2]: added to normalised pixels, and then their factor; None: neither


def place_draws(draws: Draws, device: str | torch.device = "cpu") -> TensorDraws:
    """Return airjax's draws on a torch device."""

    def tensor(array: Any) -> Tensor:
        # A copy: torch warns about arrays that must not be written to, which a view of a JAX array is.
        return torch.as_tensor(np.array(array), device=device)

    optional = (draws.shifts, draws.corners, draws.jitter)
    shifts, corners, jitter = (None if array is None else tensor(array) for array in optional)
    return TensorDraws(tensor(draws.flips), tensor(draws.mirrors), shifts, corners, tensor(draws.order).long(), jitter)


def sample_draws(recipe: Recipe, generator: torch.Generator) -> TensorDraws:
    """Sample the draws of a run from torch's own generator, on its device. (§3)"""
    count, epochs, device = recipe.train_examples, math.ceil(recipe.epochs), generator.device

    def integers(*shape: int, stop: int) -> Tensor:
        return torch.randint(stop, shape, generator=generator, device=device)

    flips = torch.zeros(count, dtype=torch.bool, device=device)
    mirrors = torch.zeros(epochs, count, dtype=torch.bool, device=device)
    if recipe.augmentation.flip == "alternating":
        flips = integers(count, stop=2).bool()
    elif recipe.augmentation.flip == "alternating-hash":
        flips = torch.as_tensor(hash_parity(count) == 0, device=device)
    elif recipe.augmentation.flip == "random":
        mirrors = integers(epochs, count, stop=2).bool()
    if recipe.augmentation.flip.startswith("alternating"):
        mirrors[1::2] = True
    if recipe.augmentation.order == "reshuffle":
        order = torch.stack([torch.randperm(count, generator=generator, device=device) for _ in range(epochs)])
    elif recipe.augmentation.order == "replacement":
        order = integers(epochs, count, stop=count)
    else:
        order = torch.arange(count, device=device).expand(epochs, count)
    shifts = (
        integers(epochs, count, 2, stop=2 * recipe.augmentation.translate + 1)
        if recipe.augmentation.translate
        else None
    )
    size, cutout, corners = recipe.inputs.image_size, recipe.augmentation.cutout, None
    if cutout and recipe.augmentation.cutout_form == "clipped":
        corners = integers(epochs, count, 2, stop=size) - cutout // 2
    elif cutout:
        corners = integers(epochs, count, 2, stop=size - cutout + 1)
    brightness, contrast = recipe.augmentation.brightness, recipe.augmentation.contrast
    jitter = sample_jitter(brightness, contrast, (epochs, count), generator) if brightness or contrast else None
    return TensorDraws(flips, mirrors, shifts, corners, order, jitter)
