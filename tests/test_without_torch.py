"""What the command says where torch is not installed: a module of that name that cannot be imported stands for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def without_torch(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')")
    return os.environ | {"PYTHONPATH": str(tmp_path)}


def run_parity(environment: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "parity", *arguments], env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_help_needs_no_torch(without_torch: dict[str, str]) -> None:
    for arguments in (["--help"], ["import", "--help"]):
        code, output, errors = run_parity(without_torch, *arguments)
        assert (code, errors) == (0, "")
        assert output.startswith("usage: python -m parity")


@pytest.mark.parametrize(
    "arguments",
    [
        ["export", "model.safetensors", "state.pt"],
        ["import", "state.pt", "model.safetensors", "--recipe", "94"],
        ["numerical"],
        ["statistical", "--runs", "2"],
    ],
)
def test_commands_say_what_to_install(without_torch: dict[str, str], arguments: list[str]) -> None:
    code, output, errors = run_parity(without_torch, *arguments)
    assert (code, output) == (2, "")
    assert errors == (
        f"error: python -m parity {arguments[0]} needs torch, which cannot be imported (No module named 'torch'): "
        "pip install 'airjax[parity]'\n"
    )
