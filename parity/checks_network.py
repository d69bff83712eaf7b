"""Checks of one forward and backward pass: every intermediate, loss, gradient, running statistic; and evaluation."""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from airjax.augment import transforms
from airjax.nn.build import make_module
from airjax.optim.hyperparameters import hyperparameters
from airjax.recipes.recipe import Recipe
from airjax.training import evaluate as tta
from airjax.training import selective, step
from airjax.training.backend import backend_of
from parity.check_setup import BOTH, CheckSetup, at_precision, jax_precision, narrow
from parity.compare import Comparison, Place, compare
from parity.convert import entries, to_state_dict, to_variables
from parity.intermediates import intermediates
from parity.pools import Pool, direct_pools, picks, pool_name, pool_sizes, watch_pools
from parity.run import run
from parity.states import arbitrary_state, cast
from parity.torch_images import normalize
from parity.torch_implementation import State, load_network
from parity.torch_network import dtype_of

BATCH = 6
CHECK_OF_KIND = {
    "intermediate": "intermediates",
    "loss": "loss",
    "gradient": "gradients",
    "statistic": "running-statistics",
}


def check_network(setup: CheckSetup) -> Iterator[Comparison]:
    """Compare one training pass from arbitrary weights: float64 with few channels, float32 with the recipe's own.

    (§1, §4.1)

    PyTorch's pools take the pixels that airjax's took.
    """
    for precision in setup.precisions:
        is_float32 = precision == "float32"
        recipe = at_precision(setup.recipe if is_float32 else narrow(setup.recipe), precision)
        yield from compare_pass(setup, recipe, CHECK_OF_KIND)


def compare_pass(setup: CheckSetup, recipe: Recipe, checks: dict[str, str]) -> Iterator[Comparison]:
    """Compare one training pass of a recipe, in its precision; checks are named by the kind of array."""
    is_float32 = recipe.precision == "float32"
    state = arbitrary_state(recipe, seed=(setup.seed, 0))
    ours, taken = _airjax_pass(recipe, state, setup)
    exact, pools = _torch_pass(at_precision(recipe, "float64"), state, setup, taken)
    rounded, rounded_pools = _torch_pass(recipe, state, setup, taken) if is_float32 else (None, None)
    for name, array in ours.items():
        place = Place(checks[name.split(" ")[0]], setup.name, recipe.precision)
        yield compare(place, name, array, exact[name], rounded[name] if rounded else None)
    for number, pool in enumerate(pools):
        yardstick = rounded_pools[number].largest if rounded_pools else None
        place = Place(checks["intermediate"], setup.name, recipe.precision)
        yield compare(place, f"{pool_name(recipe)} {number}, pixels taken", pool.taken, pool.largest, yardstick)


def check_tta(setup: CheckSetup) -> Iterator[Comparison]:
    """Logits at every level of test-time augmentation, from arbitrary weights and running statistics. (§5)"""
    pixels = setup.images[:BATCH]
    for precision in setup.precisions:
        # The views do not depend on the network: one recipe is enough for them, and the others show evaluation mode.
        for level in (0, 1, 2) if setup.name == "94" else (setup.recipe.evaluation.tta_level % 2,):
            recipe = at_precision(narrow(setup.recipe).override(tta_level=level), precision)
            state = arbitrary_state(recipe, seed=(setup.seed, 1))
            with jax_precision(precision):
                function = functools.partial(tta.tta_logits, recipe)
                ours = run(function, to_variables(recipe, state), jnp.asarray(pixels))
            exact, rounded = (setup.reference.logits(at_precision(recipe, p), cast(state, p), pixels) for p in BOTH)
            place = Place("tta", setup.name, precision)
            yield compare(place, f"level {level}", ours, exact, rounded if precision == "float32" else None)
        if setup.recipe.evaluation.selects(setup.recipe.evaluation.tta_level):
            yield _compare_selective(setup, precision)


