"""What trackers are told, read back by their own readers, and that none of them ends a training."""

import errno
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from airjax.cli import train
from airjax.cli.trackers import TRACKERS, find_tracker
from airjax.cli.tracking import Sink, Tracking
from airjax.recipes.published import RECIPES
from airjax.training.events import EpochReport
from airjax.training.loop import TrainedRun
from airjax.training.step import StepMetrics

TINY = ["--recipe", "tiny", "--data", "builtin", "--quiet"]
LOGGED = {"epoch/train_loss", "epoch/train_accuracy", "test/accuracy", "seconds/train", "train/loss", "train/accuracy"}


class Recorder:
    """A tracker that keeps what it is told; it fails at that of its calls, counted from 0."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.runs: list[tuple[str, dict[str, Any], list[tuple[int, dict[str, float]]]]] = []
        self.calls, self.closed, self._fails_at = 0, 0, fails_at

    def open(self, name: str, config: dict[str, Any]) -> Sink:
        self._call()
        self.runs.append((name, config, []))
        return Sink(self.log, self.close)

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._call()
        self.runs[-1][2].append((step, dict(values)))

    def close(self) -> None:
        self.closed += 1

    def _call(self) -> None:
        self.calls += 1
        if self.calls - 1 == self._fails_at:
            raise OSError(errno.ENOSPC, "No space left on device")


def finished(seed: int) -> TrainedRun:
    metrics = StepMetrics(np.zeros(16, np.float32), np.zeros(16, np.float32))
    return TrainedRun(RECIPES["tiny"], seed, {}, metrics, np.zeros((1, 10), np.float32), 0.5, {"train": 2.0})


def tell(tracking: Tracking, seeds: list[int]) -> None:
    """A training of tiny, 16 steps in 2 epochs, of one network or a group."""
    shape = () if len(seeds) == 1 else (len(seeds), 2)
    loss = np.arange(int(np.prod(shape)), dtype=np.float32).reshape(shape) + 1
    with tracking:
        tracking.begin(RECIPES["tiny"], seeds)
        tracking.step(1, StepMetrics(loss, np.zeros(shape, np.float32)))
        tracking.step(2, StepMetrics(loss, np.zeros(shape, np.float32)))  # within a second
        tracking.epoch(EpochReport(0, 2.0, 0.25, None, None, 0.5))
        tracking.epoch(EpochReport(1, 1.0, 0.5, 0.25, 0.75, 1.0))
        for seed in seeds:
            tracking.run(finished(seed))


def test_a_network_has_a_run_whose_steps_are_those_of_the_training() -> None:
    recorder = Recorder()
    tell(Tracking("it", recorder.open, {"recipe_name": "tiny"}), [3])
    ((name, config, logged),) = recorder.runs
    assert (name, config["seeds"], config["learning_rate"]) == (
        "tiny seed 3",
        [3],
        RECIPES["tiny"].flat()["learning_rate"],
    )
    assert [step for step, _ in logged] == [1, 8, 16, 16]
    assert logged[0][1] == {"train/loss": 1.0, "train/accuracy": 0.0}
    assert logged[1][1] == {
        "epoch/epoch": 1,
        "epoch/train_loss": 2.0,
        "epoch/train_accuracy": 0.25,
        "epoch/seconds": 0.5,
    }
    assert logged[2][1]["epoch/tta_accuracy"] == 0.75
    assert logged[3][1] == {"test/accuracy": 0.5, "seconds/train": 2.0}
    assert recorder.closed == 1


def test_a_group_has_one_run_with_means_and_an_accuracy_for_each_seed() -> None:
    recorder = Recorder()
    tell(Tracking("it", recorder.open, {"recipe_name": "tiny"}), [0, 1])
    ((name, _, logged),) = recorder.runs
    assert name == "tiny seeds 0 to 1"
    assert logged[0][1]["train/loss"] == 2.5  # of 1, 2, 3, 4
    assert [next(iter(values)) for _, values in logged[3:]] == ["test/accuracy/seed 0", "test/accuracy/seed 1"]


@pytest.mark.parametrize("fails_at", range(4))
def test_a_tracker_that_fails_is_given_up_with_one_warning(fails_at: int, capsys: pytest.CaptureFixture[str]) -> None:
    recorder = Recorder(fails_at)
    tell(Tracking("it", recorder.open, {"recipe_name": "tiny"}), [0])
    assert recorder.calls == fails_at + 1
    assert recorder.closed == (fails_at > 0)
    warning = "warning: it fails ([Errno 28] No space left on device); training goes on without it\n"
    assert capsys.readouterr().err == warning


@pytest.mark.usefixtures("small_builtin")
def test_a_training_goes_on_without_its_tracker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder = Recorder(fails_at=2)
    monkeypatch.setattr(train, "find_tracker", lambda name, folder, project: recorder.open)
    assert train.main([*TINY, "--track", "trackio", "--out", str(tmp_path), "--json"]) == 0
    captured = capsys.readouterr()
    assert recorder.calls == 3
    assert captured.err.count("warning: trackio fails") == 1
    assert json.loads(captured.out.splitlines()[-1])["seeds"] == [0]
    assert (tmp_path / "model-0.safetensors").exists()


@pytest.mark.parametrize("name", TRACKERS)
def test_a_library_that_is_missing_is_named_with_the_command_that_installs_it(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in [loaded for loaded in sys.modules if loaded.split(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    assert train.main([*TINY, "--track", name]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: --track {name} needs {name}, which cannot be imported")
    assert captured.err.endswith(f"pip install 'airjax[{name}]'\n")
    assert captured.out == ""


def test_no_tracker_is_imported_unless_it_is_asked_for() -> None:
    script = f"import sys, airjax.cli.train; print(sorted(set({TRACKERS}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.usefixtures("small_builtin")
@pytest.mark.parametrize("strategy", ["sequential", "vmap"])
def test_tensorboard_reads_what_a_training_logged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], strategy: str
) -> None:
    reason = "tensorboard is not installed (pip install '.[tensorboard]')"
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason=reason)
    arguments = ["--seeds", "2", "--strategy", strategy, "--out", str(tmp_path), "--json"]
    assert train.main([*TINY, "--track", "tensorboard", *arguments]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    runs = {"sequential": ["tiny-seed-0", "tiny-seed-1"], "vmap": ["tiny-seeds-0-to-1"]}[strategy]
    assert sorted(entry.name for entry in (tmp_path / "tensorboard").iterdir()) == runs
    events = reader.EventAccumulator(str(tmp_path / "tensorboard" / runs[0])).Reload()
    tags = {tag.removesuffix("/seed 0") for tag in events.Tags()["tensors"]}
    assert tags >= LOGGED | {"config/text_summary"} or tags >= LOGGED | {"config"}
    (found,) = events.Tensors("test/accuracy" + ("" if strategy == "sequential" else "/seed 0"))
    assert found.step == 16
    np.testing.assert_allclose(found.tensor_proto.float_val, result["accuracy"][0], rtol=1e-6)
    assert [event.step for event in events.Tensors("epoch/train_loss")] == [8, 16]


def test_a_full_disk_costs_tensorboards_file_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed (pip install '.[tensorboard]')")
    resource = pytest.importorskip("resource", reason="this system has no limit to the size of files")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Tracking("tensorboard", find_tracker("tensorboard", tmp_path), {"recipe_name": "tiny"}) as tracking:
        tracking.begin(RECIPES["tiny"], [0])
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
            for _ in range(2_000):
                tracking.epoch(EpochReport(0, 2.0, 0.25, None, None, 0.5))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    (file,) = (tmp_path / "tiny-seed-0").iterdir()
    assert 10_000 < file.stat().st_size <= 100_000
    warning = "warning: tensorboard fails ([Errno 27] File too large); training goes on without it\n"
    assert capsys.readouterr().err == warning


def test_trackio_keeps_a_run_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    trackio = pytest.importorskip("trackio", reason="trackio is not installed (pip install '.[trackio]')")
    tell(Tracking("trackio", find_tracker("trackio", tmp_path, "here"), {"recipe_name": "tiny"}), [4])
    captured = capsys.readouterr()
    assert "warning" not in captured.err
    assert captured.out == ""  # which is for the results
    (run,) = trackio.Api().runs("here")
    assert (run.name, run.config["seeds"]) == ("tiny seed 4", [4])
    storage = pytest.importorskip("trackio.sqlite_storage").SQLiteStorage
    logged = storage.get_logs("here", "tiny seed 4")
    assert [entry["step"] for entry in logged] == [1, 8, 16, 16]
    assert logged[-1]["test/accuracy"] == 0.5


def test_a_training_of_the_same_name_is_a_tensorboard_run_of_its_own(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed (pip install '.[tensorboard]')")
    for _ in range(3):
        find_tracker("tensorboard", tmp_path)("tiny/seed 0", {}).close()
    assert sorted(place.name for place in tmp_path.iterdir()) == [
        "tiny-seed-0",
        "tiny-seed-0-run-2",
        "tiny-seed-0-run-3",
    ]
