"""The airbench network as a Flax module. (§1)"""

import math

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float, Key

from airjax.kernels.backend import Backend, Ops, Precision
from airjax.kernels.pool import mean_pool
from airjax.nn.layers import BatchNorm, bias_uniform, default_uniform, drawing_dtype, head_product, initial_law
from airjax.recipes.inputs import Inputs
from airjax.recipes.network import PATCH, AirbenchNet


class Airbench(nn.Module):
    """The network: normalised images in the compute dtype -> logits of l classes in the statistics dtype.

    Every intermediate is sown under its own name, for comparison layer by layer; that costs nothing unless requested.
    """

    network: AirbenchNet
    inputs: Inputs
    backend: Backend

    def setup(self) -> None:
        network, precision, ops = self.network, self.backend.precision, self.backend.ops
        self.whiten = FirstConv(network, precision, ops, network.first_width(self.inputs))
        for number, width in enumerate(network.widths, start=1):
            setattr(self, f"block{number}", Block(network, precision, ops, width))
        law = initial_law(self, unit_uniform if network.unit_head else default_uniform)
        self.head = self.param("head", law, (network.widths[-1], self.inputs.num_classes), precision.params)

    def __call__(self, images: Float[Array, "n h w c"], *, train: bool) -> Float[Array, "n l"]:
        return self.classify(self.patches(images), train=train)

    def patches(self, images: Float[Array, "n h w c"]) -> Float[Array, "n h-1 w-1 _"]:
        """Return the activations of the first layer, each of which depends on 2x2 pixels and on nothing else."""
        x = self.whiten(images)
        self.sow("intermediates", "whiten_conv", x)
        return self.backend.ops.gelu(x)

    def classify(self, x: Float[Array, "n h w _"], *, train: bool) -> Float[Array, "n l"]:
        """Return the logits of images from their `patches`."""
        for number in range(1, len(self.network.widths) + 1):
            x = getattr(self, f"block{number}")(x, train)
        x = self.pool_all(x)
        self.sow("intermediates", "features", x)
        return head_product(x, self.head, self.backend.precision) * self.network.logit_scale

    def pool_all(self, x: Float[Array, "n h w c"]) -> Float[Array, "n c"]:
        """Pool whatever pixels there are, which lets the head take images of any size."""
        if self.network.final_pool == "mean":
            return mean_pool(x)
        return self.backend.ops.max_pool(x, x.shape[1]).reshape(x.shape[0], -1)


class FirstConv(nn.Module):
    """The 2x2 convolution from pixels to patch features: frozen whitening filters, or trained as usual."""

    network: AirbenchNet
    precision: Precision
    ops: Ops
    width: int

    @nn.compact
    def __call__(self, images: Float[Array, "n h w c"]) -> Float[Array, "n h-1 w-1 _"]:
        shape, dtype = (PATCH, PATCH, images.shape[-1], self.width), self.precision.params
        if self.network.whitening is not None:
            kernel = self.variable("frozen", "kernel", jnp.zeros, shape, dtype).value
        else:
            kernel = self.param("kernel", initial_law(self, default_uniform), shape, dtype)
        x = self.ops.conv_first(images, kernel.astype(self.precision.compute))
        if self.network.whiten_bias:
            # Without whitening this is an ordinary convolution, whose bias has the default law of its weights.
            random = self.network.whitening is None or self.network.whiten_bias_random
            law = initial_law(self, bias_uniform(fan_in=math.prod(shape[:-1])) if random else nn.initializers.zeros)
            bias = self.param("bias", law, (self.width,), dtype)
            x = self.ops.add_bias(x, bias)
        return x


class Block(nn.Module):
    """conv, pool, BatchNorm, activation, then one or two more of the same without a pool, at the pooled size."""

    network: AirbenchNet
    precision: Precision
    ops: Ops
    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool) -> Float[Array, "n h//2 w//2 _"]:
        ops = self.ops
        x = ops.conv_to_pool(x, self.kernel(1, x.shape[-1]))
        self.sow("intermediates", "to_pool", x)
        x = skipped = self.norm_and_activate(1, x, train, pooled=True)
        last = self.network.convs_per_block
        for number in range(2, last + 1):
            x = ops.conv_same(x, self.kernel(number, self.width))
            if number == last and self.network.residual == "before-activation":
                x = self.activate(self.norm(number)(x, train) + skipped)
            else:
                x = self.norm_and_activate(number, x, train)
        if self.network.residual == "after-activation":
            x = x + skipped
        self.sow("intermediates", "output", x)
        return x

    def norm_and_activate(
        self, number: int, x: Float[Array, "n h w c"], train: bool, *, pooled: bool = False
    ) -> Float[Array, "n _ _ c"]:
        ops, norm = self.ops, self.norm(number)
        if train and ops.norm_gelu is not None and norm.groups == 1 and self.network.activation == "gelu":
            fused = ops.norm_gelu
            return norm(x, train, lambda x, bias, epsilon: fused(x, bias, epsilon, pooled))
        return self.activate(norm(ops.max_pool(x, 2) if pooled else x, train))

    def activate(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        return self.ops.silu(x) if self.network.activation == "silu" else self.ops.gelu(x)

    def kernel(self, number: int, inputs: int) -> Float[Array, "3 3 i o"]:
        law = initial_law(self, dirac_uniform if self.network.dirac else default_uniform)
        kernel = self.param(f"conv{number}", law, (3, 3, inputs, self.width), self.precision.params)
        return kernel.astype(self.precision.compute)

    def norm(self, number: int) -> BatchNorm:
        network, precision = self.network, self.precision
        params, running = (precision.params, precision.compute) if network.batchnorm_half else (None, None)
        momentum, epsilon, name = network.batchnorm_momentum, network.batchnorm_epsilon, f"norm{number}"
        how = {"params": params, "running": running, "groups": network.batchnorm_groups}
        return BatchNorm(momentum, epsilon, precision.statistics, self.ops, **how, name=name)


def dirac_uniform(key: Key[Array, ""], shape: tuple[int, ...], dtype: DTypeLike) -> Float[Array, "rows cols i o"]:
    """Sample a kernel whose first i filters pass their channel through; the others follow the default law. (§1)"""
    height, width, inputs, outputs = shape
    passed = min(inputs, outputs)
    kernel = default_uniform(key, shape, dtype).at[..., :passed].set(0)
    diagonal = jnp.arange(passed)
    return kernel.at[height // 2, width // 2, diagonal, diagonal].set(1)


def unit_uniform(key: Key[Array, ""], shape: tuple[int, ...], dtype: DTypeLike) -> Float[Array, "i o"]:
    """Sample weights by the default law, divided by their standard deviation over the whole array. (§1)"""
    kernel = default_uniform(key, shape, drawing_dtype(dtype))
    return (kernel / jnp.std(kernel, ddof=1)).astype(dtype)
