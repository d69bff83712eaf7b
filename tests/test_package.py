"""What the package says of itself, and what it consists of."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_version_is_the_newest_dated_one_of_the_changelog_and_that_of_the_citation() -> None:
    sections = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert sections[0] == "Unreleased"
    number, date = re.fullmatch(r"(\d+\.\d+\.\d+) \((\d{4}-\d\d-\d\d)\)", sections[1]).groups()
    assert number == PROJECT["version"]
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {number}\ndate-released: {date}\n" in citation


def test_every_pinned_version_is_one_that_the_project_allows() -> None:
    from packaging.requirements import Requirement

    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pinned = dict(line.split("==") for line in lines)
    extras = [text for texts in PROJECT["optional-dependencies"].values() for text in texts]
    needed = [Requirement(text) for text in (*PROJECT["dependencies"], *extras) if not text.startswith("airjax")]
    wrong = [str(need) for need in needed if need.name in pinned and pinned[need.name] not in need.specifier]
    assert wrong == []
    assert "0.10.2" not in next(need.specifier for need in needed if need.name == "jax")
    assert {Requirement(text).name for text in PROJECT["dependencies"]} <= set(pinned)


def test_the_lock_is_of_the_dependencies_that_the_project_has() -> None:
    from packaging.requirements import Requirement

    if (ROOT / "PKG-INFO").exists():
        pytest.skip("an sdist has no uv.lock")
    packages = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    (own,) = [package for package in packages if package["name"] == "airjax"]
    locked = {(need["name"], need.get("specifier", "")) for need in own["metadata"]["requires-dist"]}
    extras = [text for texts in PROJECT["optional-dependencies"].values() for text in texts]
    needed = [Requirement(text) for text in (*PROJECT["dependencies"], *extras)]
    known = {(need, frozenset(map(str.strip, specifier.split(",")))) for need, specifier in locked}
    assert {(need.name.lower(), frozenset(map(str, need.specifier)) or frozenset([""])) for need in needed} == known
    assert own["version"] == PROJECT["version"]


def copy_for_wheel(folder: Path) -> Path:
    """What the image's first stage copies, and builds the wheel from."""
    stage = (ROOT / "Dockerfile").read_text().split("AS wheel\n")[1].split("FROM ")[0]
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for *names, place in (line.split()[1:] for line in stage.splitlines() if line.startswith("COPY ")):
        assert set(names) <= let_in
        for name in names:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, folder / place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, folder / place)
    return folder


@pytest.mark.slow
def test_the_wheel_of_the_image_holds_airjax_alone_its_types_and_its_command(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    source = copy_for_wheel(tmp_path / "source")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, source]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name == f"airjax-{PROJECT['version']}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (entry_points,) = [name for name in names if name.endswith("/entry_points.txt")]
        assert "airjax = airjax.__main__:run" in archive.read(entry_points).decode()
    assert {name.split("/")[0] for name in names} == {"airjax", f"airjax-{PROJECT['version']}.dist-info"}
    tracked = subprocess.run(["git", "ls-files", "airjax"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {name for name in names if name.startswith("airjax/")} == set(tracked.stdout.split())
    assert "airjax/py.typed" in names
