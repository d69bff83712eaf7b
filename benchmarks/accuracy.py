"""Accuracy of a recipe: trains it through the command line and keeps the result as a line.

Arguments are those of `python -m airjax.train`, for example `python -m benchmarks.accuracy --target 94 --seeds 5`.
"""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from airjax.records import append_line

RESULTS = Path(__file__).parent / "results" / "accuracy.jsonl"


def main(arguments: list[str]) -> int:
    """Train, and append the JSON result to results/accuracy.jsonl. Returns the exit code of the training."""
    command = [sys.executable, "-m", "airjax.train", *arguments, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as training:
        assert training.stdout is not None
        last = ""
        for line in training.stdout:
            print(line, end="", flush=True)
            last = line
    if training.returncode == 0:
        record = json.loads(last)
        record |= {"n": len(record["seeds"]), "date": datetime.now(UTC).date().isoformat()}
        append_line(RESULTS, record)
    return training.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
