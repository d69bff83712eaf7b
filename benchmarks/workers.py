"""Networks per hour of a sweep by its number of workers, which share a CPU's cores or have a GPU each.

`python -m benchmarks.workers --recipe mini --workers 1 --workers 2` sweeps with so many, each into a folder of its own
that is thrown away, and appends a line to workers.jsonl. Each worker's first chunk compiles and does not count.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from airjax.cli.console import run_main
from airjax.training.environment import describe
from airjax.utils.records import read_lines
from benchmarks.children import bound
from benchmarks.record import add_output_options, save
from benchmarks.speed import warn_of_load

ROOT = Path(__file__).parent.parent


def main(arguments: list[str]) -> int:
    """Measure, print, and keep the line. Returns the exit code."""
    parser = argparse.ArgumentParser("python -m benchmarks.workers", description="Networks per hour by workers.")
    parser.add_argument("--recipe", default="mini")
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--workers", type=int, action="append", help="may be repeated; the default is 1 and 2")
    parser.add_argument("--networks", type=int, default=6, help="for each worker, after its first")
    add_output_options(parser)
    options = parser.parse_args(arguments)
    load, rates = warn_of_load(), {}
    for workers in options.workers or (1, 2):
        rates[str(workers)] = measure(options.recipe, options.data, workers, options.networks)
        print(f"{workers} workers: {rates[str(workers)]:.0f} networks per hour", flush=True)
    record = {"recipe": options.recipe, "data": options.data, "n": options.networks, "networks_per_hour": rates}
    save(options.results, "workers.jsonl", record | {"load": load} | describe())
    return 0


def measure(recipe: str, data: str, workers: int, networks: int) -> float:
    """Networks per hour of all workers together, by the median seconds of a network while all of them train."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = folder / "plan.toml"
        plan.write_text(f'recipe = "{recipe}"\ndata = "{data}"\nseeds = {workers * (networks + 1)}\n')
        command = [sys.executable, "-m", "airjax.sweep", str(plan), "--out", str(folder / "out"), "--chunk", "1"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        command = bound([*command, "--workers", str(workers)])
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        lines = [read_lines(file)[1:] for file in (folder / "out" / "workers").glob("*/runs.jsonl")]
    return workers * 3600 / statistics.median(line["seconds"] for part in lines for line in part)


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]), keep_running=True)
