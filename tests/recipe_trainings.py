"""What every published recipe's training must do: it is saved, stopped, swept, and trained beside others."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import airjax
from airjax.cli import sweep
from airjax.recipes.recipe import Recipe
from airjax.sweep.store import load
from airjax.training.loop import TrainedRun, train
from airjax.training.many import run_many, seed_keys
from airjax.training.members import STRATEGIES, Strategy, make_members
from airjax.training.run import RunResult, make_run
from airjax.training.snapshots import Keeping, StoppedError


def check_saved(trained: airjax.Trained, toy: airjax.Dataset, folder: Path) -> airjax.Model:
    """Save a network to FOLDER/model.safetensors and load it: it predicts what it did. Returns the loaded one."""
    assert np.isfinite(trained.losses).all()
    airjax.save_model(folder / "model.safetensors", trained.model)
    loaded = airjax.load(folder / "model.safetensors")
    assert loaded.recipe == trained.model.recipe
    assert np.array_equal(airjax.infer(loaded, toy.test_images[:20]), trained.logits)
    return loaded


def check_resumed(recipe: Recipe, toy: airjax.Dataset, folder: Path, stop_after: int = 2) -> TrainedRun:
    """Stop a training after so many calls and go on with it: the bits are those of an uninterrupted one. Returns it."""
    asked = iter([*((stop_after - 1) * [False]), True])
    with pytest.raises(StoppedError):
        train(recipe, toy, 3, driver="loop", keeping=Keeping(folder, 1, functools.partial(next, asked)))
    resumed = train(recipe, toy, 3, driver="loop", keeping=Keeping(folder))
    whole = train(recipe, toy, 3, driver="loop")
    np.testing.assert_array_equal(resumed.metrics.loss, whole.metrics.loss)
    np.testing.assert_array_equal(resumed.logits, whole.logits)
    return resumed


def sweep_rows(plan: str, folder: Path) -> list[dict[str, Any]]:
    """Train a plan by one worker, without an error; returns the networks' rows."""
    (folder / "plan.toml").write_text(plan)
    assert sweep.main([str(folder / "plan.toml"), "--out", str(folder / "out"), "--workers", "1"]) == 0
    rows = load(folder / "out").rows
    assert not any(row["error"] for row in rows)
    return rows


def strategies(*landing: Strategy) -> list[Any]:
    """Return all strategies as parameters of a slow test, of which only these are run on every landing.

    What the strategies share is tested with the tiny recipe; a recipe with a proxy has a batched one.
    """
    return [pytest.param(each, marks=() if each in landing else pytest.mark.nightly) for each in STRATEGIES]


def train_singles(recipe: Recipe, toy: airjax.Dataset, rates: Sequence[float]) -> list[TrainedRun]:
    """Train a network for each learning rate in float64, by itself; seeds count from 0."""
    with jax.enable_x64(True):
        exact = recipe.override(precision="float64")
        return [train(exact.override(learning_rate=rate), toy, seed) for seed, rate in enumerate(rates)]


def check_members(
    recipe: Recipe, toy: airjax.Dataset, singles: Sequence[TrainedRun], strategy: Strategy, rates: Sequence[float]
) -> None:
    """Train the networks of `train_singles` at once: they are the same."""
    assert not np.array_equal(singles[0].metrics.loss, singles[1].metrics.loss)
    with jax.enable_x64(True):
        exact = recipe.override(precision="float64")
        members = make_members(exact, seed_keys(range(len(singles))), learning_rate=tuple(rates))
        done = run_many(exact, members, toy, strategy=strategy, keep_variables=True)
    for k, single in enumerate(singles):
        # The order of the sums differs; the few steps amplify that.
        np.testing.assert_allclose(done.metrics.loss[k], single.metrics.loss, rtol=1e-9)
        np.testing.assert_allclose(done.logits[k], single.logits, rtol=0, atol=1e-9)


def check_whole_run(recipe: Recipe, toy: airjax.Dataset) -> tuple[RunResult, TrainedRun]:
    """Train by one jitted function and call by call: the losses are the same to rounding. Returns both."""
    result = jax.jit(make_run(recipe))(airjax.make_key(3), airjax.to_device(toy, recipe))
    single = train(recipe, toy, 3)
    np.testing.assert_allclose(result.metrics.loss, single.metrics.loss, rtol=1e-3)
    return result, single