def _compare_selective(setup: CheckSetup, precision: str) -> Comparison:
    # Logits of a few images of which some have all views.
    # With a factor on the logits that sets the confidences of these images apart.
    recipe = at_precision(narrow(setup.recipe).override(logit_scale=1.0), precision)
    pixels = setup.images[: 2 * BATCH]
    state, level = arbitrary_state(recipe, seed=(setup.seed, 1)), recipe.evaluation.tta_level

    def evaluated(variables: Any, images: Any) -> Any:
        return selective.selective_logits(recipe, images, functools.partial(tta.tta_logits, recipe, variables), level)

    with jax_precision(precision):
        ours = run(evaluated, to_variables(recipe, state), jnp.asarray(pixels))
    exact, rounded = (setup.reference.logits(at_precision(recipe, p), cast(state, p), pixels) for p in BOTH)
    name = f"level {level} for {recipe.evaluation.num_selected(len(pixels))} of {len(pixels)} images"
    place = Place("tta", setup.name, precision)
    return compare(place, name, ours, exact, rounded if precision == "float32" else None)


def _airjax_pass(recipe: Recipe, state: State, setup: CheckSetup) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    # Every array of a training pass, under torch's names and in torch's layout; and the pixels that the pools took.
    def forward_backward(variables: Any, images: Any, labels: Any) -> Any:
        frozen = {key: value for key, value in variables.items() if key != "params"}

        def loss(params: Any) -> Any:
            normalized = transforms.normalize(images, recipe.inputs, recipe.precision)
            logits, updated = make_module(recipe, backend_of(recipe)).apply(
                {**frozen, "params": params},
                normalized,
                train=True,
                mutable=["batch_stats", "intermediates"],
                capture_intermediates=True,
            )
            losses = step.smoothed_loss(logits, labels, hyperparameters(recipe).label_smoothing)
            return losses.sum(), (losses, logits, updated)

        return jax.value_and_grad(loss, has_aux=True)(variables["params"])

    with jax_precision(recipe.precision):
        variables = to_variables(recipe, state)
        images, labels = jnp.asarray(setup.images[:BATCH]), jnp.asarray(setup.labels[:BATCH])
        with watch_pools() as inputs:
            (total, (losses, logits, updated)), gradients = run(forward_backward, variables, images, labels)
        del logits  # captured among the intermediates
        arrays = {"loss of each example": losses, "loss sum": total}
        for module, path in intermediates(recipe):
            (sown,) = functools.reduce(lambda node, name: node[name], path, updated["intermediates"])
            arrays[_intermediate(module)] = _nchw(sown)
        params = {**variables, "params": gradients, "batch_stats": updated["batch_stats"]}
        state = to_state_dict(recipe, params)
        for entry in entries(recipe):
            if entry.path[0] != "frozen":
                kind = "statistic" if entry.path[0] == "batch_stats" else "gradient"
                arrays[f"{kind} {entry.torch_key}"] = state[entry.torch_key].numpy()
    return {name: np.asarray(array) for name, array in arrays.items()}, picks(inputs, pool_sizes(recipe))[0]


def _torch_pass(
    recipe: Recipe, state: State, setup: CheckSetup, taken: list[np.ndarray]
) -> tuple[dict[str, np.ndarray], list[Pool]]:
    # The same of torch, whose pools take these pixels; and what they saw.
    network = load_network(setup.reference, recipe, cast(state, recipe.precision)).train()
    arrays: dict[str, Tensor] = {}
    for name, _ in intermediates(recipe):
        network.get_submodule(name).register_forward_hook(functools.partial(_keep, arrays, _intermediate(name)))
    pools: list[list[Pool]] = []
    direct_pools(network, [taken], pools)
    pixels, labels = torch.as_tensor(setup.images[:BATCH]), torch.as_tensor(setup.labels[:BATCH]).long()
    logits = network(normalize(pixels, dtype_of(recipe)))
    losses = F.cross_entropy(logits, labels, label_smoothing=recipe.loss.label_smoothing, reduction="none")
    losses.sum().backward()
    arrays |= {"loss of each example": losses, "loss sum": losses.sum()}
    arrays |= {f"gradient {name}": p.grad for name, p in network.named_parameters() if p.grad is not None}
    arrays |= {f"statistic {name}": b for name, b in network.named_buffers() if "running" in name}
    return {name: array.detach().numpy() for name, array in arrays.items()}, pools[0]


def _keep(arrays: dict[str, Tensor], name: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
    del module, inputs
    arrays[name] = output.detach().clone()


def _intermediate(module: str) -> str:
    return f"intermediate {module or 'logits'}"


def _nchw(array: Any) -> np.ndarray:
    return np.asarray(array).transpose(0, 3, 1, 2) if np.ndim(array) == 4 else np.asarray(array)
