"""What 94-hiverge adds to 94-muon, in PyTorch: jitter, fewer rescalings, views for some images. (§3, §4.6, §5)"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from airjax.recipes.augmentation import Tta
from airjax.recipes.optimizer_muon import Muon


def jitter(images: Tensor, changes: Tensor) -> Tensor:
    """Change the brightness and the contrast of normalised images. changes [N,2]: summand and factor. (§3)"""
    summand, factor = changes.to(images).view(-1, 2, 1, 1, 1).unbind(1)
    return (images + summand) * factor


def sample_jitter(brightness: float, contrast: float, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Sample changes [E,N,2] for `jitter` in E epochs over N examples. (§3)"""
    between = 2 * torch.rand(*shape, 2, generator=generator, device=generator.device) - 1
    return between * between.new_tensor([brightness, contrast]) + between.new_tensor([0.0, 1.0])


class Rescaling:
    """Say of each step, in order, whether kernels are rescaled: when enough have gone by since the last. (§4.6)"""

    def __init__(self, recipe: Muon, num_steps: int) -> None:
        self.every, self.growth, self.num_steps = recipe.renormalize_every, recipe.renormalize_growth, num_steps
        self.step = self.since = 0

    def due(self) -> bool:
        """Go on to the next step and say whether it rescales."""
        self.step, self.since = self.step + 1, self.since + 1
        if self.since < math.floor(self.every + self.growth * self.step / self.num_steps):
            return False
        self.since = 0
        return True


def select_views(
    evaluation: Tta, images: Tensor, plain: Callable[[Tensor], Tensor], full: Callable[[Tensor], Tensor]
) -> Tensor:
    """Logits [N,10] of images [N,...]: of plain views, and of all views where the plain one decides least. (§5)"""
    logits = plain(images)
    confidence = logits.softmax(1).amax(1)
    chosen = confidence.topk(evaluation.num_selected(len(images)), largest=False).indices
    return logits.index_copy(0, chosen, full(images[chosen]))
