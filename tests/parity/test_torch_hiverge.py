"""BatchNorm in half precision against torch's own: in the precisions that the suite compares, it changes nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from airjax.kernels.backend import make_ops
from airjax.nn.layers import BatchNorm
from parity import torch_network

ROUNDING = 2.0**-10  # relative: float16's last bit


@pytest.mark.parametrize("train", [True, False])
def test_half_batchnorm_is_torch_s_module_in_float16(train: bool) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, (16, 6, 6, 4)).astype(np.float16)
    bias, mean, variance = (rng.uniform(0.5, 2, 4).astype(np.float16) for _ in range(3))
    theirs = torch_network.BatchNorm(4, 0.5566, 1e-12).half().train(train)
    state = {"weight": np.ones(4), "bias": bias, "running_mean": mean, "running_var": variance}
    theirs.load_state_dict({name: torch.as_tensor(value).half() for name, value in state.items()}, strict=False)
    wanted = theirs(torch.as_tensor(x.transpose(0, 3, 1, 2))).detach().numpy().transpose(0, 2, 3, 1)
    ours = BatchNorm(0.5566, 1e-12, jnp.float32, make_ops("cpu", "native"), params=jnp.float16, running=jnp.float16)
    variables = jax.tree.map(jnp.asarray, {"params": {"bias": bias}, "batch_stats": {"mean": mean, "var": variance}})
    out, updated = ours.apply(variables, jnp.asarray(x), train, mutable=["batch_stats"])
    np.testing.assert_allclose(np.asarray(out, np.float64), wanted, rtol=ROUNDING, atol=ROUNDING)
    for name, buffer in (("mean", theirs.running_mean), ("var", theirs.running_var)):
        assert buffer is not None
        np.testing.assert_allclose(updated["batch_stats"][name], buffer.numpy(), rtol=ROUNDING)
