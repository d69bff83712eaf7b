"""What import-linter's contracts in pyproject.toml cannot say."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def imports_of(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import"
            found.add(node.module or "")
    return found


def test_flax_lives_in_nn() -> None:
    for file in (ROOT / "airjax").rglob("*.py"):
        roots = {name.split(".")[0] for name in imports_of(file)}
        assert "flax" not in roots or file.parent.name == "nn", file
        assert "tests" not in roots, file


def test_only_draws_and_initialisation_use_random_numbers() -> None:
    assembling = {"training/run.py", "training/loop.py", "training/members.py"}  # they split keys, or say their shapes
    allowed = {"augment/draws.py", "nn/airbench.py", "utils/seeds.py"} | assembling
    for file in (ROOT / "airjax").rglob("*.py"):
        name = file.relative_to(ROOT / "airjax").as_posix()
        assert "jax.random." not in file.read_text() or name in allowed, name


def test_importing_airjax_needs_little_prints_nothing_and_leaves_the_environment_alone() -> None:
    script = """
import os, sys
import flax, flax.linen, jax, numpy, optax
environment = dict(os.environ)
before = set(sys.modules)
import airjax
new = {name.split(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)
assert new <= {"airjax"}, new
assert dict(os.environ) == environment
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
