"""Images that grow, and the tail, go through everything that images of one size do."""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import airjax
from airjax.augment.batch import batch_at
from airjax.augment.resize import resize
from airjax.kernels.backend import make_backend
from airjax.optim.hyperparameters import hyperparameters
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Recipe
from airjax.training.backend import backend_of
from airjax.training.loop import TrainedRun, train
from airjax.training.members import Strategy
from airjax.training.programs import kinds_of, plan_calls, steps_per_call
from airjax.training.run import Segment, Task, advance, segments, start_run
from tests.networks import classify, initial
from tests.recipe_trainings import (
    check_members,
    check_resumed,
    check_saved,
    check_whole_run,
    strategies,
    sweep_rows,
    train_singles,
)

SMALL: dict[str, Any] = {
    "widths": (4, 6, 8),
    "logit_scale": 1 / 8,
    "epochs": 2.0,
    "whiten_bias_epochs": 0.5,
    "whiten_examples": 64,
    "batch_size": 16,
    "train_examples": 64,
    "test_examples": 20,
    "curriculum_epochs": (0.5, 1.0),
    "tail_steps": 2,
    "tail_lead": 2,
    "tail_every": 2,
}
FROZEN = ("whiten_bias",)
TAILS: tuple[dict[str, Any], ...] = ({"tail_every": 1}, {"tail_every": 14}, {"tail_decay": 0.0})
PLAN = """
recipe = "tiny"
data = "synthetic"
seeds = 1
[set]
widths = [4, 4, 4]
epochs = 1.0
whiten_examples = 32
train_examples = 64
test_examples = 20
curriculum = true
curriculum_sizes = [16]
curriculum_epochs = [0.5]
tail_steps = 1
tail_lead = 0
tail_every = 1
[grid]
tail = [true]
curriculum_antialias = [false, true]
"""


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return RECIPES["94-curriculum"].override(**SMALL)


def test_segments_and_programs_are_cut_where_the_size_changes(recipe: Recipe) -> None:
    assert segments(recipe, by_epoch=True) == [
        *(Segment(0, (), 2, 24), Segment(0, FROZEN, 2, 28), Segment(1, FROZEN, 4)),
    ]
    loop, scan = (make_backend("float32", "cpu", "native", driver) for driver in ("loop", "scan"))
    assert [kind.image_size for kind in kinds_of(plan_calls(recipe, scan))] == [24, 28, None]
    assert [call.kind.image_size for call in plan_calls(recipe, loop)] == [24, 24, 28, 28, None, None, None, None]


def test_a_call_takes_more_steps_of_smaller_images() -> None:
    chunks = make_backend("float32", "cpu", "onednn", "chunks")
    assert [steps_per_call(RECIPES["94-curriculum"], chunks, size) for size in (24, 28, None)] == [4, 2, 2]


def test_a_step_sees_the_batch_of_full_size_scaled_down(recipe: Recipe, toy: airjax.Dataset) -> None:
    seen: list[tuple[int, ...]] = []

    def note(*arguments: Any, **options: Any) -> Any:
        batch = batch_at(*arguments, **options)
        seen.append(batch.images.shape)
        return batch

    hyper, backend, data = hyperparameters(recipe), backend_of(recipe), airjax.to_device(toy, recipe)
    start = jax.jit(functools.partial(start_run, recipe, backend))
    state, draws = start(airjax.make_key(0), data.train_images, hyper)
    task = Task(data.train_images, data.train_labels, draws, hyper)

    def take(batch_at: Any, image_size: int | None = None) -> Any:
        step = functools.partial(advance, recipe, backend, image_size=image_size, batch_at=batch_at)
        return jax.jit(step)(state, task)[1]

    small = take(note, image_size=24)

    def scaled(*arguments: Any, **options: Any) -> Any:
        batch = batch_at(*arguments, **options)
        return batch._replace(images=resize(batch.images, 24))

    expected, whole = take(scaled), take(note)
    assert seen == [(16, 32, 32, 3)] * 2
    assert float(small.loss) == float(expected.loss)
    assert abs(float(small.loss) - float(whole.loss)) > 1e-5


def test_a_curriculum_of_the_data_s_own_size_changes_nothing(tiny: Recipe, toy: airjax.Dataset) -> None:
    plain = train(tiny, toy, 0)
    same = tiny.override(curriculum=True, curriculum_sizes=(32,), curriculum_epochs=(1.0,))
    assert np.array_equal(train(same, toy, 0).metrics.loss, plain.metrics.loss)
    smaller = train(same.override(curriculum_sizes=(24,)), toy, 0)
    assert not np.array_equal(smaller.metrics.loss, plain.metrics.loss)


@pytest.mark.parametrize("pool", ["max", "mean"])
@pytest.mark.parametrize("size", [9, 24, 32, 40])
def test_images_of_any_size_go_through_one_head(size: int, pool: str) -> None:
    recipe = RECIPES["tiny"].override(final_pool=pool)
    variables = initial(recipe)
    logits = classify(recipe, variables, jnp.ones((2, size, size, 3)))
    assert logits.shape == (2, 10)


@pytest.mark.slow
@pytest.mark.nightly
def test_a_trained_network_is_saved_loaded_and_predicts_the_same(
    recipe: Recipe, toy: airjax.Dataset, tmp_path: Path
) -> None:
    trained = airjax.train_network(recipe.override(final_pool="mean"), toy, seed=3)
    check_saved(trained, toy, tmp_path)


@pytest.mark.parametrize("stop_after", [2, 3, 7])  # calls: at a change of size, within one, and within the tail
def test_a_stopped_training_goes_on_to_the_same_bits(
    recipe: Recipe, toy: airjax.Dataset, tmp_path: Path, stop_after: int
) -> None:
    check_resumed(recipe, toy, tmp_path, stop_after)


def test_the_tail_ends_on_an_average(tiny: Recipe, toy: airjax.Dataset) -> None:
    # An average that keeps all of the past is the copy that it began as, of the network after two of sixteen steps, if
    # it takes the network's place after each of the others or after the last.
    kept = tiny.override(
        whiten_bias_epochs=None, lookahead=False, tail=True, tail_steps=14, tail_lead=0, tail_decay=1.0
    )
    always, once, never = (train(kept.override(**change), toy, 3) for change in TAILS)
    for one, other in zip(jax.tree.leaves(always.variables), jax.tree.leaves(once.variables), strict=True):
        assert np.array_equal(one, other)
    assert not np.array_equal(always.metrics.loss, once.metrics.loss)
    assert not np.array_equal(always.logits, never.logits)


def test_a_sweep_sets_both_in_a_plan(tmp_path: Path) -> None:
    rows = sweep_rows(PLAN, tmp_path)
    assert [row["changes"]["curriculum_antialias"] for row in rows] == [False, True]


RATES = (0.24, 0.1)


@pytest.fixture(scope="module")
def singles(recipe: Recipe, toy: airjax.Dataset) -> list[TrainedRun]:
    return train_singles(recipe, toy, RATES)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", strategies())
def test_every_strategy_trains_the_networks_of_single_runs(
    recipe: Recipe, toy: airjax.Dataset, singles: list[TrainedRun], strategy: Strategy
) -> None:
    check_members(recipe, toy, singles, strategy, RATES)


@pytest.mark.slow
@pytest.mark.nightly
def test_the_whole_run_as_one_function_is_the_same_training(recipe: Recipe, toy: airjax.Dataset) -> None:
    short = recipe.override(epochs=1.5, precision="float32", newton_schulz_precision="float32")
    check_whole_run(short, toy)
