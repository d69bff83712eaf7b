"""ResNet-18 for small images in PyTorch; its state_dict has the key names of torchvision's ResNets. (§7)"""

import math

import torch
from torch import Tensor, nn

from airjax.recipes.network_imagenet import ImageNetResNet18
from airjax.recipes.network_resnet import BLOCKS, ResNet18
from airjax.recipes.recipe import Recipe


class BasicBlock(nn.Module):
    """Convolution, BatchNorm, ReLU, convolution, BatchNorm; then the input is added, and ReLU."""

    def __init__(self, network: ResNet18 | ImageNetResNet18, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = make_norm(network, outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = make_norm(network, outputs)
        self.relu2 = nn.ReLU()
        self.downsample = None
        if stride != 1 or inputs != outputs:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, make_norm(network, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """x [N,I,H,W] -> [N,O,H/stride,W/stride], rounded up."""
        skipped = x if self.downsample is None else self.downsample(x)
        inner = self.relu1(self.bn1(self.conv1(x)))
        return self.relu2(self.bn2(self.conv2(inner)) + skipped)


class ResNet(nn.Module):
    """A 3x3 stem of stride 1 without a pool, four stages, the mean over all pixels, a linear layer."""

    def __init__(self, network: ResNet18, channels: int, num_classes: int) -> None:
        super().__init__()
        inputs = network.widths[0]
        self.conv1 = nn.Conv2d(channels, inputs, 3, padding=1, bias=False)
        self.bn1 = make_norm(network, inputs)
        self.relu = nn.ReLU()
        for stage, width in enumerate(network.widths, start=1):
            strides = [1 if stage == 1 else 2] + [1] * (BLOCKS - 1)
            blocks = []
            for stride in strides:
                blocks.append(BasicBlock(network, inputs, width, stride))
                inputs = width
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        self.fc = nn.Linear(inputs, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images [N,C,H,W] -> logits [N,L]."""
        x = self.relu(self.bn1(self.conv1(x)))
        for stage in (1, 2, 3, 4):
            x = self.get_submodule(f"layer{stage}")(x)
        return self.fc(x.mean((2, 3)))


def make_norm(network: ResNet18 | ImageNetResNet18, features: int) -> nn.BatchNorm2d:
    """BatchNorm with a trained scale and bias; torch's own momentum is the fraction of the new batch."""
    return nn.BatchNorm2d(features, eps=network.batchnorm_epsilon, momentum=1 - network.batchnorm_momentum)


def build_resnet(recipe: Recipe, network: ResNet18) -> ResNet:
    """Build the network without its initialisation, in float32."""
    return ResNet(network, recipe.inputs.channels, recipe.inputs.num_classes)


@torch.no_grad()
def init_resnet(network: nn.Module, generator: torch.Generator) -> None:
    """Draw the weights of convolutions and of the linear layer by torch's default law, in place."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            init_default(module, generator)


@torch.no_grad()
def init_default(module: nn.Module, generator: torch.Generator) -> None:
    """Draw the weights of a convolution or of a linear layer, and its bias, by torch's default law, in place."""
    assert isinstance(module, nn.Conv2d | nn.Linear)
    # Drawn in single precision on the generator's device, whatever the network has.
    weight = torch.empty(module.weight.shape, device=generator.device)
    nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)
    module.weight.copy_(weight)
    if module.bias is not None:
        bound = weight[0].numel() ** -0.5
        bias = torch.empty(module.bias.shape, device=generator.device)
        module.bias.copy_(bias.uniform_(-bound, bound, generator=generator))
