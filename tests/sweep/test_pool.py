import concurrent.futures
import contextlib
import itertools
import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import jax
import pytest
from pebble import ProcessExpired

from airjax.sweep import pool as pools
from airjax.sweep import worker as workers
from airjax.sweep.devices import Devices
from airjax.sweep.plan import Run, make_plan
from airjax.sweep.pool import LocalPool
from airjax.sweep.worker import Chunk, Job, Report
from airjax.training.snapshots import StoppedError
from airjax.utils.platform import DeviceError

CHUNK = Chunk((Run("id", 0, 0, None),))


def look_around(chunk: Chunk) -> Report:
    """Stands in for training: says what it was given, and what it sees."""
    assert workers._job is not None
    seen = {"out": str(workers._job.out), "device": jax.config.read("jax_cuda_visible_devices"), "process": os.getpid()}
    seen["threads"] = os.environ.get("OMP_NUM_THREADS")
    if sys.platform == "linux" and jax.default_backend() == "cpu":
        names = []
        for task in Path("/proc/self/task").iterdir():
            with contextlib.suppress(FileNotFoundError):  # others, of the compiler, may end meanwhile
                names.append((task / "comm").read_text().strip())
        seen["xla_threads"] = str(names.count("tf_XLAEigen"))
    time.sleep(0.2)  # long enough for every worker to get some
    return Report([], seen | {"ids": [run.id for run in chunk.runs]})


def fail(chunk: Chunk) -> Report:
    raise workers.WorkerError("not here")


def stop(chunk: Chunk) -> Report:
    raise StoppedError(3, 8, kept=True)


def hang(chunk: Chunk) -> Report:
    time.sleep(1000)
    raise AssertionError


def die(*_: object) -> Report:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


@contextlib.contextmanager
def started(out: Path, workers: int, devices: Devices | None = None) -> Iterator[LocalPool]:
    with contextlib.closing(LocalPool(workers, devices=devices)) as pool:
        pool.start(Job(make_plan({"recipe": "tiny", "seeds": 1}), out, None, None, pool.platform, {}))
        yield pool


def test_a_chunk_comes_back_or_says_why_not(tmp_path: Path) -> None:
    with started(tmp_path, 1) as pool:
        report = pool.schedule(look_around, CHUNK, None).result()
        assert report.environment == report.environment | {"out": str(tmp_path), "device": "all", "ids": ["id"]}
        with pytest.raises(workers.WorkerError, match="not here"):
            pool.schedule(fail, CHUNK, None).result()
        with pytest.raises(ProcessExpired):
            pool.schedule(die, CHUNK, None).result()
        with pytest.raises(StoppedError, match="stopped after step 3 of 8") as stopped:
            pool.schedule(stop, CHUNK, None).result()
        assert (stopped.value.steps_done, stopped.value.kept) == (3, True)
        late = pool.schedule(hang, CHUNK, 0.1)
        while not late.done():
            pool.stop_late()
            concurrent.futures.wait([late], 0.1)
        with pytest.raises(concurrent.futures.CancelledError):
            late.result()
        again = pool.schedule(look_around, CHUNK, None).result()
        assert again.environment["process"] != report.environment["process"]


def test_a_clock_that_is_set_gives_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with started(tmp_path, 1) as pool:
        under_way = pool.schedule(look_around, CHUNK, 60)
        clock = itertools.count(2_000_000_000, 1_000_000)
        monkeypatch.setattr(time, "time", lambda: float(next(clock)))
        while not under_way.done():
            pool.stop_late()
            concurrent.futures.wait([under_way], 0.05)
        assert under_way.result().environment["ids"] == ["id"]


def test_workers_that_cannot_start_end_the_pool_and_not_with_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "_start", die)
    with started(tmp_path, 1) as pool, pytest.raises(BrokenProcessPool):
        pool.schedule(look_around, CHUNK, None).result()


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="GPUs are not shared")
def test_workers_of_a_cpu_share_its_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "PJRT_NPROC"):
        monkeypatch.delenv(name, raising=False)
    cores = len(os.sched_getaffinity(0))
    for count in (1, cores + 1):
        with started(tmp_path, count) as pool:
            seen = pool.schedule(look_around, CHUNK, None).result().environment
        expected = str(max(1, cores // count))
        assert (seen["threads"], seen["xla_threads"]) == (expected, expected)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with started(tmp_path, 2) as pool:
        assert pool.schedule(look_around, CHUNK, None).result().environment["threads"] == "7"


def test_each_worker_sees_one_gpu_of_its_own(tmp_path: Path) -> None:
    seen: dict[int, str] = {}
    with started(tmp_path, 2, Devices("gpu", (2, 3))) as pool:
        while len(seen) < 2:
            reports = [pool.schedule(look_around, CHUNK, None) for _ in range(4)]
            seen |= {
                report.result().environment["process"]: report.result().environment["device"] for report in reports
            }
    assert sorted(seen.values()) == ["2", "3"]


def test_more_workers_than_gpus_are_refused() -> None:
    two = Devices("gpu", (0, 1))
    with pytest.raises(DeviceError, match="--workers is 3, but this machine has 2 gpus"):
        LocalPool(3, devices=two)
    with pytest.raises(DeviceError, match="sharded takes all devices, but --workers is 2"):
        LocalPool(2, all_devices=True, devices=two)
    assert LocalPool(1, all_devices=True, devices=two).platform == "gpu"
    assert LocalPool(64, devices=Devices("cpu", (0,))).workers == 64
