"""What import-linter's contracts in pyproject.toml cannot say."""

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
# Only an object or an argument can be replaced in a way that a type checker and a move of modules notice.
STRING_PATCH = re.compile(r"""(setattr|delattr|patch)\(\s*f?["'][\w.]+["']""")


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
    rooms: dict[str, set[str]] = {}
    for file in (ROOT / "airjax").rglob("*.py"):
        for name in imports_of(file):
            rooms.setdefault(name.split(".")[0], set()).add(file.parent.name)
    assert rooms["flax"] == {"nn"}
    assert "tests" not in rooms


def test_only_draws_and_initialisation_use_random_numbers() -> None:
    # They split keys, or look at their bits.
    assembling = {"training/run.py", "training/snapshots.py", "training/data_parallel.py"}
    allowed = {"augment/draws.py", "nn/layers.py", "utils/seeds.py"} | assembling
    files = (file for file in (ROOT / "airjax").rglob("*.py") if "jax.random." in file.read_text())
    found = {file.relative_to(ROOT / "airjax").as_posix() for file in files}
    assert {"augment/draws.py", "nn/layers.py"} <= found <= allowed


def test_importing_airjax_needs_little_prints_nothing_and_leaves_the_environment_alone() -> None:
    script = """
import os, sys
import flax, flax.linen, jax, jaxtyping, numpy, optax, scipy
environment = dict(os.environ)
before = set(sys.modules)
import airjax
new = {name.split(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)
assert {"airjax"} <= new <= {"airjax", "jaxtyping", "numpy"}, new  # of the others further parts
assert dict(os.environ) == environment
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_no_test_patches_a_name_by_its_path_as_text() -> None:
    found = [
        str(file.relative_to(ROOT)) for file in (ROOT / "tests").rglob("*.py") if STRING_PATCH.search(file.read_text())
    ]
    assert found == []
    assert STRING_PATCH.search("monkeypatch.setattr(" + '"time.time", clock)')
    assert not STRING_PATCH.search("monkeypatch.setattr(time, " + '"time", clock)')
