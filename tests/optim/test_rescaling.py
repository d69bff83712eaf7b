"""Muon whose kernels are rescaled now and then and decay after each step. (§4.6)"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from airjax.kernels.backend import PRECISIONS
from airjax.optim.build import make_optimizer
from airjax.optim.hyperparameters import hyperparameters
from airjax.optim.muon import decay_afterwards
from airjax.recipes.published import RECIPES
from airjax.training.selection import at_step


@pytest.fixture
def _x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def by_singular_values(matrix: np.ndarray) -> np.ndarray:
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    values = values / (np.sqrt((values**2).sum()) + 1e-7)
    for _ in range(3):
        values = 3.4576 * values - 4.7391 * values**3 + 2.0843 * values**5
    return (left * values) @ right


@pytest.mark.usefixtures("_x64")
def test_forty_updates_are_those_of_the_method_written_in_numpy() -> None:
    recipe, rng = RECIPES["94-hiverge"].override(precision="float64"), np.random.default_rng(0)
    kernel = rng.normal(size=(1, 1, 6, 4))
    params: dict[str, Any] = {"block1": {"conv1": jnp.asarray(kernel)}}
    optimizer = make_optimizer(recipe, PRECISIONS["float64"], hyperparameters(recipe))
    state, update, buffer, norms = optimizer.init(params), jax.jit(optimizer.update), 0 * kernel, []
    for step in range(40):
        gradient = rng.normal(size=kernel.shape)
        updates, state = update({"block1": {"conv1": jnp.asarray(gradient)}}, state, params)
        params = optax.apply_updates(params, updates)  # pyright: ignore[reportAssignmentType]
        buffer = 0.655 * buffer + gradient
        turned = by_singular_values((gradient + 0.655 * buffer)[0, 0].T).T[None, None]
        if step + 1 in (2, 4, 6, 8, 10, 12, 14, 16, 19, 22, 25, 28, 31, 35, 39):
            kernel = kernel * 2 / np.sqrt((kernel**2).sum())
        rate = 0.205 * (1 - step / 245)
        kernel = (kernel - rate * turned) * (1 - rate * 1.0418e-6 * 1536)
        norms.append(np.sqrt((kernel**2).sum()))
        np.testing.assert_allclose(params["block1"]["conv1"], kernel, rtol=0, atol=1e-12)
    assert max(norms) > 2.2  # else rescaling would be next to nothing


def test_with_one_rescaling_in_every_step_nothing_is_counted() -> None:
    params = {"block1": {"conv1": jnp.ones((1, 1, 3, 2), jnp.float32)}}
    leaves = []
    for name in ("94-muon", "94-hiverge"):
        recipe = RECIPES[name].override(precision="float32")
        state = make_optimizer(recipe, PRECISIONS["float32"], hyperparameters(recipe)).init(params)
        leaves.append(len([leaf for leaf in jax.tree.leaves(state) if not leaf.ndim]))
    assert leaves[1] == leaves[0] + 2


def test_a_proxy_s_kernels_decay_by_the_rate_of_the_step_that_it_learns_in() -> None:
    decay = decay_afterwards(PRECISIONS["float32"], lambda step: 0.1 * step.astype(jnp.float32))
    kernel, state = jnp.ones((1, 1, 2, 2)), decay.init(None)
    for step in (0, 4, 8):  # a proxy learns in every fourth step
        update, state = decay.update(0 * kernel, at_step(state, jnp.asarray(step, jnp.int32)), kernel)
        np.testing.assert_allclose(update, np.full(kernel.shape, -0.1 * step), rtol=1e-6)
