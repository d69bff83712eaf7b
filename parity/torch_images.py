"""Images and draws -> images in PyTorch. Shapes: images [N,3,H,W], channels_last in memory. (§3, §5)"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from airjax.recipes.recipe import Recipe
from parity.torch_draws import TensorDraws
from parity.torch_hiverge import jitter

CIFAR_MEAN = (0.4914, 0.4822, 0.4465)  # per channel, of pixels in [0, 1]
CIFAR_STD = (0.2470, 0.2435, 0.2616)


def normalize(images: Tensor, dtype: torch.dtype) -> Tensor:
    """images [N,32,32,3] uint8 -> [N,3,32,32] of zero mean and unit variance per channel, computed in dtype. (§3)"""
    mean, std = (torch.tensor(c, dtype=dtype, device=images.device).view(1, 3, 1, 1) for c in (CIFAR_MEAN, CIFAR_STD))
    # The permuted view of channels-last pixels is channels_last already: nothing is copied.
    return (images.permute(0, 3, 1, 2).to(dtype) / 255 - mean) / std


def mirror_where(images: Tensor, mask: Tensor) -> Tensor:
    """Swap left and right of the images that mask [N] bool selects."""
    return torch.where(mask.view(-1, 1, 1, 1), images.flip(-1), images)


def reflect_pad(images: Tensor, pixels: int) -> Tensor:
    """Pad height and width by reflection, the edge not repeated."""
    return F.pad(images, (pixels,) * 4, "reflect")


def crop(images: Tensor, shifts: Tensor, size: int) -> Tensor:
    """Crop each image at its own place. shifts [N,2] int: top in [0, H-size], left in [0, W-size]."""
    window = torch.arange(size, device=images.device)
    rows, cols = (shifts.long()[:, axis, None] + window for axis in (0, 1))  # [N,size]
    number = torch.arange(len(images), device=images.device)
    # One gather, on the channels-last view, whose pixels are contiguous.
    pixels = images.permute(0, 2, 3, 1)[number[:, None, None], rows[:, :, None], cols[:, None, :]]
    return pixels.permute(0, 3, 1, 2)


def clipped_cutout(images: Tensor, centres: Tensor, size: int) -> Tensor:
    """Set a square around a pixel of each image to 0, clipped at the borders. centres [N,2]: row and column. (§3)"""
    height, half = images.shape[-1], size // 2
    mask = torch.ones(len(images), 1, height, height, dtype=torch.bool, device=images.device)
    first, last = (centres.long() - half).clamp(0, height), (centres.long() + half).clamp(0, height)
    for number, ((top, left), (bottom, right)) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        mask[number, :, top:bottom, left:right] = False
    return images.masked_fill(~mask, 0)


def cutout(images: Tensor, corners: Tensor, size: int) -> Tensor:
    """Set a square of each image to 0, the mean colour. corners [N,2] int: top and left. (§3)"""
    pixel = torch.arange(images.shape[-1], device=images.device)
    first = corners.long()[:, :, None]
    inside = (pixel >= first) & (pixel < first + size)  # [N,2,H]
    return images.masked_fill((inside[:, 0, :, None] & inside[:, 1, None, :])[:, None], 0)


def prepare_images(recipe: Recipe, images: Tensor, flips: Tensor, dtype: torch.dtype) -> Tensor:
    """Do what is done once per run: images [N,32,32,3] uint8 -> normalised, flipped, padded [N,3,H,W]. (§3)"""
    translate = recipe.augmentation.translate
    if translate and recipe.augmentation.padding == "zero":
        # Black pixels: padded before normalisation.
        images = F.pad(images, (0, 0, translate, translate, translate, translate))
        return mirror_where(normalize(images, dtype), flips)
    flipped = mirror_where(normalize(images, dtype), flips)
    return reflect_pad(flipped, translate) if translate else flipped


def augment_epoch(recipe: Recipe, prepared: Tensor, draws: TensorDraws, epoch: int) -> Tensor:
    """Do what is done every epoch: crop, mirror, jitter, cutout. The result is [N,3,32,32]. (§3)"""
    images = prepared
    if draws.shifts is not None:
        images = crop(images, draws.shifts[epoch], recipe.inputs.image_size)
    images = mirror_where(images, draws.mirrors[epoch])
    if draws.jitter is not None:
        images = jitter(images, draws.jitter[epoch])
    if draws.corners is not None:
        size, corners = recipe.augmentation.cutout, draws.corners[epoch].long()
        if recipe.augmentation.cutout_form == "clipped":
            images = clipped_cutout(images, corners + size // 2, size)
        else:
            images = cutout(images, corners, size)
    return images


def tta_views(
    images: Tensor, level: int, *, uniform: bool = False, mirrored: bool = True
) -> list[tuple[float, Tensor]]:
    """Return the weighted views of test-time augmentation: level 0, 1 or 2. The weights add up to 1. (§5)"""
    if uniform:
        views = tta_views(images, level, mirrored=mirrored)
        return [(1 / len(views), view) for _, view in views]
    if level > 0 and not mirrored:
        # Each view is followed by its mirror, which has the same weight.
        return [(2 * weight, view) for weight, view in tta_views(images, level)[::2]]
    if level == 0:
        return [(1.0, images)]
    if level == 1:
        return [(0.5, images), (0.5, images.flip(-1))]
    size = images.shape[-1]
    padded = reflect_pad(images, 1)
    corners = (padded[..., :size, :size], padded[..., 2:, 2:])
    return [
        (0.25, images),
        (0.25, images.flip(-1)),
        *((0.125, view) for corner in corners for view in (corner, corner.flip(-1))),
    ]
