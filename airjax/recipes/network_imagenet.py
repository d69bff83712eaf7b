"""ResNet-18 for ImageNet, with blurred strided convolutions: its shape and its cost. (Table 3)"""

from dataclasses import dataclass

from airjax.recipes.inputs import Inputs
from airjax.recipes.network_resnet import RANGES, BlockShape, ResidualNet, block_macs, block_params, stage_shapes
from airjax.utils.fields import check_fields

STEM = 7  # rows and columns of the first kernel
LEAST_BLURRED = 16  # input channels from which on a strided convolution is blurred


@dataclass(frozen=True)
class ImageNetResNet18(ResidualNet):
    """A 7x7 stem of stride 2, a 3x3 max-pool of stride 2, four stages of two residual blocks, a pool, a linear head.

    That is torchvision's resnet18. With blur, a fixed [1 2 1] x [1 2 1] / 16 filter comes before every strided
    convolution with at least 16 input channels, as in FFCV's ImageNet training: before both of the first block of
    stages 2 to 4.
    """

    widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    """Channels of the four stages; the stem has those of the first."""
    blur: bool = True
    """Whether strided convolutions see a blurred image."""
    batchnorm_momentum: float = 0.9
    """Fraction of the old running statistics that BatchNorm keeps at each step."""
    batchnorm_epsilon: float = 1e-5
    """Added to the variance in BatchNorm."""
    batchnorm_groups: int = 1
    """Equal parts of a batch that BatchNorm normalises each by its own statistics; 1: all examples together."""

    def __post_init__(self) -> None:
        check_fields(self, RANGES)

    def blocks(self, inputs: Inputs) -> list[BlockShape]:
        """List the blocks in order."""
        shapes = stage_shapes(self.widths, _halved(_halved(inputs.image_size)))
        return [
            shape._replace(blurred=self.blur and shape.stride > 1 and shape.inputs >= LEAST_BLURRED) for shape in shapes
        ]

    def num_params(self, inputs: Inputs) -> int:
        """Count the parameters: kernels, scale and bias of every BatchNorm, the head with its bias."""
        stem = (STEM**2 * inputs.channels + 2) * self.widths[0]
        head = (self.widths[-1] + 1) * inputs.num_classes
        return stem + head + sum(block_params(block) for block in self.blocks(inputs))

    def forward_macs(self, inputs: Inputs) -> int:
        """Count the multiply-accumulates of one image's forward pass: of convolutions, of the head, and of blurs.

        A blur counts as a 3x3 convolution of single channels; the two convolutions behind it share it.
        """
        stem = _halved(inputs.image_size) ** 2 * STEM**2 * inputs.channels * self.widths[0]
        blocks = self.blocks(inputs)
        sizes = [_halved(_halved(inputs.image_size)), *(block.size for block in blocks[:-1])]  # before each block
        blurs = sum(9 * size**2 * block.inputs for size, block in zip(sizes, blocks, strict=True) if block.blurred)
        return stem + self.widths[-1] * inputs.num_classes + blurs + sum(block_macs(block) for block in blocks)


def _halved(size: int) -> int:
    # A stride of 2 rounds up.
    return -(-size // 2)
