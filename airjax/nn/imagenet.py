"""ResNet-18 for ImageNet as a Flax module. (Table 3)"""

import flax.linen as nn
from jax import Array
from jaxtyping import Float

from airjax.kernels.backend import Backend
from airjax.kernels.pool import mean_pool, overlapping_max_pool
from airjax.nn.layers import initial_law, kaiming_normal
from airjax.nn.resnet import Head, ResidualBlock, make_norm
from airjax.recipes.inputs import Inputs
from airjax.recipes.network_imagenet import STEM, ImageNetResNet18


class ImageNetResNet(nn.Module):
    """The network: normalised images in the compute dtype -> logits of l classes in the statistics dtype.

    It takes images of any size, as training at growing resolution needs; that of its inputs only counts operations.
    Kernels start with torchvision's law, the head with torch's default.
    """

    network: ImageNetResNet18
    inputs: Inputs
    backend: Backend

    @nn.compact
    def __call__(self, images: Float[Array, "n h w c"], *, train: bool) -> Float[Array, "n l"]:
        precision, ops, width = self.backend.precision, self.backend.ops, self.network.widths[0]
        law = initial_law(self, kaiming_normal)
        kernel = self.param("conv", law, (STEM, STEM, images.shape[-1], width), precision.params)
        x = ops.conv(images, kernel.astype(precision.compute), ((3, 3), (3, 3)), stride=2)
        x = ops.relu(make_norm(self.network, self.backend, "norm")(x, train))
        x = overlapping_max_pool(x)
        for shape in self.network.blocks(self.inputs):
            name = f"stage{shape.stage}_block{shape.number}"
            x = ResidualBlock(self.network, self.backend, shape, kaiming_normal, name=name)(x, train)
        x = mean_pool(x)
        self.sow("intermediates", "features", x)
        return Head(self.backend, self.inputs.num_classes, name="head")(x)
