"""Image sizes over time, the pool of any size, and the averaged tail in PyTorch. (§1, §3, §4.10)"""

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from airjax.recipes.recipe import Recipe
from parity.torch_optimizer import Lookahead


def image_size_at(recipe: Recipe, step: int) -> int:
    """Height and width of the images of the 0-based step, in pixels. (§3)"""
    if recipe.resolution is not None:
        stages = zip(recipe.resolution.curriculum_sizes, recipe.resolution.curriculum_epochs, strict=True)
        for size, end in stages:
            if step < round(end * recipe.steps_per_epoch):
                return size
    return recipe.inputs.image_size


def scale(images: Tensor, size: int, *, antialias: bool) -> Tensor:
    """Scale images [N,C,H,W] to [N,C,size,size] bilinearly. (§3)"""
    return F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False, antialias=antialias)


def scale_at(recipe: Recipe, images: Tensor, step: int) -> Tensor:
    """Scale images [N,C,H,W] to the size of the 0-based step; those that have it are returned as they are."""
    size = image_size_at(recipe, step)
    if recipe.resolution is None or images.shape[-1] == size:
        return images
    return scale(images, size, antialias=recipe.resolution.curriculum_antialias)


class GlobalMaxPool(nn.MaxPool2d):
    """Maximum over all pixels: [N,C,H,H] -> [N,C,1,1]."""

    def __init__(self) -> None:
        super().__init__(1)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 torch's own name
        """Pool one window, which is the whole image."""
        return F.max_pool2d(input, input.shape[-1])


class TailAverage:
    """The network's average with its past in the last steps. (§4.10)"""

    def __init__(self, recipe: Recipe, network: nn.Module) -> None:
        assert recipe.ending is not None
        self.tail, self.network = recipe.ending, network
        self.first = recipe.total_steps - self.tail.tail_steps - self.tail.tail_lead
        self.average = Lookahead(network)

    def update(self, steps_done: int) -> None:
        """Do what follows the step with that 1-based number, in place."""
        since = steps_done - self.first
        if since == 0:
            self.average = Lookahead(self.network)
        elif since > 0 and since % self.tail.tail_every == 0:
            self.average.sync(self.tail.tail_decay)
