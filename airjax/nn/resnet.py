"""ResNet-18 for small images as a Flax module. (§7)"""

import flax.linen as nn
from jax import Array
from jaxtyping import Float

from airjax.kernels.backend import Backend
from airjax.kernels.convolution import SAME, VALID
from airjax.kernels.pool import blur, mean_pool
from airjax.nn.layers import BatchNorm, bias_uniform, default_uniform, head_product, initial_law
from airjax.recipes.inputs import Inputs
from airjax.recipes.network_imagenet import ImageNetResNet18
from airjax.recipes.network_resnet import BlockShape, ResNet18


class ResNet(nn.Module):
    """The network: normalised images in the compute dtype -> logits of l classes in the statistics dtype.

    Every intermediate is sown under its own name, for comparison layer by layer; that costs nothing unless requested.
    """

    network: ResNet18
    inputs: Inputs
    backend: Backend

    @nn.compact
    def __call__(self, images: Float[Array, "n h w c"], *, train: bool) -> Float[Array, "n l"]:
        precision, ops = self.backend.precision, self.backend.ops
        law = initial_law(self, default_uniform)
        kernel = self.param("conv", law, (3, 3, images.shape[-1], self.network.widths[0]), precision.params)
        x = ops.conv_same(images, kernel.astype(precision.compute))
        x = ops.relu(make_norm(self.network, self.backend, "norm")(x, train))
        for shape in self.network.blocks(self.inputs):
            name = f"stage{shape.stage}_block{shape.number}"
            x = ResidualBlock(self.network, self.backend, shape, name=name)(x, train)
        x = mean_pool(x)
        self.sow("intermediates", "features", x)
        return Head(self.backend, self.inputs.num_classes, name="head")(x)


class ResidualBlock(nn.Module):
    """Two of 3x3 convolution and BatchNorm, the first with the block's stride, added to the block's input.

    Where the shape changes, the input goes through a strided 1x1 convolution and a BatchNorm first. ReLU comes after
    the first BatchNorm and after the addition. In a blurred shape all of it sees the input blurred.
    """

    network: ResNet18 | ImageNetResNet18
    backend: Backend
    shape: BlockShape
    law: nn.initializers.Initializer = default_uniform  # of its kernels

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool) -> Float[Array, "n _ _ o"]:
        ops, stride, outputs = self.backend.ops, self.shape.stride, self.shape.outputs
        if self.shape.blurred:
            x = blur(x)
        skipped = x
        x = ops.conv(x, self.kernel("conv1", 3, self.shape.inputs), SAME, stride=stride)
        x = ops.relu(make_norm(self.network, self.backend, "norm1")(x, train))
        x = ops.conv_same(x, self.kernel("conv2", 3, outputs))
        x = make_norm(self.network, self.backend, "norm2")(x, train)
        if self.shape.projects:
            skipped = ops.conv(skipped, self.kernel("shortcut", 1, self.shape.inputs), VALID, stride=stride)
            skipped = make_norm(self.network, self.backend, "norm_shortcut")(skipped, train)
        x = ops.relu(x + skipped)
        self.sow("intermediates", "output", x)
        return x

    def kernel(self, name: str, size: int, inputs: int) -> Float[Array, "k k i o"]:
        precision = self.backend.precision
        law, shape = initial_law(self, self.law), (size, size, inputs, self.shape.outputs)
        kernel = self.param(name, law, shape, precision.params)
        return kernel.astype(precision.compute)


class Head(nn.Module):
    """The linear layer with a bias; its products are summed in the statistics dtype."""

    backend: Backend
    num_classes: int

    @nn.compact
    def __call__(self, x: Float[Array, "n c"]) -> Float[Array, "n l"]:
        precision, features = self.backend.precision, x.shape[-1]
        kernel = self.param(
            "kernel", initial_law(self, default_uniform), (features, self.num_classes), precision.params
        )
        bias = self.param("bias", initial_law(self, bias_uniform(features)), (self.num_classes,), precision.params)
        return head_product(x, kernel, precision) + bias.astype(precision.statistics)[None, :]


def make_norm(network: ResNet18 | ImageNetResNet18, backend: Backend, name: str) -> BatchNorm:
    """Return a BatchNorm with scale and bias, as a submodule of that name."""
    momentum, epsilon, groups = network.batchnorm_momentum, network.batchnorm_epsilon, network.batchnorm_groups
    dtype = backend.precision.statistics
    return BatchNorm(momentum, epsilon, dtype, backend.ops, scaled=True, groups=groups, name=name)
