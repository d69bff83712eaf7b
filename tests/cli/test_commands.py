"""The commands: `airjax NAME` and `python -m airjax.NAME` start without a warning, explain themselves and end alike."""

import importlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import airjax
from airjax.cli.commands import COMMANDS, run_command

ROOT = Path(__file__).parents[2]
DOCUMENTED = re.compile(r"python -m (airjax\.[a-z_]+)")
MODULES = {"recipes": "recipe"}  # where `python -m airjax.MODULE` and `airjax COMMAND` differ


def documented_modules() -> list[str]:
    """The modules of airjax that the docs or docstrings say to run."""
    files = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "airjax").rglob("*.py")]
    return sorted({name for file in files for name in DOCUMENTED.findall(file.read_text())})


def start(*arguments: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", *arguments]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)


def start_without_reader(*arguments: str) -> tuple[int, str]:
    read, write = os.pipe()
    os.close(read)
    done = start(*arguments, stdout=write)
    os.close(write)
    return done.returncode, done.stderr


def test_the_documented_modules_are_these() -> None:
    names = {"doctor", "experiments", "export", "predict", "recipe", "report", "sweep", "train"}
    assert set(documented_modules()) == {f"airjax.{name}" for name in names}


def test_every_module_that_can_be_run_is_a_command_too() -> None:
    modules = {MODULES.get(name, name) for name in COMMANDS}
    assert modules - {name.split(".")[1] for name in documented_modules()} == {"data", "completion", "records", "serve"}


@pytest.mark.parametrize("name", [*documented_modules(), "airjax.sweep status", "airjax", "airjax train"])
def test_a_command_has_help_and_no_warnings(name: str) -> None:
    done = start("-m", *name.split(), "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"usage: python -m {name} " in done.stdout


@pytest.mark.parametrize("name", [*COMMANDS, "sweep status"])
def test_usage_says_how_the_command_was_called(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        run_command([*name.split(), "--help"], "airjax")
    assert raised.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: airjax {name} ")
    assert "python -m" not in shown


def test_help_lists_every_command_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        run_command(["--help"], "airjax")
    assert raised.value.code == 0
    rows = re.findall(r"^  ([a-z]+)  +(\S.*)$", capsys.readouterr().out.split("commands:\n")[1], re.MULTILINE)
    assert rows == [(name, command.summary) for name, command in COMMANDS.items()]
    assert list(COMMANDS) == [
        *("train", "predict", "sweep", "report", "serve", "export", "experiments", "records", "recipes"),
        *("data", "doctor", "completion"),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "required: COMMAND"), (["trian"], "invalid choice: 'trian'"), (["--target", "94"], "required: COMMAND")],
)
def test_another_command_is_refused_with_the_list(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as raised:
        run_command(arguments, "airjax")
    assert raised.value.code == 2
    assert message in capsys.readouterr().err


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        run_command(["--version"], "airjax")
    assert raised.value.code == 0
    assert capsys.readouterr().out == f"airjax {airjax.__version__}\n"


def test_a_command_gives_the_exit_code_of_its_module(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["recipes", "--json"], "airjax") == 0
    assert run_command(["train", "--seeds", "0"], "airjax") == 2
    assert run_command(["sweep", "status", str(tmp_path)], "airjax") == 2
    assert capsys.readouterr().err.count("error: ") == 2


def test_the_installed_command_calls_itself_airjax_and_imports_one_command_alone() -> None:
    script = """if True:
        import sys
        sys.argv = ["/usr/bin/airjax", *sys.argv[1:]]
        from airjax.__main__ import run
        try:
            run()
        finally:
            print(*sorted(name for name in sys.modules if name.startswith("airjax.cli.")), file=sys.stderr)
    """
    done = start("-c", script, "recipes", "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: airjax recipes ")
    assert done.stderr.split() == ["airjax.cli.commands", "airjax.cli.console", "airjax.cli.recipes"]


def test_the_entry_point_of_the_package_is_that_function() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    module, name = settings["project"]["scripts"]["airjax"].split(":")
    assert callable(getattr(importlib.import_module(module), name))


def test_without_a_reader_a_command_ends_silently() -> None:
    assert start_without_reader("-m", "airjax", "recipes") == (141, "")


def test_without_a_reader_the_help_of_train_ends_silently() -> None:
    assert start_without_reader("-m", "airjax.train", "--help") == (141, "")


def test_without_a_reader_a_sweep_goes_on(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text('recipe = "tiny"\nseeds = 1\n')
    code, errors = start_without_reader("-m", "airjax", "sweep", str(plan), "--out", str(tmp_path), "--dry-run")
    assert (code, errors) == (0, "warning: output lost (Broken pipe); going on without it\n")
