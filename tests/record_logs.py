"""What a row of the record table and its raw log have to agree in."""

import hashlib
from pathlib import Path

import pytest

from airjax.utils.records import read_lines
from benchmarks.timing_rules import AIRBENCH, seconds_by


def check_logs(folder: Path) -> int:
    """Compare the rows of a folder with their raw logs, and return how many there are."""
    found = [row for row in read_lines(folder / "accuracy.jsonl") if "log" in row]
    for row in found:
        runs = read_lines(folder / row["log"])
        assert [run["accuracy"] for run in runs] == row["accuracy"]
        assert [run["seed"] for run in runs] == row["seeds"]
        total = sum(seconds_by(AIRBENCH, run["seconds"]) for run in runs)
        assert total == pytest.approx(seconds_by(AIRBENCH, row["seconds"]))
        digest = hashlib.sha256((folder / row["log"]).read_bytes()).hexdigest()[:12]
        assert row["log"] == f"records/{row['recipe']}-{digest}.jsonl"
    return len(found)
