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
from airjax.cli.stopping import exit_code_of
from airjax.data import DataError, load_data
from airjax.utils.records import read_lines
from benchmarks.children import bound
from benchmarks.record import add_output_options, save
from benchmarks.speed import warn_of_load
from parity.environment import describe_apart, describe_data
from parity.worker import WorkerError

ROOT = Path(__file__).parent.parent
EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2


def main(arguments: list[str]) -> int:
    """Measure, print, and keep the line. Returns the exit code: 1 where a sweep failed, 2 for bad usage or input."""
    parser = argparse.ArgumentParser("python -m benchmarks.workers", description="Networks per hour by workers.")
    parser.add_argument("--recipe", default="mini")
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--workers", type=int, action="append", help="may be repeated; the default is 1 and 2")
    parser.add_argument("--networks", type=int, default=6, help="for each worker, after its first")
    add_output_options(parser)
    options = parser.parse_args(arguments)
    if options.networks < 1 or min(options.workers or (1,)) < 1:
        parser.error("--networks and --workers must be at least 1")
    try:
        # Before anything is measured: later another commit may be there.
        where = describe_data(load_data(options.data)) | {"load": warn_of_load()} | describe_apart()
    except (DataError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except WorkerError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILED
    rates, failed, interrupted = measure_all(options)
    if rates:
        what = {"recipe": options.recipe, "n": options.networks, "networks_per_hour": rates, "failed": failed}
        save(options.results, "workers.jsonl", what | where | ({"interrupted": True} if interrupted else {}))
    if interrupted is not None:
        print(f"interrupted; {len(rates)} rates are kept", file=sys.stderr)
        return exit_code_of(interrupted)
    return EXIT_FAILED if failed else EXIT_OK


def measure_all(
    options: argparse.Namespace,
) -> tuple[dict[str, float], dict[str, str], KeyboardInterrupt | None]:
    """Return the rates by the number of workers, why the others failed, and what ended the measurement early."""
    rates: dict[str, float] = {}
    failed: dict[str, str] = {}
    for workers in options.workers or (1, 2):
        try:
            rates[str(workers)] = measure(options.recipe, options.data, workers, options.networks)
        except WorkerError as error:
            failed[str(workers)] = str(error)
            print(f"error: {error}", file=sys.stderr)
        except KeyboardInterrupt as interrupt:
            return rates, failed, interrupt
        else:
            print(f"{workers} workers: {rates[str(workers)]:.0f} networks per hour", flush=True)
    return rates, failed, None


def measure(recipe: str, data: str, workers: int, networks: int) -> float:
    """Networks per hour of all workers together, by the median seconds of a network while all of them train.

    Raises WorkerError where the sweep fails, or no worker trained a second network.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = folder / "plan.toml"
        plan.write_text(f'recipe = "{recipe}"\ndata = "{data}"\nseeds = {workers * (networks + 1)}\n')
        command = [sys.executable, "-m", "airjax.sweep", str(plan), "--out", str(folder / "out"), "--chunk", "1"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        command = bound([*command, "--workers", str(workers)])
        done = subprocess.run(command, env=environment, check=False, stdout=subprocess.DEVNULL)
        if done.returncode:
            raise WorkerError(f"the sweep with {workers} workers ended with code {done.returncode}")
        lines = [read_lines(file)[1:] for file in (folder / "out" / "workers").glob("*/runs.jsonl")]
    seconds = [line["seconds"] for part in lines for line in part]
    if not seconds:
        raise WorkerError(f"no worker of {workers} trained a network after its first")
    return workers * 3600 / statistics.median(seconds)


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]), keep_running=True)
