"""Sweeps of tiny networks, in real processes that are really killed."""

import io
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from rich.console import Console

import airjax
from airjax.cli import sweep
from airjax.cli.sweep import main, make_chunks
from airjax.kernels.backend import Ops
from airjax.sweep import store as results
from airjax.sweep import worker as workers
from airjax.sweep.cluster import NodeLostError
from airjax.sweep.folder import planned_ids, prepare_folder
from airjax.sweep.plan import SAME_NUMBERS_SINCE, Plan, Subsets, identity_of, make_plan, subset_of
from airjax.sweep.status import phases_of, read_phases
from airjax.sweep.watch import Watch
from airjax.sweep.worker import Chunk, Job, Outcome, Report, Source
from airjax.training import self_check
from airjax.training.loop import train
from airjax.training.many import run_many
from airjax.training.snapshots import StoppedError
from airjax.utils.records import lock_folder, write_json
from benchmarks.kills import sweep_with_kills

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("AIRJAX_TEST_KILLS", "3"))
PLAN = 'recipe = "tiny"\ndata = "builtin"\nseeds = {seeds}\n[grid]\nlearning_rate = [5.0, 11.5]\n'
CONTENT: dict[str, Any] = {"recipe": "tiny", "data": "builtin", "seeds": 3}


def job_of(plan: Plan, out: Path, **changes: Any) -> Job:
    arguments: dict[str, Any] = {"data_dir": None, "strategy": "sequential", "platform": "cpu", "data": {}} | changes
    return Job(plan, out, **arguments)


def ids_of(plan: Plan) -> list[str]:
    """The ids of a plan's settings, on builtin data of fingerprint f and in version 1."""
    return [plan.setting_id(setting, "f", "1") for setting in plan.settings]


SOURCES: dict[Any, Source] = {"builtin": Source("f", "unknown", None)}


@pytest.fixture
def train_here(monkeypatch: pytest.MonkeyPatch, toy: airjax.Dataset) -> Any:
    """Trains all runs of a job in this process, as one chunk, on the toy data."""

    def run(job: Job) -> results.Results:
        writer = results.Writer(job.out, workers.worker_name())
        monkeypatch.setattr(workers, "_job", job)
        monkeypatch.setattr(workers, "_worker", workers._Worker(job, writer, {"builtin": toy}, {"environment": "e"}))
        workers.train_chunk(Chunk(tuple(job.plan.runs({"builtin": "f"}, "1"))))
        return results.load(job.out)

    return run


def test_chunks_share_a_program() -> None:
    plan = make_plan(CONTENT | {"seeds": 5, "grid": {"learning_rate": [5.0, 9.0], "flip": ["none", "random"]}})
    runs = list(plan.runs({"builtin": "f"}, "1"))
    chunks = list(make_chunks(plan, ids_of(plan), {}, 4))
    # Two programs, one for each flip, of ten networks each; learning rates are mixed.
    assert [len(chunk.runs) for chunk in chunks] == [4, 4, 2, 4, 4, 2]
    assert sorted(run for chunk in chunks for run in chunk.runs) == sorted(runs)
    for chunk in chunks:
        assert len({plan.settings[run.setting].recipe.augmentation.flip for run in chunk.runs}) == 1


def test_networks_are_those_of_the_library(tmp_path: Path, train_here: Any, toy: airjax.Dataset) -> None:
    keep = {"logits": True, "networks": True, "plain_accuracy": True}
    content = CONTENT | {"keep": keep, "subsets": {"count": 2, "fraction": 0.5}}
    plan = make_plan(content)
    found = train_here(job_of(plan, tmp_path))
    assert len(found.rows) == 6
    row = found.only(seed=2, subset=1).rows[0]
    subset = toy.subset(plan.subsets.indices(1, plan.settings[0].pool)) if plan.subsets else toy
    single = train(plan.settings[0].recipe, subset, 2)
    assert row["accuracy"] == single.accuracy
    place = found.rows.index(row)
    curve = found.array("curves")[place]
    assert curve.shape == (2, 2)
    np.testing.assert_allclose(curve.mean(0), [single.metrics.loss.mean(), single.metrics.accuracy.mean()], rtol=1e-5)
    np.testing.assert_array_equal(found.array("predictions")[place], single.logits.argmax(1))
    np.testing.assert_allclose(found.array("logits")[place], single.logits, rtol=1e-3, atol=1e-4)  # float16
    model = airjax.load(Path(row["folder"]) / "networks" / f"{row['id']}.safetensors")
    assert airjax.evaluate(model, toy) == single.accuracy
    assert airjax.evaluate(model, toy, tta_level=0) == row["plain_accuracy"]


