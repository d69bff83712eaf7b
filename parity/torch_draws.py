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
    order, augmentation = _sample_order(recipe, epochs, generator), recipe.augmentation
    in_pairs = augmentation.antithetic
    shifts, corners = None, None
    if augmentation.translate:
        joint = augmentation.crop_sampling == "joint" and augmentation.flip != "none" and not in_pairs
        shape, sampling = (epochs, count, 2 * augmentation.translate + 1), augmentation.crop_sampling
        shifts = sample_positions(generator, shape, sampling, in_pairs=in_pairs, walks=2 if joint else 1)
    if augmentation.cutout:
        clipped, size = augmentation.cutout_form == "clipped", recipe.inputs.image_size
        side = size if clipped else size - augmentation.cutout + 1
        corners = sample_positions(
            generator, (epochs, count, side), augmentation.cutout_sampling, in_pairs=in_pairs
        ) - (augmentation.cutout // 2 if clipped else 0)
    brightness, contrast = augmentation.brightness, augmentation.contrast
    jitter = sample_jitter(brightness, contrast, (epochs, count), generator) if brightness or contrast else None
    return TensorDraws(flips, mirrors, shifts, corners, order, jitter)


def sample_positions(
    generator: torch.Generator, shape: tuple[int, int, int], sampling: str, *, in_pairs: bool = False, walks: int = 1
) -> Tensor:
    """Sample a row and a column in [0, side) for E epochs and N examples; shape is (E, N, side). [E,N,2] (§3)"""
    epochs, count, side = shape
    if in_pairs:
        first = sample_positions(generator, (-(-epochs // 2), count, side), sampling, walks=walks)
        pairs = first.repeat_interleave(2, 0)
        pairs[1::2] = side - 1 - first
        return pairs[:epochs]
    if sampling == "random":
        return torch.randint(side, (epochs, count, 2), generator=generator, device=generator.device)
    cycles: list[Tensor] = []
    while sum(map(len, cycles)) < epochs:
        if sampling == "low-discrepancy":
            start = torch.randint(side, (1, count, 2), generator=generator, device=generator.device)
            cells = (start + even_cells(side).to(generator.device)[:, None]) % side
        else:
            numbers = torch.rand(side * side, count, generator=generator, device=generator.device).argsort(0)
            cells = torch.stack([numbers // side, numbers % side], -1)
        cycles += [cells] * walks
    return torch.cat(cycles)[:epochs]


def even_cells(side: int) -> Tensor:
    """List all cells of a square, each the first that leaves the least wrap-around discrepancy. [side^2,2] (§3)"""
    cells = torch.cartesian_prod(torch.arange(side), torch.arange(side))
    distance = (cells[:, None] - cells[None]).abs()
    # The discrepancy sums products of 3/2 - d (1 - d) over all pairs; in whole numbers, 2 side^2 times as much.
    pairs = (3 * side**2 - 2 * distance * (side - distance)).prod(-1)
    chosen = [0]
    while len(chosen) < len(cells):
        added = pairs[chosen].sum(0)
        added[chosen] = torch.iinfo(added.dtype).max
        chosen.append(int(added.argmin()))
    return cells[chosen]


def _sample_order(recipe: Recipe, epochs: int, generator: torch.Generator) -> Tensor:
    count, device = recipe.train_examples, generator.device

    def permutations(number: int) -> Tensor:
        return torch.stack([torch.randperm(count, generator=generator, device=device) for _ in range(number)])

    match recipe.augmentation.order:
        case "reshuffle":
            return permutations(epochs)
        case "flip-flop":
            forth = permutations(-(-epochs // 2)).repeat_interleave(2, 0)
            forth[1::2] = forth[1::2].flip(1)
            return forth[:epochs]
        case "replacement":
            return torch.randint(count, (epochs, count), generator=generator, device=device)
    return torch.arange(count, device=device).expand(epochs, count)
