"""Sweeps of tiny networks, in real processes that are really killed."""

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import deque
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from rich.console import Console

import airjax
from airjax import doctor, layers, results, sweep, workers
from airjax.cluster import NodeLostError
from airjax.driver import train
from airjax.plan import Plan, make_plan
from airjax.seeds import run_many
from airjax.sweep import main, make_chunks
from airjax.watch import Watch
from airjax.workers import Chunk, Job, Outcome, Report

ROOT = Path(__file__).parent.parent
KILLS = int(os.environ.get("AIRJAX_TEST_KILLS", "3"))
PLAN = 'recipe = "tiny"\ndata = "builtin"\nseeds = {seeds}\n[grid]\nlearning_rate = [5.0, 11.5]\n'
CONTENT: dict[str, Any] = {"recipe": "tiny", "data": "builtin", "seeds": 3}


def job_of(plan: Plan, out: Path, **changes: Any) -> Job:
    arguments: dict[str, Any] = {"data_dir": None, "strategy": "sequential", "platform": "cpu", "data": {}} | changes
    return Job(plan, out, **arguments)


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
    chunks = make_chunks(plan, runs, 4)
    # Two programs, one for each flip, of ten networks each; learning rates are mixed.
    assert [len(chunk.runs) for chunk in chunks] == [4, 4, 2, 4, 4, 2]
    assert sorted(run for chunk in chunks for run in chunk.runs) == sorted(runs)
    for chunk in chunks:
        assert len({plan.settings[run.setting].recipe.flip for run in chunk.runs}) == 1


def test_networks_are_those_of_the_library(tmp_path: Path, train_here: Any, toy: airjax.Dataset) -> None:
    content = CONTENT | {"keep": {"logits": True, "networks": True}, "subsets": {"count": 2, "fraction": 0.5}}
    plan = make_plan(content)
    found = train_here(job_of(plan, tmp_path))
    assert len(found.rows) == 6
    row = found.only(seed=2, subset=1).rows[0]
    subset = toy.subset(plan.subsets.indices(1, plan.settings[0].pool)) if plan.subsets else toy
    single = train(plan.settings[0].recipe, subset, 2)
    assert row["accuracy"] == single.accuracy
    place = found.rows.index(row)
    np.testing.assert_array_equal(found.array("predictions")[place], single.logits.argmax(1))
    np.testing.assert_allclose(found.array("logits")[place], single.logits, rtol=1e-3, atol=1e-4)  # float16
    model = airjax.load(Path(row["folder"]) / "networks" / f"{row['id']}.safetensors")
    assert airjax.evaluate(model, toy) == single.accuracy


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

    monkeypatch.setattr("airjax.workers.run_many", fail_on_seed_one)
    found = train_here(job_of(make_plan(CONTENT), tmp_path, strategy="vmap"))
    assert {row["seed"]: row["error"] for row in found.rows} == {0: None, 1: "RuntimeError: no luck", 2: None}


