"""The networks of airbench: their shapes, their initialisation, their cost; and which kinds of networks there are."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from airjax.recipes.inputs import Inputs
from airjax.recipes.network_imagenet import ImageNetResNet18
from airjax.recipes.network_resnet import ResNet18
from airjax.recipes.ranges import CHANNELS, GROUPS, above, at_least, below, between
from airjax.utils.fields import Range, check_fields

Residual = Literal["none", "before-activation", "after-activation"]
Activation = Literal["gelu", "silu"]
FinalPool = Literal["max", "mean"]

PATCH = 2  # pixels: height and width of the first convolution's kernel


_WHITENING_RANGES: dict[str, Range] = {
    "whiten_examples": at_least(1, "examples"),
    "whiten_epsilon": above(0, 1),
}
_RANGES: dict[str, Range] = {
    "widths": CHANNELS,
    "convs_per_block": between(2, 3),
    "logit_scale": above(0, 1000),
    "batchnorm_momentum": below(0, 1),
    "batchnorm_epsilon": above(0, 1),
    "batchnorm_groups": GROUPS,
    "whiten_bias_epochs": between(0, 10_000, " epochs"),
}


class ConvShape(NamedTuple):
    """One 3x3 convolution: channels in and out, and the side of its output in pixels."""

    inputs: int
    outputs: int
    size: int


@dataclass(frozen=True)
class Whitening:
    """Filters that whiten the patches of the training images, computed before the first step and frozen. (§2)"""

    whiten_examples: int = 5000
    """Training examples whose patches the whitening filters are computed from."""
    whiten_epsilon: float = 5e-4
    """Added to the eigenvalues of the patches' second moment before the inverse square root."""
    whiten_ascending: bool = False
    """Order the filters by ascending eigenvalue instead of descending."""

    def __post_init__(self) -> None:
        check_fields(self, _WHITENING_RANGES)


@dataclass(frozen=True)
class AirbenchNet:
    """A convolution of 2x2 patches, three blocks of 3x3 convolutions, and a linear head. The defaults are 94's. (§1)"""

    widths: tuple[int, int, int] = (64, 256, 256)
    """Channels of the three blocks."""
    convs_per_block: int = 2
    """3x3 convolutions in each block, 2 or 3."""
    residual: Residual = "none"
    """Add the first convolution's output to the last one's, before or after the last activation."""
    activation: Activation = "gelu"
    """Activation of the blocks: GELU or SiLU. What follows the first convolution is GELU in either case."""
    logit_scale: float = 1 / 9
    """Factor on the logits."""
    batchnorm_momentum: float = 0.6
    """Fraction of the old running statistics that BatchNorm keeps at each step."""
    batchnorm_epsilon: float = 1e-12
    """Added to the variance in BatchNorm."""
    batchnorm_half: bool = False
    """Keep BatchNorm's running statistics in half precision in float16 and bfloat16, and in float16 its bias, too."""
    batchnorm_groups: int = 1
    """Equal parts of a batch that BatchNorm normalises each by its own statistics; 1: all examples together."""
    whitening: Whitening | None = Whitening()
    """Whitening filters as the first convolution; None: it starts as usual and is trained."""
    whiten_bias: bool = True
    """Give the first convolution a bias."""
    whiten_bias_random: bool = False
    """Start that bias uniform on +-1/sqrt(fan_in), as without whitening it always does, instead of at zero."""
    whiten_bias_epochs: float | None = 3.0
    """Epochs after which the first convolution's bias is frozen; None trains it to the end."""
    dirac: bool = True
    """Initialise the first input-many filters of every 3x3 convolution as the identity."""
    unit_head: bool = False
    """Divide the head's initial weights by their standard deviation."""
    final_pool: FinalPool = "max"
    """What the last pool takes of each channel, over all pixels that are left: their maximum, or their mean."""

    def __post_init__(self) -> None:
        check_fields(self, _RANGES)
        if self.residual != "none" and self.convs_per_block != 3:
            raise ValueError("residual needs convs-per-block 3: the connection skips the second and third convolution")

    @property
    def parameter_groups(self) -> tuple[str, ...]:
        """Return what `airjax.optim.groups.label_params` calls the parameters of this network."""
        return "other", "norm_bias", "whiten_bias"

    @property
    def freeze_epochs(self) -> float | None:
        """Epochs after which the first convolution's bias is frozen; None: all parameters train to the end."""
        return self.whiten_bias_epochs if self.whiten_bias else None

    @property
    def examples_at_start(self) -> int:
        """Training examples that the initialisation looks at: those whose patches are whitened."""
        return 0 if self.whitening is None else self.whitening.whiten_examples

    def require_inputs(self, inputs: Inputs) -> None:
        """Raise ValueError for images that are too small for the network."""
        if self.final_size(inputs) < 1:
            raise ValueError(
                f"the images have {inputs.image_size} pixels a side, but the network's three pools need at least 9"
            )

    def first_width(self, inputs: Inputs) -> int:
        """Channels of the first convolution: one for each eigenvector of the patches, and one for its negative."""
        return 2 * PATCH**2 * inputs.channels

    def final_size(self, inputs: Inputs) -> int:
        """Side of the last block's output in pixels, which the last pool takes whole."""
        return (inputs.image_size - PATCH + 1) // 8

    def conv_shapes(self, inputs: Inputs) -> list[ConvShape]:
        """List the 3x3 convolutions in order; the first of a block is followed by a 2x2 pool that drops an odd row."""
        size, width_in, shapes = inputs.image_size - PATCH + 1, self.first_width(inputs), []
        for width in self.widths:
            shapes.append(ConvShape(width_in, width, size))
            size //= 2
            shapes += [ConvShape(width, width, size)] * (self.convs_per_block - 1)
            width_in = width
        return shapes

    def num_params(self, inputs: Inputs) -> int:
        """Count the parameters, with the whitening filters and the BatchNorm biases (BatchNorm has no scale)."""
        shapes, first = self.conv_shapes(inputs), self.first_width(inputs)
        convs = sum(9 * shape.inputs * shape.outputs for shape in shapes)
        norms = sum(shape.outputs for shape in shapes)
        patches = PATCH**2 * inputs.channels * first + (first if self.whiten_bias else 0)
        return patches + convs + norms + self.widths[-1] * inputs.num_classes

    def forward_macs(self, inputs: Inputs) -> int:
        """Count the multiply-accumulates of one image's forward pass through the network as defined."""
        first = (inputs.image_size - PATCH + 1) ** 2 * PATCH**2 * inputs.channels * self.first_width(inputs)
        convs = sum(shape.size**2 * 9 * shape.inputs * shape.outputs for shape in self.conv_shapes(inputs))
        return first + convs + self.widths[-1] * inputs.num_classes


Network = AirbenchNet | ResNet18 | ImageNetResNet18