def test_a_folder_tells_its_plan_and_takes_a_larger_one_but_no_other(tmp_path: Path) -> None:
    subsets = {"count": 2, "fraction": 0.5}
    content = CONTENT | {"seeds": 1, "subsets": subsets, "set": {"train_examples": 200}}
    (name,) = prepare_folder(make_plan(content), tmp_path, SOURCES)
    row = {"setting": name, "subset": 1}
    drawn = subset_of(results.read_plan(tmp_path), row)
    np.testing.assert_array_equal(drawn, Subsets(2, 0.5).indices(1, 200))
    prepare_folder(make_plan(content | {"seeds": 2, "subsets": subsets | {"count": 3}}), tmp_path, SOURCES)
    for other in ({"subsets": subsets}, {"subsets": subsets | {"fraction": 0.4}}, {"seeds": [5]}, {"set": {}}):
        with pytest.raises(sweep.SweepError, match="holds another sweep"):
            prepare_folder(
                make_plan(content | {"seeds": 2, "subsets": subsets | {"count": 3}} | other), tmp_path, SOURCES
            )


def test_a_folder_of_a_version_whose_ids_knew_2_from_2_point_0_is_gone_on_with(tmp_path: Path) -> None:
    content = CONTENT | {"set": {"epochs": 2}, "grid": {"learning_rate": [5, 11.5]}}
    plan = make_plan(content)
    # As it was written: numbers as the plan has them, seeds one by one, nothing about the data.
    written = [identity_of(setting.recipe) | {"epochs": 2} for setting in plan.settings]
    written[0]["learning_rate"] = 5
    version = SAME_NUMBERS_SINCE
    old = [plan.setting_id(plan.settings[0], "f", version, recipe) for recipe in written]
    assert set(old).isdisjoint(plan.setting_id(setting, "f", version) for setting in plan.settings)
    described = {
        "recipe": "tiny",
        "num_runs": 6,
        "seeds": [0, 1, 2],
        "subsets": None,
        "settings": {name: {} for name in old},
        "pools": {},
        "recipes": written,
    }
    write_json(tmp_path / "plan.json", described)
    grown = {"grid": {"learning_rate": [5.0, 8.0, 11.5]}, "set": {"epochs": 2.0}, "seeds": 4}
    for again in (content, content | grown, content | grown):
        names = prepare_folder(make_plan(again), tmp_path, SOURCES)
        assert [names[0], names[-1]] == old
    with pytest.raises(sweep.SweepError, match="holds another sweep"):
        prepare_folder(make_plan(content), tmp_path, {"builtin": Source("other data", "unknown", None)})


def test_finished_networks_of_a_plan_are_those_of_its_settings_seeds_and_subsets() -> None:
    plan = make_plan(CONTENT | {"seeds": [3, 5], "subsets": {"count": 2, "fraction": 0.5}})
    ids = {"a-3-0", "a-3-1", "a-5-0", "a-3-2", "a-4-0", "b-3-0", "a-3"}
    assert planned_ids(plan, ["a"], ids) == {"a-3-0", "a-3-1", "a-5-0"}
    assert planned_ids(make_plan(CONTENT), ["a"], {"a-0", "a-2", "a-3", "a-0-0"}) == {"a-0", "a-2"}


def test_a_plan_of_billions_is_cut_into_chunks_as_they_are_needed() -> None:
    plan = make_plan(CONTENT | {"seeds": 2**32})
    chunks = make_chunks(plan, ["a"], {"a-0", "a-2"}, 3)
    assert [run.seed for run in next(chunks).runs] == [1, 3, 4]


def test_curves_are_means_over_epochs() -> None:
    curve = workers.epoch_means(np.arange(7.0), np.ones(7), 3, 4)
    np.testing.assert_array_equal(curve, np.array([[1, 1], [4, 1], [6, 1], [np.nan, np.nan]], np.float32))


