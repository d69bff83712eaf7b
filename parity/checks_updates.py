"""Checks of what happens to the weights once there are gradients: optimizer, bias freeze, lookahead. (§4)"""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from jax import lax

from airjax.kernels.backend import PRECISIONS
from airjax.optim import build as optimizer
from airjax.optim.hyperparameters import hyperparameters
from airjax.optim.schedule import lookahead_decay
from airjax.recipes.recipe import Recipe
from airjax.training import step
from parity import torch_optimizer
from parity.check_setup import CheckSetup, at_precision, jax_precision
from parity.compare import Comparison, Place, compare
from parity.convert import TO_JAX, TO_TORCH, entries, to_state_dict, to_variables
from parity.kinds import has_muon, is_residual
from parity.run import run
from parity.states import arbitrary_state
from parity.torch_implementation import State, load_network
from parity.torch_network import build_network

STEPS = 476  # a whole run of 94
FEW = (3, 4, 4)  # channels: the rule is the same for every number of a tensor


def check_optimizer(setup: CheckSetup) -> Iterator[Comparison]:
    """Parameters at every step and momentum at the end, under the same given gradients; the bias freezes on the way."""
    recipe = at_precision(few_channels(setup.recipe), "float64")
    if is_residual(recipe) or has_muon(recipe):  # a run of so many steps, so that the whole schedule is seen
        recipe = recipe.override(train_examples=10 * recipe.batch_size, epochs=STEPS / 10)
    state = arbitrary_state(recipe, seed=(setup.seed, 2))
    network = build_network(recipe)
    network.load_state_dict(state)
    trained = dict(network.named_parameters())
    rates = np.random.default_rng((setup.seed, 3))
    gradients = {name: rates.standard_normal((STEPS, *p.shape)) * 10 for name, p in trained.items() if p.requires_grad}
    theirs, momentum = _torch_updates(recipe, network, gradients)
    ours, our_momentum = _airjax_updates(recipe, state, gradients)
    place = Place("optimizer", setup.name, "float64")
    for name in gradients:
        yield compare(place, f"{name} at every step", ours[name], theirs[name])
        yield compare(place, f"momentum of {name}", our_momentum[name], momentum[name])
    if recipe.network.freeze_epochs is None:
        return
    freeze = min(recipe.freeze_step, STEPS)
    place = Place("freeze", setup.name, "float64")
    for framework, biases in (("airjax", ours["0.bias"]), ("PyTorch", theirs["0.bias"])):
        unmoved = np.broadcast_to(biases[freeze - 1], biases[freeze:].shape)
        yield compare(place, f"{framework}'s bias once frozen", biases[freeze:], unmoved)


def check_lookahead(setup: CheckSetup) -> Iterator[Comparison]:
    """Compare the network after every sync of a run in which everything changes at random, running statistics too.

    (§4.7)
    """
    if setup.recipe.averaging is None:
        return
    recipe = at_precision(few_channels(setup.recipe).override(epochs=1.0), "float64")
    every = recipe.value_of("lookahead_every")
    syncs = list(range(every, recipe.total_steps + 1, every))
    states = [arbitrary_state(recipe, seed=(setup.seed, 4, number)) for number in range(len(syncs) + 1)]
    network = load_network(setup.reference, recipe, states[0])
    sync_network = setup.reference.lookahead(network)
    place = Place("lookahead", setup.name, "float64")
    with jax_precision("float64"):
        fast = trained_part(recipe, states[0])
        slow = step.lookahead_init(fast)
        for steps_done, moved in zip(syncs, states[1:], strict=True):
            fast, slow = step.lookahead_update(
                trained_part(recipe, moved), slow, lookahead_decay(recipe, jnp.asarray(steps_done)), jnp.asarray(True)
            )
            # The whitening filters are frozen, so they are the same throughout.
            network.load_state_dict({**moved, "0.weight": states[0]["0.weight"]})
            sync_network(torch_optimizer.lookahead_decay(recipe, steps_done))
            ours = network_arrays(recipe, fast, states[0])
            for name, tensor in network.state_dict().items():
                if tensor.is_floating_point():
                    yield compare(place, f"{name} after {steps_done} steps", ours[name], tensor)


def few_channels(recipe: Recipe) -> Recipe:
    """Return the recipe with hardly any channels."""
    return recipe.override(widths=(*FEW, 5) if is_residual(recipe) else FEW)


def trained_part(recipe: Recipe, state: State) -> Any:
    """Return what is averaged of a network: its parameters and running statistics, as airjax has them."""
    variables = to_variables(recipe, state)
    return variables["params"], variables["batch_stats"]


