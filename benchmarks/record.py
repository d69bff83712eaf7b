"""Runs a command line that ends with one line of JSON, and keeps that line with the date."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airjax.records import append_line

RESULTS = Path(__file__).parent / "results"


def run_json(module: str, arguments: list[str]) -> tuple[int, dict[str, Any] | None]:
    """Run `python -m module arguments`, showing what it prints.

    Returns its exit code, and the last line as a record; None where that is not one.
    """
    with subprocess.Popen([sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        last = ""
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line
    return process.returncode, json.loads(last) if last.startswith("{") else None


def keep(file: str, record: dict[str, Any]) -> None:
    """Append a record, with today's date, to a file in results/."""
    append_line(RESULTS / file, record | {"date": datetime.now(UTC).date().isoformat()})
