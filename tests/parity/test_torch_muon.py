"""Muon against our own PyTorch on given gradients, in single precision, too; the suite's check is in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from airjax.kernels.backend import PRECISIONS
from airjax.optim.build import make_optimizer
from airjax.optim.hyperparameters import hyperparameters
from airjax.optim.muon import newton_schulz
from airjax.recipes.optimizer_muon import Muon
from airjax.recipes.published import RECIPES
from parity import torch_optimizer
from parity.check_setup import at_precision, jax_precision
from parity.convert import to_state_dict, to_variables
from parity.states import arbitrary_state, cast
from parity.torch_muon import orthogonalized
from parity.torch_network import build_network

STEPS = 200


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_parameters_after_200_updates_are_those_of_pytorch(precision: str) -> None:
    recipe = RECIPES["94-muon"].override(widths=(8, 12, 16), newton_schulz_precision="float32")
    recipe = at_precision(recipe, precision)
    assert recipe.total_steps == STEPS
    network, start = build_network(recipe), cast(arbitrary_state(recipe, seed=0), precision)
    network.load_state_dict(start)
    theirs = torch_optimizer.make_optimizer(recipe, network)
    with jax_precision(precision):
        variables = to_variables(recipe, start)
        params, hyper = variables["params"], hyperparameters(recipe)
        optimizers = [make_optimizer(recipe, PRECISIONS[precision], hyper, names) for names in ((), ("whiten_bias",))]
        state, updates_of = optimizers[0].init(params), [jax.jit(one.update) for one in optimizers]
        for step in range(STEPS):
            gradients = cast(arbitrary_state(recipe, seed=(1, step)), precision)
            torch_optimizer.train_bias(recipe, network, step)
            torch_optimizer.schedule_step(recipe, theirs, step)
            for name, parameter in network.named_parameters():
                parameter.grad = gradients[name] if parameter.requires_grad else None
            theirs.step()
            given = to_variables(recipe, gradients)["params"]
            updates, state = updates_of[step >= recipe.freeze_step](given, state, params)
            params = optax.apply_updates(params, updates)
        ours = to_state_dict(recipe, variables | {"params": params})
    for name, tensor in network.named_parameters():
        largest = max(1.0, float(tensor.detach().abs().max()))
        np.testing.assert_allclose(ours[name], tensor.detach(), rtol=0, atol=1e-6 * largest, err_msg=name)


def test_newton_schulz_in_bfloat16_is_that_of_torch_s_own_muon() -> None:
    matrix = torch.randn(64, 576, generator=torch.Generator().manual_seed(0))
    parameter = torch.nn.Parameter(torch.zeros(64, 576))
    # Without momentum and decay, and for a wide matrix with no other factor, its step is the orthogonalised gradient.
    by_torch = torch.optim.Muon([parameter], lr=1.0, weight_decay=0.0, momentum=0.0, nesterov=False, ns_steps=3)
    parameter.grad = matrix
    by_torch.step()
    theirs = -parameter.detach().numpy()
    ours = newton_schulz(jnp.asarray(matrix.numpy()), Muon(), jnp.bfloat16)
    exact = orthogonalized(matrix.double(), Muon()).numpy()
    assert np.linalg.norm(ours - exact) < 1.5 * np.linalg.norm(theirs - exact)
    assert np.linalg.norm(ours - theirs) < 0.01 * np.linalg.norm(theirs)
