"""Whatever holds arrays is shown in one short line."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import airjax
from airjax.augment.batch import Batch, Selection
from airjax.augment.draws import Draws, sample_draws
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Recipe
from airjax.training.checkpoint import Model
from airjax.training.loop import TrainedRun
from airjax.training.members import make_members
from airjax.training.step import StepMetrics
from airjax.utils.seeds import make_key

TINY = RECIPES["tiny"]
LOSSES = StepMetrics(np.zeros(6, np.float32), np.zeros(6, np.float32))
VARIABLES: dict[str, Any] = {"params": {"head": {"kernel": np.zeros((8, 10))}, "bias": np.zeros(4)}, "frozen": {}}
LOGITS = np.zeros((100, 10), np.float32)
SECONDS = {"compile": 12.0, "whiten": 0.0, "train": 1.2345678, "evaluate": 2.0}
MODEL = Model(TINY, VARIABLES)


def test_a_result_says_how_it_did_and_what_it_holds() -> None:
    assert repr(airjax.Trained(MODEL, 0.9416, LOGITS, np.zeros(6), SECONDS)) == (
        "Trained(model=Model(recipe=Recipe(...), variables=<2 arrays, 84 numbers>, classes=<10 items>), "
        "accuracy=0.9416, logits=float32[100,10], losses=float64[6], "
        "seconds={compile: 12, whiten: 0, train: 1.23457, evaluate: 2})"
    )


@pytest.mark.parametrize(
    "value",
    [
        TrainedRun(TINY, 3, VARIABLES, LOSSES, LOGITS, 0.5, SECONDS),
        airjax.ManyRuns(TINY, "map", 40, LOSSES, LOGITS, np.zeros(40), np.zeros(40), [VARIABLES] * 40, SECONDS),
        airjax.RunResult(VARIABLES, LOSSES, jnp.zeros((100, 10)), jnp.zeros(())),
        airjax.Arrays(*(jnp.zeros((8, 32, 32, 3), jnp.uint8), jnp.zeros(8, jnp.int32)) * 2),
        make_members(TINY, airjax.seed_keys(range(40))),
        Batch(jnp.asarray(LOGITS), jnp.zeros(100, jnp.int32)),
        Selection(jnp.zeros((3, 8), jnp.int32)),
        MODEL,
        LOSSES,
    ],
    ids=lambda value: type(value).__name__,
)
def test_everything_is_one_short_line(value: Any) -> None:
    text = repr(value)
    assert text.startswith(f"{type(value).__name__}(")
    assert "\n" not in text
    assert len(text) < 330


def test_draws_are_one_line(tiny: Recipe) -> None:
    draws = sample_draws(tiny, make_key(0))
    assert isinstance(draws, Draws)
    assert repr(draws).startswith("Draws(flips=bool[256], mirrors=bool[")
