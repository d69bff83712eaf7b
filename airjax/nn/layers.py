"""What networks have in common: BatchNorm, the head's product, and torch's default initialisation. (§1)"""

import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike
from jaxtyping import Float, Key

from airjax.kernels.backend import Ops, Precision

Law = Callable[[Key[Array, ""], tuple[int, ...], Any], Array]  # key, shape, dtype -> a parameter


class BatchNorm(nn.Module):
    """BatchNorm with a trained bias, whose running variance is the unbiased one, as in torch. (§1)"""

    momentum: float  # fraction of the old running statistics that is kept
    epsilon: float
    dtype: DTypeLike  # of the arithmetic; the output has the input's dtype
    ops: Ops
    scaled: bool = False  # has a trained scale, too, initially 1
    params: DTypeLike | None = None  # what bias and scale are kept in; None: dtype
    running: DTypeLike | None = None  # what the running statistics are kept in; None: dtype
    groups: int = 1  # equal parts of a batch, each with statistics of its own

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "n h w c"],
        train: bool,
        compute: Callable[[Array, Array, float], tuple[Array, Array, Array]] | None = None,
    ) -> Float[Array, "n _ _ c"]:
        """Normalise; compute, where it is given, takes the place of the ops' batch_norm in training."""
        features = x.shape[-1]
        params, running = self.params or self.dtype, self.running or self.dtype
        bias = self.param("bias", nn.initializers.zeros, (features,), params).astype(self.dtype)
        scale = (self.param("scale", nn.initializers.ones, (features,), params),) if self.scaled else ()
        scale = tuple(one.astype(self.dtype) for one in scale)
        mean = self.variable("batch_stats", "mean", jnp.zeros, (features,), running)
        variance = self.variable("batch_stats", "var", jnp.ones, (features,), running)
        old_mean, old_variance = mean.value.astype(self.dtype), variance.value.astype(self.dtype)
        if not train:
            return self.ops.normalize_channels(x, old_mean, old_variance, bias, self.epsilon, *scale)
        in_groups = {"groups": self.groups} if self.groups > 1 else {}
        normalize = compute or functools.partial(self.ops.batch_norm, **in_groups)
        normalized, batch_mean, batch_variance = normalize(x, bias, self.epsilon, *scale)
        count = normalized.size // features * self.ops.devices // self.groups
        keep, add = self.momentum, 1 - self.momentum
        mean.value = (keep * old_mean + add * batch_mean).astype(running)
        variance.value = (keep * old_variance + add * (batch_variance * (count / max(count - 1, 1)))).astype(running)
        return normalized


def head_product(x: Float[Array, "n c"], kernel: Float[Array, "c l"], precision: Precision) -> Float[Array, "n l"]:
    """Multiply features with the head's kernel; products are summed in the statistics dtype."""
    return lax.dot(
        x,
        kernel.astype(precision.compute),
        precision=lax.Precision.HIGHEST,
        preferred_element_type=jnp.dtype(precision.statistics),
    )


def initial_law(module: nn.Module, law: Law) -> Law:
    """Return a parameter's law while its module is initialised, and else zeros of its shape.

    Flax traces a law at every use of its parameter, to compare shapes; drawing costs far more to trace than zeros.
    """
    return law if module.is_initializing() else nn.initializers.zeros


def default_uniform(key: Key[Array, ""], shape: tuple[int, ...], dtype: DTypeLike) -> Float[Array, "..."]:
    """Sample torch's default law for weights: uniform on +-1/sqrt(fan_in), the product of all axes but the last."""
    return bias_uniform(fan_in=math.prod(shape[:-1]))(key, shape, dtype)


def kaiming_normal(key: Key[Array, ""], shape: tuple[int, ...], dtype: DTypeLike) -> Float[Array, "..."]:
    """Sample torchvision's law for a ResNet's kernels: normal with variance 2 / fan_out, the product of all axes but
    the inputs.
    """
    deviation = (2 / (math.prod(shape[:-2]) * shape[-1])) ** 0.5
    drawn = drawing_dtype(dtype)
    return (jax.random.normal(key, shape, drawn) * jnp.asarray(deviation, drawn)).astype(dtype)


def bias_uniform(fan_in: int) -> nn.initializers.Initializer:
    """Return an initialiser, uniform on +-1/sqrt(fan_in)."""

    def initial(key: Key[Array, ""], shape: Any, dtype: Any) -> Float[Array, "..."]:
        return jax.random.uniform(key, shape, drawing_dtype(dtype), -(fan_in**-0.5), fan_in**-0.5).astype(dtype)

    return initial


def drawing_dtype(dtype: DTypeLike) -> DTypeLike:
    """Return the dtype in which weights are drawn: float32 at least, for a half-precision uniform has 2^10 values."""
    return jnp.float64 if dtype == jnp.float64 else jnp.float32
