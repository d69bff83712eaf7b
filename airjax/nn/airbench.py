"""The network as a Flax module: the only file that imports flax. (§1)"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike

from airjax.kernels.layers import (
    Convolution,
    add_bias,
    batch_norm,
    conv,
    conv_same,
    conv_to_pool,
    gelu,
    max_pool,
    normalize_channels,
)
from airjax.recipes.precision import Precision, precision_of
from airjax.recipes.recipe import CLASSES, IMAGE_SIZE, WHITEN_KERNEL, WHITEN_WIDTH, Recipe
from airjax.utils.seeds import fixed_algorithm

Variables = dict[str, Any]  # "params", "frozen" (whitening filters) and "batch_stats" (running statistics)


class Network(nn.Module):
    """images [N,32,32,3], normalised, in the compute dtype -> logits [N,10] in the statistics dtype.

    Every intermediate is sown under its own name, for layer-by-layer comparison; that costs nothing unless asked for.
    """

    recipe: Recipe
    convolution: Convolution = "native"

    @nn.compact
    def __call__(self, images: Array, *, train: bool) -> Array:
        recipe, precision = self.recipe, precision_of(self.recipe)
        x = FirstConv(recipe, precision, self.convolution, name="whiten")(images)
        self.sow("intermediates", "whiten_conv", x)
        x = gelu(x)
        for number, width in enumerate(recipe.widths, start=1):
            x = Block(recipe, precision, self.convolution, width, name=f"block{number}")(x, train)
        x = max_pool(x, 3).reshape(x.shape[0], -1)
        self.sow("intermediates", "features", x)
        kernel = self.param("head", default_uniform, (x.shape[-1], CLASSES), precision.params)
        logits = lax.dot(
            x,
            kernel.astype(precision.compute),
            precision=lax.Precision.HIGHEST,
            preferred_element_type=jnp.dtype(precision.statistics),
        )
        return logits * recipe.logit_scale


class FirstConv(nn.Module):
    """The 2x2 convolution from pixels to patch features: frozen whitening filters, or trained as usual."""

    recipe: Recipe
    precision: Precision
    convolution: Convolution

    @nn.compact
    def __call__(self, images: Array) -> Array:
        shape, dtype = (WHITEN_KERNEL, WHITEN_KERNEL, images.shape[-1], WHITEN_WIDTH), self.precision.params
        if self.recipe.whiten:
            kernel = self.variable("frozen", "kernel", jnp.zeros, shape, dtype).value
        else:
            kernel = self.param("kernel", default_uniform, shape, dtype)
        x = conv(images, kernel.astype(self.precision.compute), ((0, 0), (0, 0)), self.convolution)
        if self.recipe.whiten_bias:
            # Without whitening this is an ordinary convolution, whose bias has its weights' default law.
            initial = nn.initializers.zeros if self.recipe.whiten else bias_uniform(fan_in=math.prod(shape[:-1]))
            bias = self.param("bias", initial, (WHITEN_WIDTH,), dtype)
            x = add_bias(x, bias)
        return x


class Block(nn.Module):
    """conv, pool, BatchNorm, GELU, then one or two more of conv, BatchNorm, GELU at the pooled size."""

    recipe: Recipe
    precision: Precision
    convolution: Convolution
    width: int

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        x = conv_to_pool(x, self.kernel(1, x.shape[-1]), self.convolution)
        self.sow("intermediates", "to_pool", x)
        x = skipped = gelu(self.norm(1)(max_pool(x, 2), train))
        last = self.recipe.convs_per_block
        for number in range(2, last + 1):
            x = self.norm(number)(conv_same(x, self.kernel(number, self.width), self.convolution), train)
            if number == last and self.recipe.residual == "before-activation":
                x = x + skipped
            x = gelu(x)
        if self.recipe.residual == "after-activation":
            x = x + skipped
        self.sow("intermediates", "output", x)
        return x

    def kernel(self, number: int, inputs: int) -> Array:
        initial = dirac_uniform if self.recipe.dirac else default_uniform
        kernel = self.param(f"conv{number}", initial, (3, 3, inputs, self.width), self.precision.params)
        return kernel.astype(self.precision.compute)

    def norm(self, number: int) -> "BatchNorm":
        recipe = self.recipe
        return BatchNorm(
            recipe.batchnorm_momentum, recipe.batchnorm_epsilon, self.precision.statistics, name=f"norm{number}"
        )


class BatchNorm(nn.Module):
    """BatchNorm with a trained bias and no scale, whose running variance is the unbiased one, as in torch. (§1)"""

    momentum: float  # fraction of the old running statistics that is kept
    epsilon: float
    dtype: DTypeLike  # of the statistics and of the arithmetic; the output has the input's dtype

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        features = x.shape[-1]
        bias = self.param("bias", nn.initializers.zeros, (features,), self.dtype)
        mean = self.variable("batch_stats", "mean", jnp.zeros, (features,), self.dtype)
        variance = self.variable("batch_stats", "var", jnp.ones, (features,), self.dtype)
        if not train:
            return normalize_channels(x, mean.value, variance.value, bias, self.epsilon)
        normalized, batch_mean, batch_variance = batch_norm(x, bias, self.epsilon)
        count = x.size // features
        mean.value = self.momentum * mean.value + (1 - self.momentum) * batch_mean
        variance.value = self.momentum * variance.value + (1 - self.momentum) * (batch_variance * (count / (count - 1)))
        return normalized


def default_uniform(key: Array, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """torch's default law for weights: uniform on +-1/sqrt(fan_in); fan_in is the product of all axes but the last."""
    return bias_uniform(fan_in=math.prod(shape[:-1]))(key, shape, dtype)