@pytest.mark.slow
@pytest.mark.nightly
def test_interleaved_networks_of_a_sweep_are_those_one_after_another(tmp_path: Path, train_here: Any) -> None:
    plan = make_plan(CONTENT | {"keep": {"logits": True}, "grid": {"learning_rate": [5.0, 11.5]}})
    alone, turns = (
        train_here(job_of(plan, tmp_path / strategy, strategy=strategy)) for strategy in ("sequential", "interleaved")
    )
    assert len(turns.rows) == 6
    for row in turns.rows:
        [place] = [k for k, one in enumerate(alone.rows) if one["id"] == row["id"]]
        assert alone.rows[place]["accuracy"] == row["accuracy"]
        for name in ("logits", "curves"):
            np.testing.assert_array_equal(turns.array(name)[turns.rows.index(row)], alone.array(name)[place])


@pytest.mark.slow
def test_a_kept_network_has_the_values_that_it_was_trained_with(tmp_path: Path, train_here: Any) -> None:
    plan = make_plan(CONTENT | {"seeds": 1, "keep": {"networks": True}, "grid": {"learning_rate": [5.0, 11.5]}})
    files: dict[str, list[bytes]] = {}
    for strategy in ("sequential", "interleaved"):  # the first of them one after another, the second in one chunk
        found = train_here(job_of(plan, tmp_path / strategy, strategy=strategy))
        for row in sorted(found.rows, key=lambda row: row["id"]):
            file = Path(row["folder"]) / "networks" / f"{row['id']}.safetensors"
            assert airjax.load(file).recipe.optimizer.learning_rate == row["changes"]["learning_rate"]
            files.setdefault(strategy, []).append(file.read_bytes())
    assert files["interleaved"] == files["sequential"]


@pytest.mark.slow
def test_a_diverged_network_is_recorded_and_counted(tmp_path: Path, train_here: Any) -> None:
    plan = make_plan(CONTENT | {"seeds": 2, "grid": {"learning_rate": [11.5, 1e9]}, "set": {"bias_scale": 1e6}})
    found = train_here(job_of(plan, tmp_path, strategy="vmap"))
    assert [row["diverged"] for row in found.rows if row["changes"]["learning_rate"] == 1e9] == [True, True]
    assert all(row["accuracy"] is not None and row["error"] is None for row in found.rows)


