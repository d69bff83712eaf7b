"""Checks of a recipe that selects examples: its batches, the proxy's choice, the proxy's training. (§3, §4.8)"""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch

from airjax.augment.batch import batch_at
from airjax.augment.draws import Draws, sample_draws
from airjax.optim.hyperparameters import hyperparameters
from airjax.recipes.recipe import Recipe
from airjax.training import step
from airjax.training.backend import backend_of
from airjax.training.compile import compile_function
from airjax.training.selection import proxy_recipe
from airjax.utils.seeds import make_key
from parity.check_setup import CheckSetup, at_precision, jax_precision
from parity.compare import Comparison, Place, compare
from parity.convert import to_state_dict, to_variables
from parity.pools import Pool, direct_pools, picks, watch_pools
from parity.states import arbitrary_state
from parity.torch_draws import place_draws
from parity.torch_faster import iterate_batches, select, start_proxy
from parity.torch_images import prepare_images
from parity.torch_implementation import State, copy_state, load_network


class ProxyStep(NamedTuple):
    """One step of the proxy, as numpy arrays in torch's layout."""

    images: np.ndarray  # [B,3,H,W]
    labels: np.ndarray  # [B]
    places: np.ndarray  # [K]: which examples of the batch are trained on
    losses: np.ndarray  # [B]
    state: State  # the proxy after the step


def check_selection(setup: CheckSetup) -> Iterator[Comparison]:
    """Compare every batch, which of its examples are chosen, and the proxy's losses and tensors, over all steps.

    The proxy learns in every fourth of the steps; batches cross from the first epoch into the second; lookahead would
    sync on the way, if the proxy had it. PyTorch's pools take the pixels that airjax's took.
    """
    if setup.recipe.selection is None:
        return
    recipe = setup.recipe.override(epochs=1.9, batch_size=8, train_examples=60, proxy_widths=(6, 8, 8))
    recipe = at_precision(recipe, "float64")
    draws = jax.device_get(sample_draws(recipe, make_key(setup.seed)))
    state = arbitrary_state(proxy_recipe(recipe), seed=(setup.seed, 5))
    ours, taken = _airjax_steps(setup, recipe, state, draws)
    theirs = _torch_steps(setup, recipe, state, draws, taken)
    for number, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        batches, selection, proxy = (Place(check, setup.name, "float64") for check in ("batches", "selection", "proxy"))
        yield compare(batches, f"images of step {number}", mine.images, other.images)
        yield compare(batches, f"labels of step {number}", mine.labels, other.labels)
        yield compare(selection, f"examples chosen in step {number}", mine.places, other.places)
        yield compare(proxy, f"losses in step {number}", mine.losses, other.losses)
        for name, tensor in other.state.items():
            if tensor.is_floating_point():
                yield compare(proxy, f"{name} after {number + 1} steps", mine.state[name], tensor)


def _airjax_steps(
    setup: CheckSetup, recipe: Recipe, state: State, draws: Draws
) -> tuple[list[ProxyStep], list[list[np.ndarray]]]:
    own, found = proxy_recipe(recipe), []
    with jax_precision(recipe.precision), watch_pools() as inputs:
        backend, hyper = backend_of(recipe), hyperparameters(recipe)
        proxy = step.init_state(own, backend, to_variables(own, state), hyper)
        images, labels, given = jax.tree.map(jnp.asarray, (*_examples(setup, recipe), draws))
        batch_of = functools.partial(batch_at, recipe, images, labels, given, dtype=jnp.float64)
        taking = functools.partial(step.select_examples, recipe, backend=backend)
        shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), (proxy, batch_of(proxy.step), hyper))
        compiled: Any = compile_function(taking, *shapes)
        for number in range(recipe.total_steps):
            batch = batch_of(jnp.asarray(number, jnp.int32))
            proxy, places, losses = jax.device_get(compiled(proxy, batch, hyper))
            after = to_state_dict(own, step.variables_of(proxy))
            pixels = np.asarray(batch.images).transpose(0, 3, 1, 2)
            found.append(ProxyStep(pixels, np.asarray(batch.labels), places, losses, after))
    return found, picks(inputs)


def _torch_steps(
    setup: CheckSetup, recipe: Recipe, state: State, draws: Draws, taken: list[list[np.ndarray]]
) -> list[ProxyStep]:
    pixels, labels = map(torch.as_tensor, _examples(setup, recipe))
    network, placed = load_network(setup.reference, proxy_recipe(recipe), state), place_draws(draws)
    pools: list[list[Pool]] = []
    direct_pools(network, taken, pools)
    proxy, found = start_proxy(recipe, network), []
    prepared = prepare_images(recipe, pixels, placed.flips, torch.float64)
    batches = iterate_batches(recipe, prepared, labels.long(), placed)
    for number, (images, targets) in zip(range(recipe.total_steps), batches, strict=False):
        places, losses = select(recipe, proxy, number, images, targets)
        arrays = [tensor.numpy().copy() for tensor in (images, targets, places, losses)]
        found.append(ProxyStep(*arrays, state=copy_state(network)))
    return found


def _examples(setup: CheckSetup, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    return setup.images[: recipe.train_examples], setup.labels[: recipe.train_examples].astype(np.int32)
