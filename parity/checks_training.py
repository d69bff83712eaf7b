"""Checks of training as a whole: from the same weights, on the same draws, step by step and to the end."""

import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch

from airjax.augment.draws import Draws, sample_draws
from airjax.data.dataset import Dataset
from airjax.optim.hyperparameters import hyperparameters
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Recipe
from airjax.training import evaluate as tta
from airjax.training import run as airjax_run
from airjax.training import step as airjax_step
from airjax.training.backend import backend_of
from airjax.training.compile import compile_function
from airjax.training.selection import proxy_recipe
from airjax.training.selective import least_confident
from airjax.utils.seeds import make_key
from parity.check_setup import CheckSetup, at_precision, jax_precision
from parity.compare import (
    DRIFT_FACTOR,
    ROUNDING_FLOOR,
    ROUNDING_LIMIT,
    TOLERANCES,
    Comparison,
    Place,
    compare,
    measured,
)
from parity.convert import to_state_dict, to_variables
from parity.kinds import has_muon, is_residual
from parity.pools import Pool, direct_pools, picks, pool_name, watch_pools
from parity.states import cast
from parity.torch_implementation import State, TorchImplementation, join_proxy, split_state, take_examples

EVAL_IMAGES = 100  # in one forward pass
DRIFT = "all tensors"  # name of the comparisons of whole networks


class ShortTraining(NamedTuple):
    """A short training: everything that both frameworks start from."""

    recipe: Recipe  # in float64
    state: State  # the initial network, whitened, in float64
    data: Dataset
    draws: Draws


class TorchTraining(NamedTuple):
    """What a training in PyTorch left."""

    states: list[State]  # before every step, and the final one
    pools: list[list[Pool]]  # [step][pool]


def check_trajectory(setup: CheckSetup) -> Iterator[Comparison]:
    """Compare every tensor after every step of a short training in float64, and the drift in float32 against PyTorch's
    own.

    The epoch changes, images are mirrored, lookahead syncs and, for 94, the bias freezes on the way; images grow and
    the tail begins where the recipe has these.
    """
    recipe = setup.recipe.override(epochs=1.9, batch_size=8, train_examples=56, test_examples=8)
    if has_muon(recipe):
        recipe = recipe.override(renormalize_growth=0.0)  # else so short a run would not rescale once
    if is_residual(recipe):
        recipe = recipe.override(widths=(8, 12, 16, 20))
    else:
        # Frozen, the bias needs a second program, which takes long to compile and is the same rule for every recipe.
        bias_epochs = 1.0 if setup.name == "94" else None
        recipe = recipe.override(whiten_examples=56, widths=(8, 12, 16), whiten_bias_epochs=bias_epochs)
    if recipe.selection is not None:
        # Four examples more than seven batches: the eighth batch is of both epochs.
        recipe = recipe.override(proxy_widths=(6, 8, 8), train_examples=60)
    if recipe.resolution is not None:
        recipe = recipe.override(curriculum_sizes=(24,), curriculum_epochs=(1.0,))
    if recipe.ending is not None:
        recipe = recipe.override(tail_steps=2, tail_lead=3, tail_every=2)
    case = start(setup, recipe)
    if "float64" in setup.precisions:
        ours, taken = airjax_training(case)
        exact = torch_training(setup.reference, case, taken)
        place = Place("trajectory", setup.name, "float64")
        for number, (mine, state) in enumerate(zip(ours, exact.states, strict=True)):
            for name, tensor in state.items():
                if tensor.is_floating_point():
                    yield compare(place, f"{name} after {number} steps", mine[name], tensor)
        yield from pixels_taken(place, exact.pools, pool_name(recipe))
    if "float32" in setup.precisions:
        # With the bias trained to the end: the freeze is another program to compile, and rounds no differently. Muon's
        # bfloat16 would round more than all else does, and hide it.
        if not is_residual(recipe):
            changes = {"newton_schulz_precision": "float32"} if has_muon(recipe) else {}
            case = case._replace(recipe=case.recipe.override(whiten_bias_epochs=None, **changes))
        single = case._replace(recipe=at_precision(case.recipe, "float32"), state=cast(case.state, "float32"))
        ours, taken = airjax_training(single)
        exact, rounded = (torch_training(setup.reference, part, taken) for part in (case, single))
        yield from drift(Place("drift", setup.name, "float32"), ours, rounded, exact, pool_name(recipe))


