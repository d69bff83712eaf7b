"""Sweeps over real Ray clusters whose nodes are processes of this machine, some of them really killed."""

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airjax.cli.sweep import main
from airjax.sweep import store as results

ROOT = Path(__file__).parents[2]
FOLDERS = f"{ROOT}:{Path(__file__).parent}"
PLAN = 'recipe = "tiny"\ndata = "builtin"\nseeds = {seeds}\n'
PATIENCE = 300  # seconds that a machine with other work may take
# The sweep's command line, whose workers do something else than train. One try each: a worker takes long to start.
# A process that was started in the background of a script ignores interrupts, and so do those that it starts.
STAND_IN = """
import signal, sys, test_sweep
from airjax.cli import sweep
signal.signal(signal.SIGINT, signal.default_int_handler)
sweep.train_chunk, sweep.TRIES = test_sweep.{}, 1
sys.exit(sweep.main())
"""

# Ray forks to start its processes, which are other programs at once: what JAX warns of cannot happen to them.
pytestmark = pytest.mark.filterwarnings("ignore:os.fork")

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed (pip install 'airjax[cluster]')"
)


@pytest.fixture
def sweep_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[str], str]:
    """What a sweep of a sound plan says of the cluster that is its argument."""

    def error(address: str) -> str:
        plan = tmp_path / "plan.toml"
        plan.write_text(PLAN.format(seeds=1))
        assert main([str(plan), "--out", str(tmp_path / "out"), "--cluster", address]) == 2
        return capsys.readouterr().err

    return error


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, sweep_error: Callable[[str], str]) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "pip install 'airjax[cluster]'" in sweep_error("auto")


@needs_ray
@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:9", "no Ray cluster at 127.0.0.1:9 ([Errno 111] Connection refused)"),
        ("127.0.0.1:99999", "no Ray cluster at 127.0.0.1:99999"),
        ("somewhere", "--cluster is 'somewhere', but it must be auto or host:port"),
        ("ray://127.0.0.1:9", "--cluster is 'ray://127.0.0.1:9', but"),
    ],
)
def test_an_address_without_a_cluster_is_named_at_once(
    sweep_error: Callable[[str], str], address: str, message: str
) -> None:
    began = time.monotonic()
    assert message in sweep_error(address)
    assert time.monotonic() - began < 30


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A Ray cluster of one node with one core, bound to 127.0.0.1."""
    settings = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray's drivers, too, are to stay at 127.0.0.1
        "RAY_worker_niceness": "0",  # else a worker is the last to get a core of a busy machine
        "PYTHONPATH": FOLDERS,
        "AIRJAX_CACHE": str(tmp_path / "cache"),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "include_dashboard": False}
    soon = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000, "health_check_failure_threshold": 5}
    started = Cluster(initialize_head=True, head_node_args=head | {"_system_config": soon})
    yield started
    started.shutdown()


@pytest.fixture
def start(cluster: Any, tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts the sweep of tmp_path/plan.toml over the cluster, its results in tmp_path/out."""
    drivers = []

    def run(stand_in: str | None = None, *arguments: str) -> "subprocess.Popen[str]":
        module = ["-m", "airjax.sweep"] if stand_in is None else ["-c", STAND_IN.format(stand_in)]
        folders = [str(tmp_path / "plan.toml"), "--out", str(tmp_path / "out")]
        command = [sys.executable, *module, *folders, "--cluster", cluster.address, *arguments]
        drivers.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return drivers[-1]

    yield run
    for driver in drivers:
        with driver:  # closes its pipes and waits for its end
            driver.kill()


def wait_for(condition: Callable[[], bool], driver: "subprocess.Popen[str]") -> None:
    ends = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < ends
        if driver.poll() is not None:
            pytest.fail(f"the sweep ended early: {driver.communicate()}")
        time.sleep(0.1)


