"""Check of what networks start from: fixed weights exactly, and the law of those that are drawn. (§1, §7)"""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from scipy import stats

from airjax.nn import build
from airjax.recipes.network import AirbenchNet
from airjax.recipes.recipe import Recipe
from airjax.training.backend import backend_of
from airjax.utils.seeds import make_key
from parity.check_setup import CheckSetup, at_precision
from parity.compare import Comparison, Place, compare, measured
from parity.convert import entries, to_state_dict

UNIT = 1 / 3  # fan-in of uniform weights of unit deviation
ROUNDING = 4 * float(np.finfo(np.float32).eps)  # of draws and of their bounds
UNIFORM = stats.uniform(-1, 2).cdf  # of weights times the square root of their fan-in
NETWORKS = 40  # whose vectors tell of their law together; the few numbers of one do not
KS_PROBABILITY = 1e-4  # of a false alarm for one layer; the seeds are fixed, so an alarm does not come and go


def check_initialisation(setup: CheckSetup) -> Iterator[Comparison]:
    """Compare the dirac filters exactly; the law of all other weights against its formula and against PyTorch's draws.

    (§1) The law of a vector, which has few numbers, is that of many networks' vectors.
    """
    recipe = at_precision(setup.recipe, "float32")
    ours = to_state_dict(
        recipe, jax.jit(lambda key: build.init_variables(recipe, backend_of(recipe), key))(make_key(setup.seed))
    )
    theirs = setup.reference.init(recipe, setup.seed)
    weights, fixed = _initial(recipe)
    draws: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    place, exact = Place("initial-law", setup.name, "float32"), Place(fixed, setup.name, "float32")
    for key, (inputs, fan_in) in weights.items():
        a, b = ours[key].numpy(), theirs[key].numpy()
        if inputs:
            yield compare(exact, key, a[:inputs], b[:inputs])
        for drawn, pool in ((a[inputs:], draws[0]), (b[inputs:], draws[1])):
            pool.append(drawn.ravel().astype(np.float64) * fan_in**0.5)
        drawn, name = draws[0][-1], key
        if a.ndim == 1:
            drawn, name = _of_many(recipe, key, setup.seed) * fan_in**0.5, f"{key} of {NETWORKS} networks"
        if drawn.size:
            yield _ks(place, f"{name} against its law", stats.kstest(drawn, UNIFORM), drawn.size)
        if drawn.size and fan_in != UNIT:  # whose bound depends on the draws
            beyond = float(np.maximum(np.abs(drawn) - 1, 0).max())
            yield measured(place, f"{name} beyond its bounds", beyond, ROUNDING)
    first, second = (np.concatenate(pool)[:200_000] for pool in draws)
    sizes = f"{len(first)} draws"
    yield _ks(place, f"{sizes} against the law", stats.kstest(first, UNIFORM), len(first))
    yield _ks(place, f"{sizes} against PyTorch's", stats.ks_2samp(first, second), len(first) / 2)
    for key in ours:
        if key not in weights and not key.endswith("num_batches_tracked") and key != "0.weight":
            yield compare(exact, key, ours[key], theirs[key])


def _initial(recipe: Recipe) -> tuple[Mapping[str, tuple[int, float]], str]:
    # The weights that are drawn: how many of their filters are not, and the fan-in; and what checks all other tensors.
    network = recipe.network
    shapes = {entry.torch_key: entry.shape for entry in entries(recipe)}
    matrices = {key: int(np.prod(shape[1:])) for key, shape in shapes.items() if len(shape) > 1 and key != "0.weight"}
    if not isinstance(network, AirbenchNet):
        return {key: (0, fan_in) for key, fan_in in matrices.items()} | {
            "fc.bias": (0, matrices["fc.weight"])
        }, "initial-law"
    convs = [key for key in matrices if "conv" in key]
    passed = dict(zip(convs, (shape.inputs for shape in network.conv_shapes(recipe.inputs)), strict=True))
    drawn = {key: (passed.get(key, 0), float(fan_in)) for key, fan_in in matrices.items()}
    if network.unit_head:
        drawn["7.weight"] = (0, UNIT)
    if network.whiten_bias_random:
        drawn["0.bias"] = (0, float(np.prod(shapes["0.weight"][1:])))
    return drawn, "dirac"


def _of_many(recipe: Recipe, torch_key: str, seed: int) -> np.ndarray:
    # One of airjax's initial vectors in many networks, of which the rest is never computed.
    path = next(entry.path for entry in entries(recipe) if entry.torch_key == torch_key)

    @jax.jit
    def vector(key: jax.Array) -> jax.Array:
        variables: Any = build.init_variables(recipe, backend_of(recipe), key)
        return functools.reduce(lambda node, name: node[name], path, variables)

    return np.concatenate([vector(key) for key in jax.random.split(make_key(seed), NETWORKS)]).astype(np.float64)


def _ks(place: Place, name: str, result, count: float) -> Comparison:
    return measured(place, name, float(result.statistic), float(stats.kstwobign.isf(KS_PROBABILITY)) / count**0.5)
