"""A sweep whose driver and workers are killed at random moments: is anything lost, is anything there twice?

`python -m benchmarks.kills --networks 1000 --kills 20 --out DIR` sweeps so many networks of `tiny` on the synthetic
dataset, starts the sweep again after every kill that ended it, and appends what it found to kills.jsonl.
"""

import argparse
import collections
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from airjax.cli.console import run_main
from airjax.sweep import store as results
from airjax.utils.records import dump_json, read_lines
from benchmarks.children import bound
from benchmarks.record import add_output_options, save
from parity.environment import describe_apart
from parity.worker import WorkerError

ROOT = Path(__file__).parent.parent
PLAN = 'recipe = "tiny"\ndata = "builtin"\nseeds = {seeds}\n[grid]\nlearning_rate = [5.0, 11.5]\n'
PAUSE = 2.0  # seconds at most between a finished network and a kill


class Finding(NamedTuple):
    """What is in a folder after a sweep that was killed again and again."""

    planned: int
    finished: int  # of the planned networks
    lost: int
    unplanned: int
    twice: int  # networks with more than one line
    failed: int
    conflicts: int
    kills: dict[str, int]  # of drivers, of workers
    seconds: float


class SweepError(RuntimeError):
    """A sweep has ended with an error without being killed; the message is what it wrote."""

    def __init__(self, exit_code: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def sweep_with_kills(folder: Path, networks: int, kills: int, workers: int = 2, seed: int = 0) -> Finding:
    """Sweep an even number of networks into folder/out while driver and workers are killed. Linux only.

    Raises SweepError where the sweep fails of itself.
    """
    plan, out, luck = folder / "plan.toml", folder / "out", random.Random(seed)
    plan.write_text(PLAN.format(seeds=networks // 2))
    command = [sys.executable, "-m", "airjax.sweep", str(plan), "--out", str(out), "--workers", str(workers)]
    killed: collections.Counter[str] = collections.Counter()
    began = time.monotonic()
    while True:
        before = killed.total()
        code, said = _sweep_once([*command, "--chunk", "3"], out, killed, kills, luck)
        if code == 0:
            return _judge(out, networks, killed, time.monotonic() - began)
        if killed.total() == before:
            raise SweepError(code, said)


def _sweep_once(
    command: list[str], out: Path, killed: "collections.Counter[str]", kills: int, luck: random.Random
) -> tuple[int, str]:
    # Runs the sweep until it ends, of itself or killed. Returns its exit code and what it wrote to stderr.
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryFile() as errors:
        driver = subprocess.Popen(bound(command), env=environment, stdout=subprocess.DEVNULL, stderr=errors)
        try:
            before = len(results.completed_ids(out))
            while driver.poll() is None and killed.total() < kills:
                # Once networks come in, and then at any moment, the driver or one of its workers.
                if len(results.completed_ids(out)) == before:
                    time.sleep(0.05)
                    continue
                time.sleep(luck.uniform(0, PAUSE))
                victim = _kill_one(driver, luck)
                killed.update([victim] if victim else [])
                before = len(results.completed_ids(out))
            driver.wait()
        finally:
            driver.kill()
            driver.wait()
        errors.seek(0)
        return driver.returncode, errors.read().decode(errors="replace")


def _kill_one(driver: "subprocess.Popen[bytes]", luck: random.Random) -> str | None:
    # Kills the driver or one of its workers. Returns which; None where that has just ended of itself.
    if driver.poll() is not None:
        return None
    victim = luck.choice([driver.pid, *_workers(driver.pid)])
    if victim == driver.pid:
        driver.kill()
        return "driver" if driver.wait() == -signal.SIGKILL else None
    try:
        os.kill(victim, signal.SIGKILL)
    except ProcessLookupError:
        return None
    return "worker"


def _workers(driver: int) -> list[int]:
    found = []
    try:
        children = Path(f"/proc/{driver}/task/{driver}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []  # the driver has just ended
    for child in children:
        try:
            command = Path(f"/proc/{child}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
        if b"spawn_main" in command:
            found.append(int(child))
    return found


def _judge(out: Path, networks: int, killed: "collections.Counter[str]", seconds: float) -> Finding:
    found = results.load(out)
    there = {(row["changes"]["learning_rate"], row["seed"]) for row in found.rows if row["error"] is None}
    planned = {(rate, seed) for rate in (5.0, 11.5) for seed in range(networks // 2)}
    lines = collections.Counter(line["id"] for file in out.glob("workers/*/runs.jsonl") for line in read_lines(file))
    # Every network that counts has its row of predictions.
    assert len(found.only(error=None).array("predictions")) == len(there)
    return Finding(
        len(planned),
        len(planned & there),
        len(planned - there),
        len(there - planned),
        sum(count > 1 for count in lines.values()),
        sum(row["error"] is not None for row in found.rows),
        len(found.conflicts),
        dict(killed),
        round(seconds, 1),
    )


def main(arguments: list[str]) -> int:
    """Sweep, kill, and keep the line. Returns 0 where nothing is lost and nothing is there twice.

    A sweep that fails of itself ends it with the sweep's exit code, without a line.
    """
    parser = argparse.ArgumentParser("python -m benchmarks.kills", description="A sweep that is killed and resumed.")
    parser.add_argument("--networks", type=int, default=1000, help="an even number: half of them at each learning rate")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="an empty folder")
    add_output_options(parser)
    options = parser.parse_args(arguments)
    if options.networks < 2 or options.networks % 2 or options.kills < 0:
        parser.error("--networks must be even and at least 2, and --kills at least 0")
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        where = describe_apart()  # before anything is measured: later another commit may be there
        finding = sweep_with_kills(options.out, options.networks, options.kills)
    except WorkerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except SweepError as error:
        print(str(error).rstrip(), file=sys.stderr)
        print(f"error: the sweep ended with code {error.exit_code}, but not by a kill", file=sys.stderr)
        return error.exit_code if error.exit_code > 0 else 1
    record = finding._asdict() | {"n": finding.finished}
    print(dump_json(record))
    save(options.results, "kills.jsonl", record | where)
    return 0 if (finding.lost, finding.unplanned, finding.twice, finding.failed, finding.conflicts) == (0,) * 5 else 1


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]), keep_running=True)