def check_training(setup: CheckSetup) -> Iterator[Comparison]:
    """Compare a whole short training in float64, from a fresh network: the same class for the same test image. (§5)"""
    sizes = {"batch_size": 32, "train_examples": 256, "test_examples": 1000}
    if is_residual(setup.recipe):
        recipe = setup.recipe.override(epochs=3.0, widths=(8, 12, 12, 16), **sizes)
    else:
        base = setup.recipe if has_muon(setup.recipe) else RECIPES["mini"]
        if setup.recipe.selection is not None:
            base = RECIPES["mini-faster"].override(proxy_widths=(6, 8, 8))
        recipe = base.override(epochs=3.0, whiten_bias_epochs=1.0, widths=(8, 12, 12), whiten_examples=256, **sizes)
    case = start(setup, recipe)
    states, taken = airjax_training(case)
    theirs = torch_training(setup.reference, case, taken)
    logits = setup.reference.logits(case.recipe, split_state(theirs.states[-1])[0], case.data.test_images)
    with jax_precision(recipe.precision):
        variables = to_variables(recipe, split_state(states[-1])[0])
    ours = evaluate(case.recipe, variables, case.data.test_images)
    other = float((ours.argmax(1) != logits.argmax(1)).mean())
    # Two networks that see one class everywhere would agree about nothing.
    if np.bincount(logits.argmax(1)).max() > 0.9 * len(logits):
        other = 1.0
    place = Place("training", setup.name, "float64")
    yield compare(place, f"fraction of {len(ours)} test images with another prediction", [other], [0.0])
    yield from pixels_taken(place, theirs.pools, pool_name(recipe))


def start(setup: CheckSetup, recipe: Recipe) -> ShortTraining:
    """Return the initial network of the PyTorch implementation, whitened, and airjax's draws."""
    recipe = at_precision(recipe, "float64")
    data = take_examples(recipe, setup.images, setup.labels)
    state = _initial_state(setup, recipe, data)
    if recipe.selection is not None:
        state |= join_proxy(_initial_state(setup, proxy_recipe(recipe), data))
    draws = jax.device_get(sample_draws(recipe, make_key(setup.seed)))
    return ShortTraining(recipe, cast(state, "float64"), data, draws)


def _initial_state(setup: CheckSetup, recipe: Recipe, data: Dataset) -> State:
    state, count = setup.reference.init(recipe, setup.seed), recipe.network.examples_at_start
    if count:
        filters = setup.reference.filters(recipe, data.train_images[:count])
        state["0.weight"] = torch.as_tensor(filters).to(state["0.weight"])
    return state


def airjax_training(case: ShortTraining) -> tuple[list[State], list[list[np.ndarray]]]:
    """Return the networks before every step, and the final one, as state_dicts; and the pixels that the pools took."""
    recipe = case.recipe
    with jax_precision(recipe.precision), watch_pools() as inputs:
        states = [_state_dict(recipe, state) for state in _steps(case)]
    return states, picks(inputs, networks=1 if recipe.selection is None else 2)


def _state_dict(recipe: Recipe, state: airjax_step.TrainState) -> State:
    found = to_state_dict(recipe, airjax_step.variables_of(state))
    if state.proxy is not None:
        found |= join_proxy(to_state_dict(proxy_recipe(recipe), airjax_step.variables_of(state.proxy)))
    return found


def torch_training(reference: TorchImplementation, case: ShortTraining, taken: list[list[np.ndarray]]) -> TorchTraining:
    """Return the same of the PyTorch implementation, whose pools take these pixels."""
    pools: list[list[Pool]] = []
    states = reference.train(
        case.recipe, case.state, case.data, case.draws, lambda network: direct_pools(network, taken, pools)
    )
    return TorchTraining(states, pools)


def evaluate(recipe: Recipe, variables: Any, images: np.ndarray) -> np.ndarray:
    """Return airjax's logits [N,10] of images [N,32,32,3] uint8 as the recipe evaluates them."""
    evaluation = recipe.evaluation
    with jax_precision(recipe.precision):
        if not evaluation.selects(evaluation.tta_level):
            return _logits(recipe, variables, images, evaluation.tta_level)
        logits = _logits(recipe, variables, images, 0)
        chosen = least_confident(logits, evaluation.num_selected(len(images)))
        logits[chosen] = _logits(recipe, variables, images[chosen], evaluation.tta_level)
        return logits


