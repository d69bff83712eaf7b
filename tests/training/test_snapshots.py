"""A training that was stopped goes on to the same bits."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import airjax
from airjax.kernels.backend import Driver
from airjax.recipes.recipe import Recipe
from airjax.training import loop, programs, snapshots
from airjax.training.arrays import to_device
from airjax.training.eval_plans import eval_plan
from airjax.training.events import Callbacks, Clock, EpochReport
from airjax.training.loop import TrainedRun, train
from airjax.training.many import run_many, seed_keys
from airjax.training.members import Strategy, make_members, strategy_backend
from airjax.training.programs import plan_calls
from airjax.training.snapshots import Keeping, StoppedError


class StopAfter:
    """Asks to stop after so many calls."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def __call__(self) -> bool:
        self.left -= 1
        return self.left == 0


@pytest.fixture(scope="module")
def four(tiny: Recipe) -> Recipe:
    """Four epochs of two steps."""
    return tiny.override(epochs=4.0, train_examples=64, test_examples=20, widths=(4, 4, 4))


def assert_same(ours: TrainedRun, theirs: TrainedRun) -> None:
    np.testing.assert_array_equal(ours.metrics.loss, theirs.metrics.loss)
    np.testing.assert_array_equal(ours.metrics.accuracy, theirs.metrics.accuracy)
    assert ours.metrics.loss.dtype == theirs.metrics.loss.dtype
    np.testing.assert_array_equal(ours.logits, theirs.logits)
    jax.tree.map(np.testing.assert_array_equal, ours.variables, theirs.variables)


@pytest.mark.parametrize(("driver", "calls", "steps"), [("loop", 3, 3), ("chunks", 2, 2), ("scan", 2, 4)])
def test_a_stopped_training_goes_on_to_the_bits_of_an_uninterrupted_one(
    four: Recipe, toy: airjax.Dataset, tmp_path: Path, driver: Driver, calls: int, steps: int
) -> None:
    reports: list[EpochReport] = []
    whole = train(four, toy, 3, driver=driver, keeping=Keeping(tmp_path / "whole"), on_epoch=reports.append)
    with pytest.raises(StoppedError, match=f"stopped after step {steps} of 8") as stopped:
        train(four, toy, 3, driver=driver, keeping=Keeping(tmp_path / "cut", 1, StopAfter(calls)))
    assert stopped.value.kept
    again: list[EpochReport] = []
    resumed = train(four, toy, 3, driver=driver, keeping=Keeping(tmp_path / "cut"), on_epoch=again.append)
    assert_same(resumed, whole)
    of_epochs = [(report.epoch, report.train_loss, report.train_accuracy) for report in reports]
    assert [(report.epoch, report.train_loss, report.train_accuracy) for report in again] == of_epochs[-len(again) :]
    assert len(again) < len(reports)  # the first ones were not trained again
    assert resumed.seconds["train"] > 0
    assert list((tmp_path / "cut").iterdir()) == []  # of what is finished nothing is left


@pytest.mark.parametrize(("driver", "calls"), [("chunks", (2, 1)), ("scan", (1, 1))])  # those of an epoch
def test_an_epoch_that_ends_as_the_training_is_stopped_is_reported_once(
    four: Recipe, toy: airjax.Dataset, tmp_path: Path, driver: Driver, calls: tuple[int, int]
) -> None:
    reports: list[EpochReport] = []
    arguments: dict[str, Any] = {"driver": driver, "validate": True, "on_epoch": reports.append}
    for count in calls:
        with pytest.raises(StoppedError):
            train(four, toy, 3, keeping=Keeping(tmp_path, 1, StopAfter(count)), **arguments)
    train(four, toy, 3, keeping=Keeping(tmp_path), **arguments)
    assert [report.epoch for report in reports] == [0, 1, 2, 3]
    assert [report.validation_accuracy is None for report in reports] == [True, True, False, False]


def test_snapshots_stay_until_the_network_is_kept_where_that_is_asked_for(
    four: Recipe, toy: airjax.Dataset, tmp_path: Path
) -> None:
    finished: list[Callable[[], None]] = []
    train(four, toy, 3, driver="scan", keeping=Keeping(tmp_path, on_finished=finished.append))
    assert list(tmp_path.glob("*/6"))
    (clear,) = finished
    clear()
    assert not list(tmp_path.iterdir())


