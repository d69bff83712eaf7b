"""Check of what networks start from: fixed weights exactly, and the law of those that are drawn. (§1, §7)"""

from collections.abc import Iterator, Mapping

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

UNIFORM = stats.uniform(-1, 2).cdf  # of weights times the square root of their fan-in
KS_PROBABILITY = 1e-4  # of a false alarm for one layer; the seeds are fixed, so an alarm does not come and go


def check_initialisation(setup: CheckSetup) -> Iterator[Comparison]:
    """Compare the dirac filters exactly; the law of all other weights against its formula and against PyTorch's draws.

    (§1)
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
        if a[inputs:].size:
            yield _ks(place, f"{key} against its law", stats.kstest(draws[0][-1], UNIFORM), a[inputs:].size)
    first, second = (np.concatenate(pool)[:200_000] for pool in draws)
    sizes = f"{len(first)} draws"
    yield _ks(place, f"{sizes} against the law", stats.kstest(first, UNIFORM), len(first))
    yield _ks(place, f"{sizes} against PyTorch's", stats.ks_2samp(first, second), len(first) / 2)
    for key in ours:
        if key not in weights and not key.endswith("num_batches_tracked") and key != "0.weight":
            yield compare(exact, key, ours[key], theirs[key])


def _initial(recipe: Recipe) -> tuple[Mapping[str, tuple[int, float]], str]:
    # The weights that are drawn: how many of their filters are not, and the fan-in; and what checks all other tensors.
    # Uniform weights of unit deviation reach as far as those of a fan-in of 1/3 do.
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
        drawn["7.weight"] = (0, 1 / 3)
    if network.whiten_bias_random:
        drawn["0.bias"] = (0, float(np.prod(shapes["0.weight"][1:])))
    return drawn, "dirac"


def _ks(place: Place, name: str, result, count: float) -> Comparison:
    return measured(place, name, float(result.statistic), float(stats.kstwobign.isf(KS_PROBABILITY)) / count**0.5)
