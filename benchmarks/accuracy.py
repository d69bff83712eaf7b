"""Accuracy of a recipe: trains it through the command line and saves the result as a line of accuracy.jsonl.

Arguments are those of `python -m airjax.train`, for example `python -m benchmarks.accuracy --target 94 --seeds 5`;
`--keep` or `--results DIR` say where the line goes, as for every command here (benchmarks/record.py).
"""

import sys

from airjax.cli.console import run_main
from benchmarks.record import run_json, save, take_output_options


def main(arguments: list[str]) -> int:
    """Train, and save the JSON result, whatever it is. Returns the exit code of the training."""
    results, rest = take_output_options(arguments)
    code, record = run_json("airjax.train", [*rest, "--json"])
    if record is not None:
        save(results, "accuracy.jsonl", record | {"n": len(record["seeds"])})
    return code


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]), keep_running=True)
