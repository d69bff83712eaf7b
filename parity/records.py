"""Records of earlier versions, with the keys that they have today."""

from pathlib import Path
from typing import Any

from airjax.utils.records import read_lines

# Until version 0.2 a check was a rung, and what is timed in turn were arms.
RENAMED = {"rungs": "checks", "rung": "check", "arms": "implementations", "arm": "implementation"}


def read_records(file: Path) -> list[dict[str, Any]]:
    """Read the lines of a file of results, whichever version wrote them. Raises OSError."""
    return [with_new_keys(line) for line in read_lines(file)]


def with_new_keys(value: Any) -> Any:
    """Rename the old keys in a record, and in the records within it."""
    if isinstance(value, dict):
        return {RENAMED.get(key, key): with_new_keys(each) for key, each in value.items()}
    return [with_new_keys(each) for each in value] if isinstance(value, list) else value
