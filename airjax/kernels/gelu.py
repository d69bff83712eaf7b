"""The exact GELU. (§1)"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from airjax.kernels.reductions import at_least_float32


def gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Compute the exact GELU, x * Phi(x), not its tanh approximation; Phi from erf, as in torch.

    jax.nn.gelu uses erfc, which stays accurate at large negative x and costs more (docs/performance.md, "What was
    tried").
    """
    with jax.named_scope("gelu"):
        out: Any = _gelu(x)
    return out


@jax.custom_vjp
def _gelu(x: Array) -> Array:
    exact = at_least_float32(x)
    return (exact * _normal_cdf(exact)).astype(x.dtype)


def _gelu_forward(x: Array) -> tuple[Any, Any]:
    return _gelu(x), x


# On a CPU the step of `mini` takes 1.05 times as long with the gradient that JAX derives, that of 94 1.01 times
# (benchmarks/results/ablation.jsonl, AMD EPYC; on an Intel Xeon 0.96 and 0.98). A GPU's program is the same.
def _gelu_backward(x: Array, cotangent: Array) -> tuple[Array]:
    exact = at_least_float32(x)
    density = jnp.exp(-0.5 * exact * exact) * (2 * math.pi) ** -0.5
    return ((at_least_float32(cotangent) * (_normal_cdf(exact) + exact * density)).astype(x.dtype),)


_gelu.defvjp(_gelu_forward, _gelu_backward)


def _normal_cdf(x: Array) -> Array:
    return 0.5 + 0.5 * lax.erf(x * 0.5**0.5)
