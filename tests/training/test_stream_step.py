"""The step of trainings on trees of images, which needs no tree."""

from functools import partial

import jax
import numpy as np
import pytest

import airjax
from airjax.kernels.backend import make_backend
from airjax.optim.hyperparameters import stack_hyperparameters
from airjax.recipes.published import RECIPES
from airjax.training.backend import resolve_precision
from airjax.training.stream_data import StreamBatch
from airjax.training.stream_step import start_networks, stream_step

ON_TREES = [name for name, recipe in RECIPES.items() if recipe.cropping is not None]


@pytest.mark.parametrize(("platform", "lowered_for"), [("gpu", "cuda"), ("tpu", "tpu")])
@pytest.mark.parametrize("name", ON_TREES)
def test_every_recipe_for_trees_lowers_for_accelerators_in_half_precision(
    name: str, platform: str, lowered_for: str
) -> None:
    recipe = resolve_precision(RECIPES[name], platform)
    assert recipe.precision == "bfloat16"
    backend = make_backend("bfloat16", platform, "native")
    hyper = stack_hyperparameters([recipe])
    state = jax.eval_shape(partial(start_networks, recipe, backend), airjax.seed_keys([0]), hyper)
    images, labels = jax.ShapeDtypeStruct((8, 128, 128, 3), np.uint8), jax.ShapeDtypeStruct((8,), np.int32)
    batch = StreamBatch(images, labels, jax.ShapeDtypeStruct((8, 1), np.bool_))  # pyright: ignore[reportArgumentType]
    traced = jax.jit(partial(stream_step, recipe, backend)).trace(state, batch, hyper)
    text = traced.lower(lowering_platforms=(lowered_for,)).as_text()
    convolutions = [line for line in text.splitlines() if "stablehlo.convolution" in line]
    assert len(convolutions) >= 3 * 20 - 1  # nothing needs a gradient before the first one
    for line in convolutions:
        assert line.count("xbf16>") == 3
    assert "custom_call" not in text
