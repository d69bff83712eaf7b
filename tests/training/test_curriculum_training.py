"""Images that grow, and the tail, go through everything that images of one size do."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import airjax
from airjax.augment.batch import batch_at
from airjax.augment.resize import resize
from airjax.cli import sweep
from airjax.kernels.backend import make_backend
from airjax.nn.build import apply_eval, init_variables
from airjax.optim.hyperparameters import hyperparameters
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Recipe
from airjax.sweep.store import load
from airjax.training.backend import backend_of
from airjax.training.loop import TrainedRun, train
from airjax.training.many import run_many, seed_keys
from airjax.training.members import STRATEGIES, Strategy, make_members
from airjax.training.programs import kinds_of, plan_calls, steps_per_call
from airjax.training.run import Segment, Task, advance, make_run, segments, start_run
from airjax.training.snapshots import Keeping, StoppedError

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
    state, draws = start_run(recipe, backend, airjax.make_key(0), data.train_images, hyper)
    task = Task(data.train_images, data.train_labels, draws, hyper)
    take = functools.partial(advance, recipe, backend, state, task, batch_at=note)
    _, small = take(image_size=24)

    def scaled(*arguments: Any, **options: Any) -> Any:
        batch = batch_at(*arguments, **options)
        return batch._replace(images=resize(batch.images, 24))

    _, expected = advance(recipe, backend, state, task, batch_at=scaled)
    _, whole = take()
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
    variables = init_variables(recipe, backend_of(recipe), jax.random.key(0))
    logits = apply_eval(recipe, backend_of(recipe), variables, jnp.ones((2, size, size, 3)))
    assert logits.shape == (2, 10)


def test_a_trained_network_is_saved_loaded_and_predicts_the_same(
    recipe: Recipe, toy: airjax.Dataset, tmp_path: Path
) -> None:
    trained = airjax.train_network(recipe.override(final_pool="mean"), toy, seed=3)
    assert np.isfinite(trained.losses).all()
    airjax.save_model(tmp_path / "model.safetensors", trained.model)
    loaded = airjax.load(tmp_path / "model.safetensors")
    assert loaded.recipe == trained.model.recipe
    assert np.array_equal(airjax.infer(loaded, toy.test_images[:20]), trained.logits)


@pytest.mark.parametrize("stop_after", [2, 3, 7])  # calls: at a change of size, within one, and within the tail
def test_a_stopped_training_goes_on_to_the_same_bits(
    recipe: Recipe, toy: airjax.Dataset, tmp_path: Path, stop_after: int
) -> None:
    asked = iter([*((stop_after - 1) * [False]), True])
    with pytest.raises(StoppedError):
        train(recipe, toy, 3, driver="loop", keeping=Keeping(tmp_path, 1, functools.partial(next, asked)))
    resumed = train(recipe, toy, 3, driver="loop", keeping=Keeping(tmp_path))
    whole = train(recipe, toy, 3, driver="loop")
    np.testing.assert_array_equal(resumed.metrics.loss, whole.metrics.loss)
    np.testing.assert_array_equal(resumed.logits, whole.logits)


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
    (tmp_path / "plan.toml").write_text(PLAN)
    assert sweep.main([str(tmp_path / "plan.toml"), "--out", str(tmp_path / "out"), "--workers", "1"]) == 0
    rows = load(tmp_path / "out").rows
    assert [row["changes"]["curriculum_antialias"] for row in rows] == [False, True]
    assert not any(row["error"] for row in rows)


@pytest.fixture
def _x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


RATES = (0.24, 0.1)


@pytest.fixture(scope="module")
def singles(recipe: Recipe, toy: airjax.Dataset) -> list[TrainedRun]:
    with jax.enable_x64(True):
        exact = recipe.override(precision="float64")
        return [train(exact.override(learning_rate=rate), toy, seed) for seed, rate in enumerate(RATES)]


@pytest.mark.slow
@pytest.mark.usefixtures("_x64")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_trains_the_networks_of_single_runs(
    recipe: Recipe, toy: airjax.Dataset, singles: list[TrainedRun], strategy: Strategy
) -> None:
    exact = recipe.override(precision="float64")
    members = make_members(exact, seed_keys(range(2)), learning_rate=RATES)
    done = run_many(exact, members, toy, strategy=strategy)
    assert not np.array_equal(singles[0].metrics.loss, singles[1].metrics.loss)
    for k, single in enumerate(singles):
        # The order of the sums differs; eight steps amplify that.
        np.testing.assert_allclose(done.metrics.loss[k], single.metrics.loss, rtol=1e-9)
        np.testing.assert_allclose(done.logits[k], single.logits, rtol=0, atol=1e-9)


@pytest.mark.slow
def test_the_whole_run_as_one_function_is_the_same_training(recipe: Recipe, toy: airjax.Dataset) -> None:
    short = recipe.override(epochs=1.5, precision="float32", newton_schulz_precision="float32")
    result = jax.jit(make_run(short))(airjax.make_key(3), airjax.to_device(toy, short))
    np.testing.assert_allclose(result.metrics.loss, train(short, toy, 3).metrics.loss, rtol=1e-3)