def test_out_of_memory_is_tried_once_more_with_a_smaller_evaluation(
    tmp_path: Path, train_here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def run_out(*arguments: Any, eval_size: int | None = None, **options: Any) -> Any:
        sizes.append(eval_size)
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr("airjax.workers.run_many", run_out)
    found = train_here(job_of(make_plan(CONTENT | {"seeds": 1}), tmp_path))
    assert sizes == [None, 12]
    assert "RESOURCE_EXHAUSTED" in found.rows[0]["error"]


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_kills_at_random_moments_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    plan, out, luck = tmp_path / "plan.toml", tmp_path / "out", random.Random(0)
    plan.write_text(PLAN.format(seeds=10 * KILLS))
    command = [sys.executable, "-m", "airjax.sweep", str(plan), "--out", str(out), "--workers", "2", "--chunk", "3"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "AIRJAX_CACHE": str(tmp_path / "cache")}
    killed = 0
    while True:
        driver = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        before = len(results.completed_ids(out))
        while driver.poll() is None and killed < KILLS:
            # Once networks come in, and then at any moment, the driver or one of its workers.
            if len(results.completed_ids(out)) == before:
                time.sleep(0.05)
                continue
            time.sleep(luck.uniform(0, 2))
            trainers = [c for c in children(driver.pid) if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes()]
            os.kill(luck.choice([driver.pid, *trainers]), signal.SIGKILL)
            killed += 1
            before = len(results.completed_ids(out))
        if driver.wait() == 0:
            break
    assert killed == KILLS
    found = results.load(out)
    assert not found.conflicts
    planned = {(rate, seed) for rate in (5.0, 11.5) for seed in range(10 * KILLS)}
    assert {(row["changes"]["learning_rate"], row["seed"]) for row in found.rows} == planned
    assert all(row["error"] is None for row in found.rows)
    assert len(found.array("predictions")) == 20 * KILLS
    (environment,) = map(json.loads, (out / "environments.jsonl").read_text().splitlines())
    assert {row["environment"] for row in found.rows} == {environment["environment"]}
    assert environment["versions"]["jax"] == jax.__version__
    # A line for each, but for those that a killed chunk had to begin again.
    logs = [file.read_text().splitlines() for file in out.glob("workers/*/runs.jsonl")]
    lines = [json.loads(line)["id"] for log in logs for line in log]
    assert len(lines) == len(set(lines))


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
    monkeypatch.setattr(sweep, "_check_data", lambda plan, folder: {})
    monkeypatch.setattr(sweep, "_prepare", lambda plan, out, data: prepared(plan, out))
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
    (chunk,) = make_chunks(plan, list(plan.runs({"builtin": "f"}, "1")), 8)
    pool: Any = LosesMachines(times)
    watch = Watch(Console(file=io.StringIO()), plan, 3)
    sweep._drain(job_of(plan, tmp_path), pool, deque([sweep._Attempt(chunk)]), watch, None)
    assert pool.sizes == sizes
    assert (watch.done, watch.failed) == (3, failed)


def prepared(plan: Plan, out: Path) -> list[Any]:
    runs = list(plan.runs({"builtin": "f"}, "1"))
    described = {"recipe": "tiny", "num_runs": len(runs), "settings": {runs[0].id.split("-")[0]: {}}}
    (out / "plan.json").write_text(json.dumps(described))
    return runs


def train_with_a_wrong_compiler(chunk: Chunk) -> Report:
    """Training, in a process whose convolutions are a little wrong."""
    doctor.conv_same = lambda x, kernel: layers.conv_same(x, kernel) * 1.001
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
    assert "builtin on" in refuse(job_of(plan, tmp_path, data={"builtin": "another"}))
    assert "nowhere does not exist" in refuse(
        job_of(plan, tmp_path, data_dir=tmp_path / "nowhere", data={"cifar10": "another"})
    )
    assert not (tmp_path / "workers").exists()


DRIVER = """
import sys
import jax
from airjax import sweep
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


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ("recipe = 'none'\nseeds = 1", "unknown recipe 'none'"),
        (
            "recipe = 'mini'\ndata = 'builtin'\nseeds = 1",
            "trains on 3000 and tests on 2000 images, but builtin has 300",
        ),
    ],
)
def test_bad_plans_train_nothing(
    tmp_path: Path, small_builtin: airjax.Dataset, capsys: pytest.CaptureFixture[str], plan: str, message: str
) -> None:
    (tmp_path / "plan.toml").write_text(plan)
    assert main([str(tmp_path / "plan.toml"), "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err


def test_an_unwritable_or_busy_folder_trains_nothing(
    tmp_path: Path, small_builtin: airjax.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plan.toml").write_text('recipe = "tiny"\ndata = "builtin"\nseeds = 1\n')
    (tmp_path / "file").write_text("")
    assert main([str(tmp_path / "plan.toml"), "--out", str(tmp_path / "file" / "out")]) == 2
    assert "cannot write to --out" in capsys.readouterr().err
    with sweep._only_sweep_in(tmp_path / "out"):
        assert main([str(tmp_path / "plan.toml"), "--out", str(tmp_path / "out")]) == 2
    assert "another sweep is writing" in capsys.readouterr().err


def test_a_dry_run_trains_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plan.toml").write_text(PLAN.format(seeds=1000))
    assert main([str(tmp_path / "plan.toml"), "--out", str(tmp_path / "out"), "--dry-run"]) == 0
    assert "2 settings, 2,000 networks" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