@needs_ray
@pytest.mark.slow
def test_a_lost_node_costs_no_network(
    tmp_path: Path, cluster: Any, start: Callable[..., "subprocess.Popen[str]"]
) -> None:
    (tmp_path / "plan.toml").write_text(PLAN.format(seeds=12))
    out = tmp_path / "out"

    def trained(worker: int) -> bool:
        logs = sorted(out.glob("workers/*/runs.jsonl"))
        return len(logs) > worker and len(logs[worker].read_text().splitlines()) > 0

    other = cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1")
    driver = start(None, "--chunk", "2")  # a worker for each node, unless said otherwise
    wait_for(lambda: trained(0) and trained(1), driver)
    cluster.remove_node(other, allow_graceful=False)
    cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1")
    printed, errors = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 0, errors
    assert "12 of 12 networks, 0 failed" in printed
    found = results.load(out)
    assert sorted(row["seed"] for row in found.rows) == list(range(12))
    assert all(row["error"] is None for row in found.rows)
    assert not found.conflicts
    assert len(found.array("predictions")) == 12
    (environment,) = map(json.loads, (out / "environments.jsonl").read_text().splitlines())
    assert {row["environment"] for row in found.rows} == {environment["environment"]}


@needs_ray
@pytest.mark.slow
@pytest.mark.nightly
def test_networks_that_hang_or_kill_their_process_are_given_up_and_the_rest_goes_on(
    tmp_path: Path, start: Callable[..., "subprocess.Popen[str]"]
) -> None:
    (tmp_path / "plan.toml").write_text(PLAN.format(seeds="[1, 2, 0]"))
    driver = start("sleep_on_seed_one_and_die_on_two", "--chunk", "1", "--minutes", "0.1")
    printed, errors = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 1, errors
    rows = {row["seed"]: row["error"] for row in results.load(tmp_path / "out").rows}
    assert rows.pop(1) == "took longer than 0.1 minutes"
    assert "its process died: abnormal termination on" in rows.pop(2)
    assert rows == {0: None}
    assert "1 of 3 networks, 2 failed" in printed


@needs_ray
@pytest.mark.slow
def test_an_interrupted_sweep_keeps_what_it_has_and_leaves_no_worker(
    tmp_path: Path, cluster: Any, start: Callable[..., "subprocess.Popen[str]"]
) -> None:
    (tmp_path / "plan.toml").write_text(PLAN.format(seeds="[0, 1, 2]"))
    driver = start("sleep_on_seed_one", "--chunk", "1")
    wait_for(lambda: len(results.completed_ids(tmp_path / "out")) == 1 and len(workers_of(cluster)) == 1, driver)
    driver.send_signal(signal.SIGINT)
    _, errors = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 130
    assert "interrupted; 1 of 3 networks are in" in errors
    ends = time.monotonic() + 20
    while workers_of(cluster):
        assert time.monotonic() < ends
        time.sleep(0.1)


@needs_ray
@pytest.mark.slow
def test_a_lost_cluster_ends_the_sweep_and_loses_nothing(
    tmp_path: Path, cluster: Any, start: Callable[..., "subprocess.Popen[str]"]
) -> None:
    (tmp_path / "plan.toml").write_text(PLAN.format(seeds="[0, 1, 2]"))
    driver = start("sleep_on_seed_one", "--chunk", "1")
    wait_for(lambda: len(results.completed_ids(tmp_path / "out")) == 1, driver)
    (raylet,) = cluster.head_node.all_processes["raylet"]
    os.kill(raylet.process.pid, signal.SIGKILL)
    _, errors = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 1
    (said,) = [line for line in errors.splitlines() if "networks are in" in line]  # the rest is Ray's
    assert said.startswith("the Ray node of this machine has ended; start it again; 1 of 3 networks are in")


def workers_of(cluster: Any) -> list[Path]:
    """The processes of a cluster that hold a worker of a sweep."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            nodes = [node.all_processes["raylet"][0].process.pid for node in cluster.list_all_nodes()]
            if parent in nodes and b"_Actor" in (process / "cmdline").read_bytes():
                found.append(process)
    return found
