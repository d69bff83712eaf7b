"""ResNet-18 for ImageNet in PyTorch; names and shapes of its tensors are torchvision's. (Table 3)"""

import numpy as np
import torch
from torch import Tensor, nn

from airjax.recipes.inputs import Inputs
from airjax.recipes.network_imagenet import LEAST_BLURRED, ImageNetResNet18
from airjax.recipes.network_resnet import BLOCKS
from parity.torch_resnet import BasicBlock, init_default, make_norm


class BlurredBlock(BasicBlock):
    """A block of stride 2, both of whose strided convolutions see the image blurred."""

    def forward(self, x: Tensor) -> Tensor:
        """x [N,I,H,W] -> [N,O,H/2,W/2], rounded up."""
        line = torch.tensor([1.0, 2.0, 1.0], dtype=x.dtype, device=x.device)
        kernel = (line[:, None] * line[None, :] / 16).expand(x.shape[1], 1, 3, 3)
        return super().forward(nn.functional.conv2d(x, kernel, padding=1, groups=x.shape[1]))


class ImageNetResNet(nn.Module):
    """A 7x7 stem of stride 2, a max-pool, four stages, the mean over all pixels, a linear layer."""

    def __init__(self, network: ImageNetResNet18, inputs: Inputs) -> None:
        super().__init__()
        channels = network.widths[0]
        self.conv1 = nn.Conv2d(inputs.channels, channels, 7, 2, padding=3, bias=False)
        self.bn1 = make_norm(network, channels)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        for stage, width in enumerate(network.widths, start=1):
            blocks = []
            for number in range(BLOCKS):
                stride = 2 if stage > 1 and number == 0 else 1
                kind = BlurredBlock if network.blur and stride > 1 and channels >= LEAST_BLURRED else BasicBlock
                blocks.append(kind(network, channels, width, stride))
                channels = width
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        self.fc = nn.Linear(channels, inputs.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images [N,C,H,W] -> logits [N,L]."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in (1, 2, 3, 4):
            x = self.get_submodule(f"layer{stage}")(x)
        return self.fc(x.mean((2, 3)))


@torch.no_grad()
def init_imagenet_resnet(network: nn.Module, generator: torch.Generator) -> None:
    """Draw the kernels by torchvision's law, of variance 2 / fan_out, and the head by torch's default, in place."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            # Drawn in single precision on the generator's device, whatever the network has.
            weight = torch.empty(module.weight.shape, device=generator.device)
            module.weight.copy_(
                nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu", generator=generator)
            )
    init_default(network.get_submodule("fc"), generator)


def resolution_at(epoch: int, start: float, end: float) -> int:
    """Height and width of the training images in an epoch, in pixels, as FFCV interpolates them. (§9)"""
    size = np.interp(epoch, [start, end], [160, 192])
    return int(np.round(size / 32)) * 32


def rate_at(step: int, steps_per_epoch: int, epochs: float) -> float:
    """Learning rate of a 0-based step as FFCV interpolates it. (§9)"""
    return float(np.interp(step / steps_per_epoch, [0, 2, epochs], [1e-4 * 0.5, 0.5, 0]))


def normalized(pixels: Tensor, mirrors: Tensor, dtype: torch.dtype) -> Tensor:
    """Bytes [N,H,W,C] -> normalised images [N,C,H,W], of which some are mirrored. (§9)"""
    mean, std = (torch.tensor(v, dtype=dtype) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    images = (pixels.to(dtype) / 255 - mean) / std
    return torch.where(mirrors[:, None, None, None], images.flip(2), images).permute(0, 3, 1, 2)