def network_arrays(recipe: Recipe, trained: Any, state: State) -> State:
    """Return a network as a state_dict: `trained_part` of it, and the frozen part of another one."""
    params, batch_stats = trained
    frozen = to_variables(recipe, state)["frozen"]
    return to_state_dict(recipe, {"params": params, "frozen": frozen, "batch_stats": batch_stats})


def _torch_updates(recipe: Recipe, network: torch.nn.Module, gradients: dict[str, np.ndarray]) -> Any:
    sgd, trained = torch_optimizer.make_optimizer(recipe, network), dict(network.named_parameters())
    history: dict[str, list[np.ndarray]] = {name: [] for name in gradients}
    for number in range(STEPS):
        torch_optimizer.train_bias(recipe, network, number)
        torch_optimizer.schedule_step(recipe, sgd, number)
        for name, values in gradients.items():
            trained[name].grad = torch.from_numpy(values[number]) if trained[name].requires_grad else None
        sgd.step()
        for name, values in history.items():
            values.append(trained[name].detach().numpy().copy())
    momentum = {name: sgd.state[trained[name]]["momentum_buffer"].numpy() for name in gradients}
    return {name: np.stack(values) for name, values in history.items()}, momentum


def _airjax_updates(recipe: Recipe, state: State, gradients: dict[str, np.ndarray]) -> Any:
    with jax_precision("float64"):
        params = to_variables(recipe, state)["params"]
        # airjax is handed the gradients of the sum, torch those that its optimizer is for.
        count = recipe.batch_size if torch_optimizer.reduction_of(recipe) == "mean" else 1
        given = _to_params(recipe, {name: count * values for name, values in gradients.items()})
        opt_state = run(functools.partial(_start, recipe), params)
        freeze, parts = min(recipe.freeze_step, STEPS), []
        both = ((), slice(None, freeze)), (("whiten_bias",), slice(freeze, None))
        for frozen, part in both if freeze < STEPS else both[:1]:
            scanned = functools.partial(_scan, recipe, frozen)
            (params, opt_state), history = run(scanned, params, opt_state, jax.tree.map(lambda g, p=part: g[p], given))
            parts.append(history)
        history = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
        # A group's trace has leaves only where its own parameters are.
        chains = [group.inner_state for group in opt_state.inner_states.values()]
        traces = [one.trace for chain in chains for one in chain if isinstance(one, optax.TraceState)]
        momentum = {path: leaf[None] for trace in traces for path, leaf in jax.tree.leaves_with_path(trace)}
        by_path = {path: momentum[path] for path, _ in jax.tree.leaves_with_path(params)}
        buffers = jax.tree.unflatten(jax.tree.structure(params), by_path.values())
        return _from_params(recipe, history), {name: m[0] for name, m in _from_params(recipe, buffers).items()}


def _start(recipe: Recipe, params: Any) -> Any:
    hyper = hyperparameters(recipe)
    return optimizer.make_optimizer(recipe, PRECISIONS["float64"], hyper).init(params)


def _scan(recipe: Recipe, frozen: tuple[str, ...], params: Any, opt_state: Any, gradients: Any) -> Any:
    def body(carried: Any, given: Any) -> Any:
        params, opt_state = carried
        hyper = hyperparameters(recipe)
        updates, opt_state = optimizer.make_optimizer(recipe, PRECISIONS["float64"], hyper, frozen).update(
            given, opt_state, params
        )
        params = optax.apply_updates(params, updates)
        return (params, opt_state), params

    return lax.scan(body, (params, opt_state), gradients)


def _to_params(recipe: Recipe, arrays: dict[str, np.ndarray]) -> Any:
    # Arrays [S,...] under torch's names and in its layout -> a tree like the parameters, in airjax's layout.
    tree: dict[str, Any] = {}
    for entry in entries(recipe):
        if entry.path[0] == "params":
            *folders, last = entry.path[1:]
            node = tree
            for folder in folders:
                node = node.setdefault(folder, {})
            axes = (0, *(axis + 1 for axis in TO_JAX[entry.layout]))
            node[last] = jnp.asarray(arrays[entry.torch_key].transpose(axes))
    return tree


def _from_params(recipe: Recipe, tree: Any) -> dict[str, np.ndarray]:
    arrays = {}
    for entry in entries(recipe):
        if entry.path[0] == "params":
            leaf = functools.reduce(lambda node, name: node[name], entry.path[1:], tree)
            arrays[entry.torch_key] = np.asarray(leaf).transpose((0, *(axis + 1 for axis in TO_TORCH[entry.layout])))
    return arrays