def test_a_snapshot_that_cannot_be_written_is_an_error_of_the_system(
    four: Recipe, toy: airjax.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        def all_steps(self) -> list[int]:
            return []

        def save(self, *_: object, **__: object) -> None:
            raise ValueError("OUT_OF_RANGE: Error writing \"x\": No space left on device [os_error_code='28']")

    monkeypatch.setattr(snapshots.Snapshots, "_open", lambda self: self.folder.mkdir(exist_ok=True) or Full())
    with pytest.raises(OSError, match="a snapshot cannot be written: No space left on device") as raised:
        train(four, toy, 3, driver="scan", keeping=Keeping(tmp_path))
    assert raised.value.errno == errno.ENOSPC


def test_without_a_folder_a_stop_keeps_nothing(four: Recipe, toy: airjax.Dataset) -> None:
    with pytest.raises(StoppedError) as stopped:
        train(four, toy, 3, keeping=Keeping(should_stop=StopAfter(1)))
    assert not stopped.value.kept


def test_snapshots_are_taken_every_so_many_epochs_and_the_last_two_are_kept(
    four: Recipe, toy: airjax.Dataset, tmp_path: Path
) -> None:
    seen = []

    def look(report: EpochReport) -> None:
        seen.append(sorted(int(folder.name) for folder in tmp_path.glob("*/[0-9]*")))

    train(four, toy, 3, driver="scan", keeping=Keeping(tmp_path), on_epoch=look)
    assert seen == [[], [2], [2, 4], [4, 6]]  # before the snapshot of the epoch, which comes after its report
    seen.clear()
    train(four, toy, 3, driver="scan", keeping=Keeping(tmp_path, every=2), on_epoch=look)
    assert seen == [[], [], [4], [4]]


def test_another_training_takes_up_no_snapshot(four: Recipe, toy: airjax.Dataset, tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        train(four, toy, 3, driver="scan", keeping=Keeping(tmp_path, 1, StopAfter(2)))
    others: list[tuple[Recipe, airjax.Dataset, int]] = [
        (four, toy, 4),
        (four.override(learning_rate=3.0), toy, 3),
        (four.override(logit_scale=0.3), toy, 3),
        (four, toy.subset(np.arange(299, -1, -1)), 3),
    ]
    for recipe, data, seed in others:
        epochs: list[int] = []
        train(
            recipe, data, seed, driver="scan", keeping=Keeping(tmp_path), on_epoch=lambda r, e=epochs: e.append(r.epoch)
        )
        assert epochs == [0, 1, 2, 3]
    epochs = []
    train(four, toy, 3, driver="scan", keeping=Keeping(tmp_path), on_epoch=lambda report: epochs.append(report.epoch))
    assert epochs == [2, 3]


def test_snapshots_of_the_same_training_that_another_version_made_are_named(
    four: Recipe, toy: airjax.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = snapshots.versions()
    device = snapshots.device_name()
    monkeypatch.setattr(snapshots, "versions", lambda: here | {"jax": "0.0.1"})
    monkeypatch.setattr(snapshots, "device_name", lambda: "abacus")
    with pytest.raises(StoppedError):
        train(four, toy, 3, driver="scan", keeping=Keeping(tmp_path, 1, StopAfter(2)))
    monkeypatch.setattr(snapshots, "versions", lambda: here)
    monkeypatch.setattr(snapshots, "device_name", lambda: device)
    (kept,) = tmp_path.iterdir()
    train(four, toy, 4, driver="scan", keeping=Keeping(tmp_path))  # another training is not concerned
    differences = rf"jax 0.0.1 \(here: {here['jax']}\), device abacus \(here: .*\)"
    said = f"{kept} has snapshots of this training, made with {differences}: it starts anew"
    epochs: list[int] = []
    with pytest.warns(UserWarning, match=said):
        train(
            four, toy, 3, driver="scan", keeping=Keeping(tmp_path), on_epoch=lambda report: epochs.append(report.epoch)
        )
    assert epochs == [0, 1, 2, 3]
    assert list(tmp_path.iterdir()) == [kept]  # they stay for who can take them up
    (kept / "about.json").write_text("{")
    train(four, toy, 3, driver="scan", keeping=Keeping(tmp_path))


def test_a_damaged_snapshot_is_passed_over_for_the_one_before(
    four: Recipe, toy: airjax.Dataset, tmp_path: Path
) -> None:
    whole = train(four, toy, 3, driver="scan", keeping=Keeping(tmp_path))
    with pytest.raises(StoppedError):
        train(four, toy, 3, driver="scan", keeping=Keeping(tmp_path, 1, StopAfter(3)))
    (newest,) = tmp_path.glob("*/6")
    for file in newest.rglob("*"):
        if file.is_file() and "arrays" in str(file):
            file.write_bytes(b"")
    epochs: list[int] = []
    there: list[bool] = []

    def look(report: EpochReport) -> None:
        epochs.append(report.epoch)
        there.append(newest.exists())

    with pytest.warns(UserWarning, match=f"passing over the snapshot {newest}: "):
        resumed = train(four, toy, 3, driver="scan", keeping=Keeping(tmp_path), on_epoch=look)
    assert there == [True, True]  # the disk may be at fault; then the one of the same step takes its place
    assert epochs == [2, 3]
    assert_same(resumed, whole)


@pytest.mark.parametrize(
    "strategy", ["sequential", "interleaved", pytest.param("vmap", marks=[pytest.mark.slow, pytest.mark.nightly])]
)
def test_groups_go_on_to_the_same_bits(four: Recipe, toy: airjax.Dataset, tmp_path: Path, strategy: Strategy) -> None:
    arguments: dict[str, Any] = {"strategy": strategy, "driver": "scan", "progress": False}
    whole = run_many(four, seed_keys([0, 1]), toy, keeping=Keeping(tmp_path / "whole"), **arguments)
    with pytest.raises(StoppedError):
        run_many(four, seed_keys([0, 1]), toy, keeping=Keeping(tmp_path / "cut", 1, StopAfter(2)), **arguments)
    assert list((tmp_path / "cut").glob("*/*"))
    resumed = run_many(four, seed_keys([0, 1]), toy, keeping=Keeping(tmp_path / "cut"), **arguments)
    np.testing.assert_array_equal(resumed.metrics.loss, whole.metrics.loss)
    np.testing.assert_array_equal(resumed.logits, whole.logits)


def test_a_stop_after_the_last_step_leaves_only_the_evaluation(
    four: Recipe, toy: airjax.Dataset, tmp_path: Path
) -> None:
    whole = train(four, toy, 3, driver="scan", keeping=Keeping(tmp_path / "whole"))
    with pytest.raises(StoppedError, match="stopped after step 8 of 8"):
        train(four, toy, 3, driver="scan", keeping=Keeping(tmp_path / "cut", 9, StopAfter(4)))
    stages: list[str] = []
    resumed = train(four, toy, 3, driver="scan", keeping=Keeping(tmp_path / "cut"), on_phase=stages.append)
    assert "evaluate" in stages
    assert "train" not in stages
    assert_same(resumed, whole)
    # Without a folder there is nothing to go on from: it is evaluated.
    assert_same(train(four, toy, 3, driver="scan", keeping=Keeping(should_stop=StopAfter(4))), whole)


def test_a_long_training_that_is_killed_while_it_is_evaluated_is_not_trained_again(
    four: Recipe, toy: airjax.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    def stages_of(seconds: float) -> list[str]:
        keeping, stages = Keeping(tmp_path / str(seconds), 9), list[str]()
        with monkeypatch.context() as patch:
            patch.setattr(loop, "WORTH_KEEPING", seconds)
            patch.setattr(loop, "_evaluate", killed)
            with pytest.raises(KeyboardInterrupt):
                train(four, toy, 3, driver="scan", keeping=keeping)
        train(four, toy, 3, driver="scan", keeping=keeping, on_phase=stages.append)
        return stages

    assert "train" not in stages_of(0.0)
    assert "train" in stages_of(1000.0)  # soon done again


def test_finished_groups_are_not_trained_again(four: Recipe, toy: airjax.Dataset, tmp_path: Path) -> None:
    keys = seed_keys([0, 1, 2])
    arguments: dict[str, Any] = {"strategy": "sequential", "driver": "scan", "progress": False, "keep_variables": True}
    whole = run_many(four, keys, toy, keeping=Keeping(tmp_path / "whole"), validate=True, **arguments)
    assert list((tmp_path / "whole").iterdir()) == []
    stop = Keeping(tmp_path / "cut", 1, StopAfter(10))  # in the third: four calls each
    with pytest.raises(StoppedError):
        run_many(four, keys, toy, keeping=stop, validate=True, **arguments)
    assert len(list((tmp_path / "cut").glob("*.safetensors"))) == 2
    stages: list[str] = []
    resumed = run_many(
        four, keys, toy, keeping=Keeping(tmp_path / "cut"), validate=True, on_phase=stages.append, **arguments
    )
    assert (stages.count("whiten"), stages.count("evaluate")) == (1, 1)
    np.testing.assert_array_equal(resumed.metrics.loss, whole.metrics.loss)
    np.testing.assert_array_equal(resumed.logits, whole.logits)
    np.testing.assert_array_equal(resumed.plain_accuracy, whole.plain_accuracy)
    jax.tree.map(np.testing.assert_array_equal, resumed.variables, whole.variables)
    assert list((tmp_path / "cut").iterdir()) == []


def test_a_result_without_what_is_asked_for_and_a_damaged_one_are_passed_over(
    four: Recipe, toy: airjax.Dataset, tmp_path: Path
) -> None:
    arguments: dict[str, Any] = {"strategy": "sequential", "driver": "scan", "progress": False}

    def left() -> Keeping:
        with pytest.raises(StoppedError):  # in the second
            run_many(four, seed_keys([0, 1]), toy, keeping=Keeping(tmp_path, 9, StopAfter(6)), **arguments)
        return Keeping(tmp_path)

    stages: list[str] = []
    run_many(four, seed_keys([0, 1]), toy, keeping=left(), keep_variables=True, on_phase=stages.append, **arguments)
    assert stages.count("train") > 4
    keeping = left()
    (file,) = tmp_path.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.warns(UserWarning, match=f"passing over the finished networks in {file}"):
        run_many(four, seed_keys([0, 1]), toy, keeping=keeping, **arguments)


def test_seconds_of_earlier_groups_are_counted_once(four: Recipe, toy: airjax.Dataset, tmp_path: Path) -> None:
    clock = Clock()
    clock.add({"train": 1000.0})  # of groups before
    with pytest.raises(StoppedError):
        many(four, toy, clock, Keeping(tmp_path, 1, StopAfter(2)))
    again = Clock()
    again.add({"train": 500.0})
    many(four, toy, again, Keeping(tmp_path))
    assert 500 < again.seconds["train"] < 900


def many(recipe: Recipe, data: airjax.Dataset, clock: Clock, keeping: Keeping) -> None:
    """Train a group of one as `run_many` does, on a clock that has run."""
    backend = strategy_backend(recipe, "sequential", "scan")
    calls, arrays = plan_calls(recipe, backend, by_epoch=True), to_device(data, recipe)
    work = loop.Work(
        recipe, backend, "sequential", calls, arrays, eval_plan(recipe, backend), Callbacks(), keeping=keeping
    )
    members = make_members(recipe, seed_keys([0]))
    loop.train_group(work, members, loop.snapshots_for(work, members, data), clock)


@pytest.mark.parametrize(
    ("keeping", "error", "message"),
    [
        (Keeping(3), TypeError, "keeping.folder is 3, but it must be a path"),  # pyright: ignore[reportArgumentType]
        (Keeping("DIR", every=0), ValueError, r"keeping.every is 0 \(int\), but it must be a whole number from 1"),
    ],
)
def test_wrong_ways_to_keep_are_refused_before_anything_is_trained(
    four: Recipe, toy: airjax.Dataset, keeping: Keeping, error: type[Exception], message: str
) -> None:
    stages: list[str] = []
    with pytest.raises(error, match=message):
        train(four, toy, 3, keeping=keeping, on_phase=stages.append)
    assert stages == []


def test_a_folder_may_be_a_string(four: Recipe, toy: airjax.Dataset, tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        train(four, toy, 3, driver="scan", keeping=Keeping(str(tmp_path), 1, StopAfter(2)))
    assert list(tmp_path.glob("*/4"))


def test_a_snapshot_between_two_calls_of_other_programs_is_not_taken_up(
    four: Recipe, toy: airjax.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(four, toy, 3, driver="chunks")
    with monkeypatch.context() as patch:
        patch.setattr(programs, "CHUNK_STEPS", 1)
        programs._programs_of.cache_clear()
        with pytest.raises(StoppedError, match="after step 3 of 8"):
            train(four, toy, 3, driver="chunks", keeping=Keeping(tmp_path, 9, StopAfter(3)))
    programs._programs_of.cache_clear()
    with pytest.warns(UserWarning, match="no call begins after the 3 steps of the snapshot: training anew"):
        resumed = train(four, toy, 3, driver="chunks", keeping=Keeping(tmp_path))
    assert_same(resumed, whole)
