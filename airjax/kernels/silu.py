"""SiLU. (§1)"""

import jax
from jax import Array
from jaxtyping import Float

from airjax.kernels.reductions import at_least_float32


def silu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Compute x times its logistic function, half precision in float32."""
    with jax.named_scope("silu"):
        return jax.nn.silu(at_least_float32(x)).astype(x.dtype)
