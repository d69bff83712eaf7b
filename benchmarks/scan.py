"""How long the lines of a sweep of millions take to read: made-up lines, in the folders that its workers would leave.

`python -m benchmarks.scan --out DIR` writes the lines of three million networks, times what a sweep does that resumes
(`results.completed_ids`) and a summary by duckdb, and appends what it found to scan.jsonl.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from airjax.cli.console import run_main
from airjax.sweep.store import completed_ids
from airjax.training.environment import describe
from airjax.utils.records import dump_json
from benchmarks.record import add_output_options, save
from parity.timing import host_peak_bytes

SUMMARY = "select setting, count(*), avg(accuracy), stddev(accuracy) from read_json('{}') group by 1"


def main(arguments: list[str]) -> int:
    """Write, read, and keep the line. Returns 0 where all networks were found."""
    parser = argparse.ArgumentParser("python -m benchmarks.scan", description="Seconds to read a sweep's lines.")
    parser.add_argument("--networks", type=int, default=3_000_000)
    parser.add_argument("--per-worker", type=int, default=4000, help="500 chunks of 8, after which one is replaced")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="an empty folder")
    add_output_options(parser)
    options = parser.parse_args(arguments)
    size = write_lines(options.out, options.networks, options.per_worker)
    before, began = host_peak_bytes(), time.monotonic()
    found = len(completed_ids(options.out))
    seconds = time.monotonic() - began
    record = {
        "n": options.networks,
        "workers": -(-options.networks // options.per_worker),
        "bytes_per_line": size / options.networks,
        "completed_ids_seconds": round(seconds, 2),
        "completed_ids_bytes": host_peak_bytes() - before,
        "duckdb_seconds": round(_summarise(options.out, options.networks), 2),
    }
    print(dump_json(record))
    save(options.results, "scan.jsonl", record | describe())
    return 0 if found == options.networks else 1


def write_lines(out: Path, networks: int, per_worker: int) -> int:
    """Write a line for each network, as workers do but unsynced. Returns their bytes."""
    size = 0
    for first in range(0, networks, per_worker):
        folder = out / "workers" / f"{first:020}-node-1"
        folder.mkdir(parents=True)
        numbers = range(first, min(first + per_worker, networks))
        lines = "".join(dump_json(make_record(number, number - first)) + "\n" for number in numbers)
        size += (folder / "runs.jsonl").write_text(lines)
    return size


def make_record(number: int, row: int) -> dict[str, Any]:
    """Return what a worker writes of a network, with made-up outcomes."""
    return {
        "id": f"901aa49bbca7f174-{number}",
        "setting": "901aa49bbca7f174",
        "data": "cifar10",
        "content": "official",
        "split": "test",
        "labels": None,
        "seed": number,
        "subset": None,
        "changes": {"tta_level": 0},
        "environment": "3c1b9b4cf977",
        "accuracy": 0.94 + number % 97 / 1e4,
        "diverged": False,
        "error": None,
        "examples": 50000,
        "seconds": 3.2918,
        "last_loss": 1.0930221080780029,
        "row": row,
    }


def _summarise(out: Path, networks: int) -> float:
    import duckdb

    began = time.monotonic()
    ((_, count, _, _),) = duckdb.connect().execute(SUMMARY.format(out / "workers" / "*" / "runs.jsonl")).fetchall()
    if count != networks:
        raise RuntimeError(f"duckdb counts {count} networks in {out}, not {networks}")
    return time.monotonic() - began


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]), keep_running=True)
