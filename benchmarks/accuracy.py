"""Accuracy of a recipe: trains it through the command line and keeps the result as a line.

Arguments are those of `python -m airjax.train`, for example `python -m benchmarks.accuracy --target 94 --seeds 5`.
"""

import sys

from benchmarks.record import keep, run_json


def main(arguments: list[str]) -> int:
    """Train, and append the JSON result to results/accuracy.jsonl. Returns the exit code of the training."""
    code, record = run_json("airjax.train", [*arguments, "--json"])
    if code == 0 and record is not None:
        keep("accuracy.jsonl", record | {"n": len(record["seeds"])})
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
