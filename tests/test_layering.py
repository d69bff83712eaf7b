"""Who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

# A module imports only from modules above it.
ORDER = [
    *("logs", "backend", "console", "fields", "reprs", "units", "extras", "recipe", "records", "recipe.__main__"),
    *("stats", "equivalence", "agreement", "variance", "speedup", "attribution"),
    *("ffi", "onednn", "precision", "schedule", "draws", "images", "whiten", "layers", "environment"),
    *("model", "lookahead", "optimizer", "step", "tta", "run"),
    *("data.content", "data.dataset", "data.builtin", "data.cache", "data.unpickle", "data.download", "data.archive"),
    *("data.cifar10", "data"),
    *("memory", "arguments", "driver", "progress", "members", "strategy", "seeds"),
    *("checkpoint", "library", "display", "train_options", "train_folder", "train_result", "train"),
    *("image_files", "predict"),
    *("plan", "results", "export", "doctor", "devices", "phases", "workers", "watch", "pool", "cluster"),
    *("sweep_folder", "sweep"),
    *("page", "drawing", "summary", "contrasts", "sweep_data", "survey", "tables", "figures", "report", ""),
]


def imports_of(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import"
            found.add(node.module or "")
    return found


def name_of(file: Path) -> str:
    parts = file.relative_to(ROOT / "airjax").with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def test_a_module_imports_only_from_modules_above_it() -> None:
    files = {name_of(file): file for file in (ROOT / "airjax").rglob("*.py")}
    assert set(files) == set(ORDER)
    for name, file in files.items():
        for imported in imports_of(file):
            if imported == "airjax" or imported.startswith("airjax."):
                above = imported.removeprefix("airjax").removeprefix(".")
                assert ORDER.index(above) < ORDER.index(name), f"{name or '__init__'} imports {imported}"


def test_torch_lives_in_parity_and_flax_in_the_model() -> None:
    for file in (ROOT / "airjax").rglob("*.py"):
        roots = {name.split(".")[0] for name in imports_of(file)}
        assert not roots & {"torch", "parity", "tests", "benchmarks"}, file
        assert "flax" not in roots or file.name == "model.py", file


def test_only_draws_model_and_the_assembling_files_see_keys() -> None:
    for file in (ROOT / "airjax").rglob("*.py"):
        uses = "jax.random." in file.read_text()
        assert not uses or file.name in {"draws.py", "model.py", "run.py", "driver.py", "members.py", "seeds.py"}, file


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
