"""Every documented command of the package starts without a warning and explains itself."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTED = re.compile(r"python -m (airjax\.[a-z_]+)")


def documented_commands() -> list[str]:
    """The modules of airjax that the docs or docstrings say to run."""
    files = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "airjax").rglob("*.py")]
    return sorted({name for file in files for name in DOCUMENTED.findall(file.read_text())})


def test_the_documented_commands_are_these() -> None:
    names = {"doctor", "export", "predict", "recipe", "report", "sweep", "train"}
    assert set(documented_commands()) == {f"airjax.{name}" for name in names}


@pytest.mark.parametrize("name", [*documented_commands(), "airjax.sweep status"])
def test_a_command_has_help_and_no_warnings(name: str) -> None:
    command = [sys.executable, "-W", "error", "-m", *name.split(), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"usage: python -m {name}" in done.stdout