def bias_uniform(fan_in: int) -> nn.initializers.Initializer:
    """Uniform on +-1/sqrt(fan_in)."""

    def initial(key: Array, shape: Any, dtype: Any) -> Array:
        # Drawn in float32 at least: a half-precision uniform has 2^10 values.
        draw_dtype = jnp.float64 if dtype == jnp.float64 else jnp.float32
        return jax.random.uniform(key, shape, draw_dtype, -(fan_in**-0.5), fan_in**-0.5).astype(dtype)

    return initial


def dirac_uniform(key: Array, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """The first input-many filters pass their channel through; the others follow the default law. shape HWIO. (§1)"""
    height, width, inputs, outputs = shape
    passed = min(inputs, outputs)
    kernel = default_uniform(key, shape, dtype).at[..., :passed].set(0)
    diagonal = jnp.arange(passed)
    return kernel.at[height // 2, width // 2, diagonal, diagonal].set(1)


def init_variables(recipe: Recipe, key: Array) -> Variables:
    """Freshly initialised variables. The whitening filters are zeros until they are set from data."""
    images = jnp.zeros((2, IMAGE_SIZE, IMAGE_SIZE, 3), precision_of(recipe).compute)
    with fixed_algorithm(), flax_defaults():
        return dict(Network(recipe).init(key, images, train=False))


@contextmanager
def flax_defaults() -> Iterator[None]:
    """Within it, Flax derives parameters' keys from their names, and returns dicts, as it does by default."""
    with flax.config.temp_flip_flag("fix_rng_separator", False), flax.config.temp_flip_flag("return_frozendict", False):
        yield


def apply_train(
    recipe: Recipe, variables: Variables, images: Array, convolution: Convolution = "native"
) -> tuple[Array, Variables]:
    """Logits [N,10] with batch statistics, and the updated running statistics."""
    with flax_defaults():
        logits, updated = Network(recipe, convolution).apply(variables, images, train=True, mutable=["batch_stats"])
    assert isinstance(logits, Array)
    return logits, dict(updated["batch_stats"])


def apply_eval(recipe: Recipe, variables: Variables, images: Array, convolution: Convolution = "native") -> Array:
    """Logits [N,10] with the running statistics."""
    logits = Network(recipe, convolution).apply(variables, images, train=False)
    assert isinstance(logits, Array)
    return logits
