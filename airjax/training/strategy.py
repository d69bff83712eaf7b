"""The fastest strategy to train many networks here: looked up in measurements, never guessed."""

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Recipe
from airjax.training.environment import device_name
from airjax.training.members import Strategy

TABLE = Path(__file__).with_name("strategies.jsonl")

# How much faster a group has to be: one network after another shows every step, and each is kept once it is finished.
WORTH_A_GROUP = 1.1


def choose_strategy(recipe: Recipe, count: int) -> tuple[Strategy, int | None]:
    """Return the fastest measured strategy for so many networks, and how many to train at once.

    Measured for this device and this recipe, or else the recipe nearest in work per step. It is one after the other for
    a single network, where no group is faster by a tenth, and where nothing was measured on this kind of device: that
    is never far from the best, and needs the least memory.
    """
    here = device_name()
    rows = [row for row in _measured() if row["device"] == here and row["members"] <= count]
    if not rows or count == 1:
        return "sequential", None
    distances = {row["recipe"]: abs(_work(RECIPES[row["recipe"]]) / _work(recipe) - 1) for row in rows}
    nearest = min(distances, key=lambda name: distances[name])
    return best_of([row for row in rows if row["recipe"] == nearest])


def best_of(rows: Sequence[dict[str, Any]]) -> tuple[Strategy, int | None]:
    """Choose a strategy by measurements of one device and recipe, and how many networks to train at once."""
    best = max(rows, key=lambda row: row["networks_per_hour"])
    alone = max((row["networks_per_hour"] for row in rows if row["strategy"] == "sequential"), default=0.0)
    if best["networks_per_hour"] < WORTH_A_GROUP * alone:
        return "sequential", None
    return best["strategy"], best["members"]


@functools.cache
def _measured() -> list[dict[str, Any]]:
    return [json.loads(line) for line in TABLE.read_text().splitlines()]


def _work(recipe: Recipe) -> float:
    return recipe.flops / recipe.total_steps


def predict_seconds(recipe: Recipe) -> float | None:
    """Predict the seconds of one network, at the best measured rate on this device; None where nothing was measured."""
    here = device_name()
    rows = [row for row in _measured() if row["device"] == here]
    if not rows:
        return None
    nearest = min(rows, key=lambda row: abs(_work(RECIPES[row["recipe"]]) / _work(recipe) - 1))["recipe"]
    rate = max(row["networks_per_hour"] for row in rows if row["recipe"] == nearest)
    return 3600 / rate * recipe.flops / RECIPES[nearest].flops
