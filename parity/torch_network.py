"""The networks in PyTorch, channels_last; airbench's has the key names of the released package. (§1, §2)"""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from airjax.recipes.network import PATCH, AirbenchNet
from airjax.recipes.network_imagenet import ImageNetResNet18
from airjax.recipes.network_resnet import ResNet18
from airjax.recipes.recipe import Recipe
from parity.torch_curriculum import GlobalMaxPool
from parity.torch_imagenet import ImageNetResNet, init_imagenet_resnet
from parity.torch_resnet import build_resnet, init_resnet

DTYPES = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
}
HALF = (torch.float16, torch.bfloat16)


def dtype_of(recipe: Recipe, device: str | torch.device = "cpu") -> torch.dtype:
    """Type of weights and activations. auto is float16 on CUDA, as released, and float32 elsewhere."""
    name = recipe.precision
    if name == "auto":
        name = "float16" if torch.device(device).type == "cuda" else "float32"
    return DTYPES[name]


class BatchNorm(nn.BatchNorm2d):
    """BatchNorm with a trained bias and a fixed scale. momentum is the fraction of the OLD statistics kept. (§1)"""

    def __init__(self, features: int, momentum: float, epsilon: float) -> None:
        # torch's own momentum is the fraction of the new batch.
        super().__init__(features, eps=epsilon, momentum=1 - momentum)
        self.weight.requires_grad_(False)


class Block(nn.Module):
    """conv, pool, BatchNorm, activation, then one or two more of the same without a pool, at the pooled size. (§1)"""

    conv1: nn.Conv2d
    conv2: nn.Conv2d
    conv3: nn.Conv2d
    norm1: BatchNorm
    norm2: BatchNorm
    norm3: BatchNorm

    def __init__(self, network: AirbenchNet, inputs: int, width: int) -> None:
        super().__init__()
        self.residual, self.last = network.residual, network.convs_per_block
        self.pool = nn.MaxPool2d(2)
        for number in range(1, self.last + 1):
            conv = nn.Conv2d(inputs if number == 1 else width, width, 3, padding="same", bias=False)
            self.add_module(f"conv{number}", conv)
            self.add_module(f"norm{number}", BatchNorm(width, network.batchnorm_momentum, network.batchnorm_epsilon))
        self.activation = {"gelu": nn.GELU, "silu": nn.SiLU}[network.activation]()

    def forward(self, x: Tensor) -> Tensor:
        """x [N,I,H,W] -> [N,O,H//2,W//2]."""
        x = skipped = self.activation(self.norm1(self.pool(self.conv1(x))))
        x = self.norm2(self.conv2(x))
        if self.last == 3:
            x = self.norm3(self.conv3(self.activation(x)))
        if self.residual == "before-activation":
            return self.activation(x + skipped)
        x = self.activation(x)
        return x + skipped if self.residual == "after-activation" else x


class Scale(nn.Module):
    """Multiply by a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """x times the constant."""
        return x * self.factor


def build_network(recipe: Recipe, device: str | torch.device = "cpu") -> nn.Module:
    """Build the network without its initialisation: images [N,C,H,W] -> logits [N,L]. (§1, §7)"""
    if isinstance(recipe.network, ResNet18):
        network: nn.Module = build_resnet(recipe, recipe.network)
    elif isinstance(recipe.network, ImageNetResNet18):
        network = ImageNetResNet(recipe.network, recipe.inputs)
    else:
        network = _build_airbench(recipe, recipe.network)
    dtype = dtype_of(recipe, device)
    network = network.to(device, dtype)
    network = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    if dtype in HALF and not recipe.value_of("batchnorm_half"):
        # Only BatchNorm stays in single precision: there are no master weights. (§1)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.float()
    return network


def _build_airbench(recipe: Recipe, network: AirbenchNet) -> nn.Sequential:
    inputs = network.first_width(recipe.inputs)
    first = nn.Conv2d(recipe.inputs.channels, inputs, PATCH, bias=network.whiten_bias)
    first.weight.requires_grad_(network.whitening is None)
    blocks = []
    for width in network.widths:
        blocks.append(Block(network, inputs, width))
        inputs = width
    return nn.Sequential(
        first,
        nn.GELU(),
        *blocks,
        nn.AdaptiveAvgPool2d(1) if network.final_pool == "mean" else GlobalMaxPool(),
        nn.Flatten(),
        nn.Linear(inputs, recipe.inputs.num_classes, bias=False),
        Scale(network.logit_scale),
    )


@torch.no_grad()
def init_network(recipe: Recipe, generator: torch.Generator, device: str | torch.device = "cpu") -> nn.Module:
    """Return a freshly initialised network; a first convolution that is whitened is still to be. (§1, §7)"""
    network = build_network(recipe, device)
    if isinstance(recipe.network, ResNet18):
        init_resnet(network, generator)
    elif isinstance(recipe.network, ImageNetResNet18):
        init_imagenet_resnet(network, generator)
    else:
        _init_airbench(recipe.network, network, generator)
    return network


def _init_airbench(kind: AirbenchNet, network: nn.Module, generator: torch.Generator) -> None:
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            # Drawn in single precision on the generator's device, whatever the network has.
            weight = torch.empty(module.weight.shape, device=generator.device)
            nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)
            if kind.dirac and isinstance(module, nn.Conv2d) and name != "0":
                nn.init.dirac_(weight[: weight.shape[1]])
            if kind.unit_head and isinstance(module, nn.Linear):
                weight /= weight.std()
            module.weight.copy_(weight)
            if module.bias is not None:
                random = kind.whitening is None or kind.whiten_bias_random
                bound = weight[0].numel() ** -0.5 if random else 0.0
                bias = torch.empty(module.bias.shape, device=generator.device)
                module.bias.copy_(bias.uniform_(-bound, bound, generator=generator))


@torch.no_grad()
def whitening_filters(images: Tensor, epsilon: float, *, ascending: bool = False) -> Tensor:
    """Filters [8C,C,2,2] that whiten the patches of normalised images [N,C,H,W]. (§2)

    Eigenvectors of the uncentred second moment over sqrt(value + epsilon), by descending value or ascending, then their
    negatives.
    Each has the sign that makes its sum with weights 1, 1.7, 1.7^2, ... positive, counted by row, column, channel.
    """
    values, vectors = torch.linalg.eigh(second_moment(images))
    channels = images.shape[1]
    weights = (1.7 ** torch.arange(len(values)).to(vectors)).view(PATCH, PATCH, channels).permute(2, 0, 1)
    vectors = torch.where(weights.flatten() @ vectors < 0, -vectors, vectors)
    filters = (vectors / torch.sqrt(values + epsilon)).T
    filters = filters if ascending else filters.flip(0)
    return torch.cat([filters, -filters]).view(-1, channels, PATCH, PATCH)


@torch.no_grad()
def second_moment(images: Tensor) -> Tensor:
    """Uncentred second moment [12,12] of all overlapping 2x2 patches, ordered (channel, row, col). (§2)"""
    pixels = images if images.dtype == torch.float64 else images.float()
    patches = F.unfold(pixels, PATCH)  # [N,12,P]
    return torch.bmm(patches, patches.mT).mean(0) / patches.shape[2]