def _logits(recipe: Recipe, variables: Any, images: np.ndarray, level: int) -> np.ndarray:
    # In batches of one size, of which the last begins again at the first image.
    batches, shape = math.ceil(len(images) / EVAL_IMAGES), images.shape[1:]
    padded = np.resize(images, (batches * EVAL_IMAGES, *shape)).reshape(batches, EVAL_IMAGES, *shape)
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), variables)
    batch = jax.ShapeDtypeStruct((EVAL_IMAGES, *shape), jnp.uint8)
    compiled = compile_function(functools.partial(tta.tta_logits, recipe, level=level), shapes, batch)
    return np.concatenate([compiled(variables, jnp.asarray(part)) for part in padded])[: len(images)]


def pixels_taken(place: Place, pools: list[list[Pool]], name: str = "pool") -> Iterator[Comparison]:
    """Compare the pixels that airjax's pools took with the largest of their windows, in PyTorch's network."""
    for step, passed in enumerate(pools):
        for number, pool in enumerate(passed):
            below, scale = float((pool.largest - pool.taken).max()), float(np.abs(pool.largest).max())
            allowed = TOLERANCES["trajectory"].rtol * scale
            yield measured(place, f"{name} {number}, pixels taken in step {step}", below, allowed)


def drift(
    place: Place, ours: list[State], rounded: TorchTraining, exact: TorchTraining, name: str = "pool"
) -> Iterator[Comparison]:
    """Compare the distance of airjax's float32 network from PyTorch's float64 one, by step, with PyTorch's own."""
    allowed = 0.0
    for number, (a, b, truth) in enumerate(zip(ours, rounded.states, exact.states, strict=True)):
        # Rounding grows from step to step; that PyTorch's happens to shrink for one step is chance.
        allowed = min(max(allowed, DRIFT_FACTOR * _distance(b, truth)), ROUNDING_LIMIT)
        yield measured(place, f"{DRIFT} after {number} steps", _distance(a, truth), allowed + ROUNDING_FLOOR)
    for number in range(len(exact.pools[0]) if exact.pools else 0):
        allowed = 0.0
        for step, (single, double) in enumerate(zip(rounded.pools, exact.pools, strict=True)):
            largest, scale = double[number].largest, np.abs(double[number].largest).max()
            rounding = float(np.abs(single[number].largest - largest).max() / scale)
            allowed = min(max(allowed, DRIFT_FACTOR * rounding), ROUNDING_LIMIT)
            below = (largest - double[number].taken).max() / scale
            yield measured(place, f"{name} {number}, pixels taken in step {step}", below, allowed + ROUNDING_FLOOR)


def _distance(state: State, exact: State) -> float:
    # Root mean square over the tensors of their relative distances, so that no tensor drowns in another's size.
    names = [name for name, tensor in exact.items() if tensor.is_floating_point()]
    parts = [((state[n].double() - exact[n]).norm() / exact[n].norm().clamp_min(1e-30)) ** 2 for n in names]
    return float(torch.stack(parts).mean().sqrt())


def _steps(case: ShortTraining) -> Iterator[Any]:
    # The states before every step, and one whose network is the final one.
    recipe = case.recipe
    hyper, backend = hyperparameters(recipe), backend_of(recipe)
    own, selects = split_state(case.state)
    proxy = None if recipe.selection is None else to_variables(proxy_recipe(recipe), selects)
    state = airjax_step.init_state(recipe, backend, to_variables(recipe, own), hyper, proxy)
    images, labels = jnp.asarray(case.data.train_images), jnp.asarray(case.data.train_labels)
    draws = jax.tree.map(jnp.asarray, case.draws)
    task = airjax_run.Task(images, labels, draws, hyper)
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), (state, task))
    for segment in airjax_run.segments(recipe, by_epoch=False):
        how = {"frozen": segment.frozen, "image_size": segment.image_size}
        advance = functools.partial(airjax_run.advance, recipe, backend, **how)
        compiled = compile_function(advance, *shapes)
        for _ in range(segment.num_steps):
            yield state
            # The steps after the last sync change nothing that is compared, but their pools report, too.
            state, _ = jax.block_until_ready(compiled(state, task))
    variables = airjax_step.averaged_variables(state)
    yield state._replace(params=variables["params"], batch_stats=variables["batch_stats"])