@pytest.mark.slow
def test_one_faulty_network_takes_no_other_with_it(
    tmp_path: Path, train_here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_on_seed_one(recipe: Any, members: Any, *rest: Any, **options: Any) -> Any:
        if 1 in np.asarray(jax.random.key_data(members.keys))[:, 1]:
            raise RuntimeError("no luck")
        return run_many(recipe, members, *rest, **options)

    monkeypatch.setattr(workers, "run_many", fail_on_seed_one)
    found = train_here(job_of(make_plan(CONTENT), tmp_path, strategy="vmap"))
    assert {row["seed"]: row["error"] for row in found.rows} == {0: None, 1: "RuntimeError: no luck", 2: None}


def test_out_of_memory_is_tried_once_more_with_a_smaller_evaluation(
    tmp_path: Path, train_here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def run_out(*arguments: Any, eval_size: int | None = None, **options: Any) -> Any:
        sizes.append(eval_size)
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr(workers, "run_many", run_out)
    found = train_here(job_of(make_plan(CONTENT | {"seeds": 1}), tmp_path))
    assert sizes == [None, 12]
    assert "RESOURCE_EXHAUSTED" in found.rows[0]["error"]


def test_a_disk_without_room_trains_nothing(
    tmp_path: Path, small_builtin: airjax.Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=40_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    (tmp_path / "plan.toml").write_text('recipe = "tiny"\ndata = "builtin"\nseeds = 100\n[set]\ntrain_examples = 256\n')
    assert main([str(tmp_path / "plan.toml"), "--out", str(tmp_path / "out")]) == 2
    assert "needs 51.6 kB, but" in capsys.readouterr().err
    # Nothing in the folder keeps a smaller plan out.
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["lock"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "airjax-test", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("may not mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
def test_a_disk_that_fills_up_keeps_whole_networks(small_disk: Path, train_here: Any) -> None:
    plan = make_plan(CONTENT | {"seeds": 200})
    filler = small_disk / "filler"
    filler.write_bytes(bytes(40_000))
    with pytest.raises(OSError, match="No space left"):
        train_here(job_of(plan, small_disk))
    finished = results.completed_ids(small_disk)
    assert 0 < len(finished) < 200
    assert len(results.load(small_disk).array("predictions")) == len(finished)
    filler.unlink()
    small = make_plan(CONTENT | {"seeds": len(finished) + 2})
    left = [run for run in small.runs({"builtin": "f"}, "1") if run.id not in finished]
    workers.train_chunk(Chunk(tuple(left)))  # the same worker goes on, after what it could not write
    assert len(results.load(small_disk).array("predictions")) == len(finished) + 2


def test_a_clock_that_jumps_changes_no_duration(
    tmp_path: Path, train_here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    jumps = itertools.count(2e9, -1e8)
    for name, unit in (("time", 1), ("time_ns", 10**9)):
        monkeypatch.setattr(time, name, lambda unit=unit: type(unit)(next(jumps) * unit))
    found = train_here(job_of(make_plan(CONTENT | {"seeds": 2}), tmp_path))
    assert len(found.rows) == 2
    assert all(0 < row["seconds"] < 600 for row in found.rows)


def test_a_damaged_compilation_cache_is_recompiled(tmp_path: Path) -> None:
    script = (
        "import jax, sys, jax.numpy as jnp\n"
        "from airjax.training.compile import keep_compiled\n"
        "keep_compiled()\n"
        "print(float(jax.jit(lambda x: (x @ x.T).sum())(jnp.ones((64, 64)))))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "AIRJAX_CACHE": str(tmp_path), "TF_CPP_MIN_LOG_LEVEL": "3"}

    def run() -> tuple[str, str]:
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout, done.stderr

    assert run() == ("262144.0\n", "")
    entries = list((tmp_path / "compiled").rglob("*-cache"))
    assert entries
    for file in entries:
        content = bytearray(file.read_bytes())
        for place in range(len(content) // 3, len(content), len(content) // 3 or 1):
            content[place] ^= 0xFF
        file.write_bytes(content)
    output, warning = run()
    assert output == "262144.0\n"
    assert "cache" in warning
    assert run()[0] == "262144.0\n"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_kills_at_random_moments_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    found = sweep_with_kills(tmp_path, networks=20 * KILLS, kills=KILLS)
    assert sum(found.kills.values()) == KILLS
    assert found.finished == found.planned == 20 * KILLS
    assert (found.lost, found.unplanned, found.twice, found.failed, found.conflicts) == (0, 0, 0, 0, 0)
    out = tmp_path / "out"
    (environment,) = map(json.loads, (out / "environments.jsonl").read_text().splitlines())
    assert {row["environment"] for row in results.load(out).rows} == {environment["environment"]}
    assert environment["versions"]["jax"] == jax.__version__


def sleep_on_seed_one(chunk: Chunk) -> Report:
    """Stands in for training: one network never ends."""
    if any(run.seed == 1 for run in chunk.runs):
        time.sleep(1000)
    job = workers._job
    assert job is not None
    writer = results.Writer(job.out, workers.worker_name())
    for run in chunk.runs:
        writer.add(workers.run_record(job, run, None) | {"accuracy": 0.5})
    return Report([Outcome(run.id, run.setting, 0.5, False, None) for run in chunk.runs], {"environment": "e"})


def die_on_seed_one(chunk: Chunk) -> Report:
    """Stands in for training: one network takes its process with it."""
    if any(run.seed == 1 for run in chunk.runs):
        os.kill(os.getpid(), signal.SIGKILL)
    return sleep_on_seed_one(chunk)


def sleep_on_seed_one_and_die_on_two(chunk: Chunk) -> Report:
    """Stands in for training: both."""
    if any(run.seed == 2 for run in chunk.runs):
        os.kill(os.getpid(), signal.SIGKILL)
    return sleep_on_seed_one(chunk)


@pytest.mark.parametrize(
    ("stand_in", "reason"), [(sleep_on_seed_one, "took longer than 0.02 minutes"), (die_on_seed_one, "process died")]
)
def test_a_network_that_hangs_or_kills_its_process_is_given_up_and_the_rest_goes_on(
    tmp_path: Path,
    small_builtin: airjax.Dataset,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stand_in: Any,
    reason: str,
) -> None:
    monkeypatch.setattr(sweep, "train_chunk", stand_in)
    monkeypatch.setattr(sweep, "check_data", lambda plan, folder: SOURCES)
    (tmp_path / "plan.toml").write_text('recipe = "tiny"\ndata = "builtin"\nseeds = 4\n')
    assert main([str(tmp_path / "plan.toml"), "--out", str(tmp_path / "out"), "--minutes", "0.02"]) == 1
    rows = {row["seed"]: row["error"] for row in results.load(tmp_path / "out").rows}
    assert [rows[seed] for seed in (0, 2, 3)] == [None] * 3
    assert reason in rows[1]
    assert "3 of 4 networks, 1 failed" in capsys.readouterr().out


class LosesMachines:
    """Stands in for a cluster of machines that are lost, so many times, with what they work on."""

    workers = 1

    def __init__(self, times: int) -> None:
        self.times, self.sizes = times, []

    def schedule(self, function: Any, chunk: Chunk, seconds: float | None) -> "Future[Report]":
        future: Future[Report] = Future()
        self.sizes.append(len(chunk.runs))
        if len(self.sizes) <= self.times:
            future.set_exception(NodeLostError("a machine was lost"))
        else:
            outcomes = [Outcome(run.id, run.setting, 0.5, False, None) for run in chunk.runs]
            future.set_result(Report(outcomes, {"environment": "e"}))
        return future

    def stop_late(self) -> None:
        """Nothing takes any time."""


@pytest.mark.parametrize(
    ("times", "sizes", "failed"),
    [
        (5, [3] * 6, 0),  # five machines are no reason to suspect the networks
        (1000, [3] * 6 + [1] * 6, 3),  # each on its own, twice
    ],
)
def test_a_lost_machine_is_not_held_against_its_networks(
    tmp_path: Path, times: int, sizes: list[int], failed: int
) -> None:
    plan = make_plan(CONTENT)
    chunks = make_chunks(plan, ids_of(plan), {}, 8)
    pool: Any = LosesMachines(times)
    watch = Watch(Console(file=io.StringIO()), plan, 3)
    sweep._drain(job_of(plan, tmp_path), pool, map(sweep._Attempt, chunks), watch, None)
    assert pool.sizes == sizes
    assert (watch.done, watch.failed) == (3, failed)


def train_with_a_wrong_compiler(chunk: Chunk) -> Report:
    """Training, in a process whose convolutions are a little wrong."""
    right = self_check.default_ops

    def wrong(dtype: str) -> Ops:
        ops = right(dtype)
        return ops._replace(conv_same=lambda x, kernel: ops.conv_same(x, kernel) * 1.001)

    workers.run_checks = lambda: self_check.run_checks(wrong)
    return workers.train_chunk(chunk)


def test_a_compiler_with_wrong_numbers_trains_nothing(
    tmp_path: Path, small_builtin: airjax.Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sweep, "train_chunk", train_with_a_wrong_compiler)
    (tmp_path / "plan.toml").write_text('recipe = "tiny"\ndata = "builtin"\nseeds = 1\n[set]\ntrain_examples = 256\n')
    assert main([str(tmp_path / "plan.toml"), "--out", str(tmp_path / "out")]) == 2
    assert "wrong numbers (convolution" in capsys.readouterr().err
    assert not (tmp_path / "out" / "workers").exists()


def refuse(job: Job) -> str:
    """What a worker says of this machine before its first network."""
    with pytest.raises(workers.WorkerError) as caught:
        workers._check_and_load(job)
    return str(caught.value)


def test_a_machine_that_would_train_something_else_trains_nothing(
    tmp_path: Path, small_builtin: airjax.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "run_checks", list)
    plan = make_plan(CONTENT)
    assert "computes on a cpu, the sweep on gpus" in refuse(job_of(plan, tmp_path, platform="gpu"))
    assert f"does not see {tmp_path}" in refuse(job_of(plan, tmp_path))
    (tmp_path / "plan.json").touch()
    assert "builtin on" in refuse(job_of(plan, tmp_path, data={"builtin": Source("another", "unknown", None)}))
    assert "nowhere does not exist" in refuse(
        job_of(plan, tmp_path, data_dir=tmp_path / "nowhere", data={"cifar10": Source("another", "unknown", None)})
    )
    assert not (tmp_path / "workers").exists()
    right = Source(small_builtin.fingerprint, "unknown", None)
    workers._check_and_load(job_of(plan, tmp_path, data={"builtin": right}))
    assert (tmp_path / "workers").exists()


DRIVER = """
import sys
import jax
from airjax.cli import sweep
from test_sweep import sleep_on_seed_one
sweep.train_chunk = sleep_on_seed_one
# Of this process alone: whatever starts a backend in it fails.
jax.config.update("jax_platforms", "none")
assert sweep.main(sys.argv[1:]) == 0
try:
    jax.devices()
except RuntimeError:
    print("JAX never started")
"""


def test_the_driver_never_starts_jax(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text('recipe = "tiny"\ndata = "builtin"\nseeds = [0, 2]\n')
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(tmp_path / "plan.toml"), "--out", str(out), "--chunk", "1"],
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{Path(__file__).parent}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[-1:] == ["JAX never started"], done.stderr
    assert len(results.completed_ids(out)) == 2
    assert (out / "environments.jsonl").read_text() == '{"environment": "e"}\n'


@pytest.mark.slow
@pytest.mark.nightly
def test_workers_that_find_their_programs_compiled_say_nothing_of_it(tmp_path: Path) -> None:
    plan = 'recipe = "tiny"\ndata = "builtin"\nseeds = {}\n'
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_CPP_")}
    for seeds in (1, 2):
        (tmp_path / "plan.toml").write_text(plan.format(seeds))
        done = subprocess.run(
            [sys.executable, "-m", "airjax.sweep", tmp_path / "plan.toml", "--out", tmp_path / "out", "--workers", "1"],
            env=environment | {"PYTHONPATH": str(ROOT), "AIRJAX_CACHE": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stderr == ""
    assert len(results.completed_ids(tmp_path / "out")) == 2


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ("recipe = 'none'\nseeds = 1", "unknown recipe 'none'"),
        (
            "recipe = 'mini'\ndata = 'builtin'\nseeds = 1",
            "trains on 3000 and tests on 2000 images, but builtin has 300 and 100 test images; write "
            "train_examples = 300 and test_examples = 100 under [set]",
        ),
        (
            "recipe = 'tiny'\ndata = 'synthetic'\nvalidation = 20\nseeds = 1",
            "but synthetic has 280 and 20 validation images; write train_examples = 256 and test_examples = 20",
        ),
        (
            "recipe = 'tiny'\ndata = 'synthetic'\nvalidation = 500\nseeds = 1",
            "validation is 500, but only 290 of its 300 training examples can be held out",
        ),
    ],
)
def test_bad_plans_train_nothing(
    tmp_path: Path, small_builtin: airjax.Dataset, capsys: pytest.CaptureFixture[str], plan: str, message: str
) -> None:
    (tmp_path / "plan.toml").write_text(plan)
    assert main([str(tmp_path / "plan.toml"), "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--workers", "1.5", "1.5 is not a whole number from 1"),
        ("--chunk", "0", "0 is not a whole number from 1"),
        ("--minutes", "nan", "nan is not a number of minutes more than 0"),
        ("--minutes", "soon", "soon is not a number of minutes more than 0"),
    ],
)
def test_bad_flags_are_named_with_their_value(
    capsys: pytest.CaptureFixture[str], flag: str, value: str, message: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["plan.toml", "--out", "out", flag, value])
    assert f"argument {flag}: {message}" in capsys.readouterr().err


def test_an_unwritable_or_busy_folder_trains_nothing(
    tmp_path: Path, small_builtin: airjax.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plan.toml").write_text('recipe = "tiny"\ndata = "builtin"\nseeds = 1\n')
    (tmp_path / "file").write_text("")
    assert main([str(tmp_path / "plan.toml"), "--out", str(tmp_path / "file" / "out")]) == 2
    assert "cannot write to --out" in capsys.readouterr().err
    with lock_folder(tmp_path / "out"):
        assert main([str(tmp_path / "plan.toml"), "--out", str(tmp_path / "out")]) == 2
    assert "another process is writing" in capsys.readouterr().err


def test_workers_of_a_cpu_do_not_shorten_a_sweep_as_those_of_a_cluster_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sweep, "predict_seconds", lambda recipe: 3600.0)
    monkeypatch.setattr(sweep, "describe", lambda: {"platform": "cpu"})
    plan = make_plan({"recipe": "tiny", "data": "builtin", "seeds": 8})
    for local, expected in ((True, "time: 8.0 h on this machine"), (False, "time: 2.0 h with 4 workers")):
        sweep.print_prediction(plan, 4, local=local)
        assert expected in capsys.readouterr().out


def test_a_dry_run_trains_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plan.toml").write_text(PLAN.format(seeds=1000))
    assert main([str(tmp_path / "plan.toml"), "--out", str(tmp_path / "out"), "--dry-run"]) == 0
    output = capsys.readouterr().out
    assert "2 settings, 2,000 networks" in output
    assert "disk: 1.0 MB" in output
    assert main([str(tmp_path / "plan.toml"), "--out", str(tmp_path / "out"), "--dry-run", "--shard", "0/2"]) == 0
    output = capsys.readouterr().out
    assert "2 settings, about 1,000 of 2,000 networks" in output
    assert "disk: 516.0 kB" in output
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_sigterm_to_a_worker_or_to_all_leaves_a_snapshot(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    # Many seconds of training, of which no step takes long.
    plan.write_text('recipe = "tiny"\ndata = "builtin"\nseeds = 1\n[set]\nepochs = 200.0\n')
    runs = {}
    for name in ("whole", "cut"):
        command = [sys.executable, "-m", "airjax.sweep", plan, "--out", tmp_path / name, "--checkpoint-every", "10000"]
        signals = [] if name == "whole" else ["worker", "driver"]
        while True:
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as sweeping:
                for target in signals:
                    worker = await_training(tmp_path / name)
                    os.kill(worker if target == "worker" else sweeping.pid, signal.SIGTERM)
                    await_snapshot(tmp_path / name, again=target == "driver")
                _, errors = sweeping.communicate(timeout=300)
            if not signals:
                break
            signals = []
            assert sweeping.returncode == 143, errors
            assert "ended by SIGTERM; 0 of 1 networks are in" in errors
            assert "rerunning the same command resumes" in errors
        assert sweeping.returncode == 0, errors
        runs[name] = results.load(tmp_path / name)
    assert [row["error"] for row in runs["cut"].rows] == [None]
    for name in ("predictions", "curves"):
        np.testing.assert_array_equal(runs["cut"].array(name), runs["whole"].array(name))


def await_training(out: Path) -> int:
    """Wait until a worker trains, and return its process."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        for worker, phase in read_phases(phases_of(out)).items():
            if phase.phase == "training":
                time.sleep(1.0)  # some steps
                return int(worker.rpartition("-")[2])
        time.sleep(0.05)
    raise AssertionError("no worker trains")


def await_snapshot(out: Path, *, again: bool) -> None:
    """Wait until there is a snapshot, or another one."""
    wanted, deadline = 2 if again else 1, time.monotonic() + 100
    while len(list((out / "snapshots").glob("*/[0-9]*"))) < wanted:
        assert time.monotonic() < deadline, "no snapshot is written"
        time.sleep(0.05)


def test_a_stopped_worker_leaves_a_snapshot_and_the_next_one_goes_on(
    tmp_path: Path, train_here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(CONTENT | {"seeds": 2, "set": {"epochs": 4.0, "train_examples": 64, "test_examples": 20}})
    whole = train_here(job_of(plan, tmp_path / "whole", checkpoint_every=1))
    asked = threading.Event()
    monkeypatch.setattr(workers, "_asked_to_stop", asked)
    asked.set()
    with pytest.raises(StoppedError):
        train_here(job_of(plan, tmp_path / "cut", checkpoint_every=1))
    assert list((tmp_path / "cut" / "snapshots").glob("*/[0-9]*"))
    assert results.load(tmp_path / "cut").rows == []  # a network that was stopped is no failure
    asked.clear()
    resumed = train_here(job_of(plan, tmp_path / "cut", checkpoint_every=1))
    for name in ("predictions", "curves"):
        np.testing.assert_array_equal(resumed.array(name), whole.array(name))
    assert list((tmp_path / "cut" / "snapshots").iterdir()) == []
