"""ResNet-18 for small images: its shape and its cost. (§7)"""

from dataclasses import dataclass
from typing import NamedTuple

from airjax.recipes.inputs import Inputs
from airjax.recipes.ranges import CHANNELS, GROUPS, above, below
from airjax.utils.fields import Range, check_fields

BLOCKS = 2  # of two 3x3 convolutions each, in every stage

RANGES: dict[str, Range] = {
    "widths": CHANNELS,
    "batchnorm_momentum": below(0, 1),
    "batchnorm_epsilon": above(0, 1),
    "batchnorm_groups": GROUPS,
}


class BlockShape(NamedTuple):
    """One block: its place, its channels, and what its first convolution does to the image."""

    stage: int  # from 1
    number: int  # in its stage, from 1
    inputs: int
    outputs: int
    stride: int
    size: int  # side of its output in pixels
    blurred: bool = False  # whether its strided convolutions see a blurred image

    @property
    def projects(self) -> bool:
        """Say whether the shortcut is a 1x1 convolution, because the shape changes."""
        return self.stride > 1 or self.inputs != self.outputs


class ResidualNet:
    """A network of which nothing is frozen or computed from data, and that takes images of every size."""

    @property
    def parameter_groups(self) -> tuple[str, ...]:
        """Return what `airjax.optim.groups.label_params` calls the parameters of this network."""
        return "other", "norm_bias", "norm_scale"

    @property
    def freeze_epochs(self) -> float | None:
        """Epochs after which some parameters are frozen; None: all train to the end."""
        return None

    @property
    def examples_at_start(self) -> int:
        """Training examples that the initialisation looks at."""
        return 0

    def require_inputs(self, inputs: Inputs) -> None:
        """Accept every size: strides and pools round up, and the last pool takes what is left."""


@dataclass(frozen=True)
class ResNet18(ResidualNet):
    """A 3x3 stem without a pool, four stages of two residual blocks, an average pool, and a linear head. (§7)"""

    widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    """Channels of the four stages; the stem has those of the first."""
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
        return stage_shapes(self.widths, inputs.image_size)

    def num_params(self, inputs: Inputs) -> int:
        """Count the parameters: kernels, scale and bias of every BatchNorm, the head with its bias."""
        stem = 9 * inputs.channels * self.widths[0] + 2 * self.widths[0]
        head = (self.widths[-1] + 1) * inputs.num_classes
        return stem + head + sum(block_params(block) for block in self.blocks(inputs))

    def forward_macs(self, inputs: Inputs) -> int:
        """Count the multiply-accumulates of one image's forward pass, those of convolutions and of the head."""
        stem = inputs.image_size**2 * 9 * inputs.channels * self.widths[0]
        return stem + self.widths[-1] * inputs.num_classes + sum(block_macs(block) for block in self.blocks(inputs))


def stage_shapes(widths: tuple[int, ...], size: int) -> list[BlockShape]:
    """List the blocks of stages with those channels in order; size: side of what the first sees, in pixels."""
    channels, found = widths[0], []
    for stage, width in enumerate(widths, start=1):
        for number in range(1, BLOCKS + 1):
            stride = 2 if stage > 1 and number == 1 else 1
            size = -(-size // stride)
            found.append(BlockShape(stage, number, channels, width, stride, size))
            channels = width
    return found


def _kernels(block: BlockShape) -> int:
    shortcut = block.inputs * block.outputs if block.projects else 0
    return 9 * block.outputs * (block.inputs + block.outputs) + shortcut


def block_params(block: BlockShape) -> int:
    """Count the parameters of a block."""
    return _kernels(block) + 2 * block.outputs * (3 if block.projects else 2)


def block_macs(block: BlockShape) -> int:
    """Count the multiply-accumulates of a block's convolutions for one image."""
    return block.size**2 * _kernels(block)
