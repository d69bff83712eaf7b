"""Every block of code in README.md and docs runs, or is listed here with the reason why it cannot.

Python is run on small data: SMALL says what is put in place of what. Plans are read and checked. Commands are not run,
but each of their flags and values is parsed by the command's own parser.
"""

import argparse
import importlib
import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tyro

import airjax
from airjax.cli import predict
from airjax.cli.commands import COMMANDS
from airjax.cli.display import HEADINGS, WIDTHS
from airjax.cli.train_options import parse
from airjax.sweep.plan import load_plan
from airjax.sweep.store import Writer

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(page for room in ("docs", "experiments") for page in sorted((ROOT / room).rglob("*.md"))),
]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
VARIABLES = re.compile(r"^(\w+=\S+ +)+")  # set for one command
INLINE = re.compile(r"`((?:python -m|airjax) [^`\n]* --[^`\n]*)`")

SMALL = {
    "airjax.load_cifar10()": "airjax.load_builtin(300, 100)",
    "airjax.load_builtin()": "airjax.load_builtin(300, 100)",
    "airjax.train94(data, ": 'airjax.train_network("tiny", data, ',
    'RECIPE = "94"': 'RECIPE = "tiny"',
    'airjax.get_recipe("mini")': 'airjax.get_recipe("tiny")',
    "range(16)": "range(2)",
    "[8.0] * 8 + [11.5] * 8": "[8.0, 11.5]",
}
# Programs of others and of the system. A shell script is no list of commands.
FOREIGN = {
    "python3": "makes the environment that runs this",
    ".venv/bin/pip": "installs what runs this",
    "pip": "installs what runs this",
    "ray": "needs several machines",
    "duckdb": "is a program of its own",
    "docker": "needs a Docker engine",
    "mkdir": "makes the folder that a container writes to",
    "python3.11": "makes the environment that runs this",
    ".venv/bin/pre-commit": "is a program of its own",
    ".venv/bin/ruff": "is a program of its own",
    ".venv/bin/pyright": "is a program of its own",
    ".venv/bin/mkdocs": "builds the site, which tests/test_site.py tests",
    ".ci/run": "runs the tests",
}
SCRIPTS = {"docs/scale.md": "needs a SLURM or a Kubernetes cluster"}
COMPILES_LONG = [f"docs/{name}.md" for name in ("concepts", "data_selection", "new_method", "own_images", "seeds")]
INSTALLED = ("airjax", ".venv/bin/airjax")
NO_FLAGS = {"pytest": "pytest's own", "venv": "Python's own"}


class Block(NamedTuple):
    page: str
    language: str  # "" for commands
    text: str


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    name = str(page.relative_to(ROOT))
    return [Block(name, language, text) for language, text in BLOCK.findall(page.read_text())]


ALL = [block for page in PAGES for block in blocks(page)]


def commands() -> list[tuple[str, str]]:
    """Page and text of every command in blocks, and of every one with flags in the text."""
    found = []
    for page, language, text in ALL:
        if language == "":
            lines = re.sub(r"(^|\s)# .*$", "", text.replace("\\\n", " "), flags=re.MULTILINE).splitlines()
            # The script hands its arguments to the module.
            lines = [line.replace("benchmarks/device.sh", "python3 -m benchmarks.device") for line in lines]
            lines = [re.sub(r"^([A-Z_]+=\S+ )+", "", line) for line in lines]  # variables for one command
            found += [
                (page, VARIABLES.sub("", part.strip())) for line in lines for part in line.split("&&") if part.strip()
            ]
    for page in PAGES:
        found += [(str(page.relative_to(ROOT)), text) for text in INLINE.findall(page.read_text())]
    return list(dict.fromkeys(found))


def is_ours(command: str) -> bool:
    """Whether a command is one of this package's, whose flags can be parsed."""
    words = shlex.split(command)
    if words[0] in INSTALLED:
        return True
    called = words[0] in ("python", "python3", ".venv/bin/python") and words[1] == "-m"
    return called and words[2] not in NO_FLAGS


def module_and_arguments(command: str) -> tuple[str, list[str]]:
    """What one of our commands runs, and with which arguments."""
    words = shlex.split(command.split(" > ", maxsplit=1)[0])
    if words[0] in INSTALLED:
        return COMMANDS[words[1]].module, words[2:]
    if words[2] == "airjax":
        return COMMANDS[words[3]].module, words[4:]
    return words[2], words[3:]


def test_every_block_is_of_a_kind_that_is_checked_here() -> None:
    assert {block.language for block in ALL} == {"", "python", "toml", "bash", "yaml", "text"}
    [printed] = [block for block in ALL if block.language == "text"]
    head = " ".join(f"{name:>{width}}" for name, width in zip(HEADINGS, WIDTHS, strict=True))
    assert printed.text.splitlines()[0] == head
    assert {block.page for block in ALL if block.language in ("bash", "yaml")} == set(SCRIPTS)
    others = {shlex.split(command)[0] for _, command in commands() if not is_ours(command)}
    assert others - {".venv/bin/python", *INSTALLED} == set(FOREIGN)
    assert len([command for _, command in commands() if is_ours(command)]) > 40


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.slow] if page in COMPILES_LONG else [])
        for page in sorted({block.page for block in ALL if block.language == "python"})
    ],
)
def test_the_python_of_a_page_runs_from_top_to_bottom(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where it writes
    names: dict[str, Any] = {}
    for block in blocks(ROOT / page):
        if block.language == "python":
            text = block.text
            if 'load("DIR")' in text:
                pytest.importorskip("pandas", reason="results.table() needs pandas: pip install 'airjax[report]'")
                text = text.replace('load("DIR")', f"load({str(make_sweep(tmp_path))!r})")
            for large, small in SMALL.items():
                text = text.replace(large, small)
            exec(compile(text, page, "exec"), names)


def make_sweep(out: Path) -> Path:
    """A folder with the results of two networks."""
    writer = Writer(out, "worker")
    for seed in range(2):
        line = {"id": f"setting-{seed}", "setting": "setting", "seed": seed, "accuracy": 0.5, "diverged": False}
        arrays = {"predictions": np.zeros(100, np.uint8), "curves": np.zeros((2, 2), np.float32)}
        writer.add(line | {"error": None, "environment": "here"}, arrays)
    return out


@pytest.mark.parametrize("block", [block for block in ALL if block.language == "toml"])
def test_a_plan_is_a_plan(block: Block, tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(block.text)
    assert load_plan(tmp_path / "plan.toml", "cpu").num_runs > 0


class Parsed(BaseException):
    """Ends a command where its flags are parsed."""


@pytest.mark.parametrize(("page", "command"), [pair for pair in commands() if is_ours(pair[1])])
def test_the_flags_of_a_command_are_its_own(page: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, arguments = module_and_arguments(command)
    if module in ("benchmarks.accuracy", "benchmarks.parity"):  # which hand their arguments on
        from benchmarks.record import take_output_options

        module = {"benchmarks.accuracy": "airjax.train", "benchmarks.parity": "parity"}[module]
        arguments = take_output_options(arguments)[1]
    if arguments == ["--help"]:  # which any command has
        importlib.import_module(module)
        return
    if arguments[-1:] == ["--help"]:
        arguments = arguments[:-1]
    if module in ("airjax.train", "airjax.cli.train"):
        parse(arguments)
    elif module in ("airjax.predict", "airjax.cli.predict"):
        tyro.cli(predict.Options, args=arguments)
    else:
        _parse_with_argparse(module, arguments, monkeypatch)


def _parse_with_argparse(module: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    real = argparse.ArgumentParser.parse_args

    def parse_and_stop(self: argparse.ArgumentParser, *given: Any) -> None:
        real(self, *given)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
    try:
        program: Any = importlib.import_module(module)
        if hasattr(program, "__path__"):
            program = importlib.import_module(f"{module}.__main__")
    except ImportError as error:
        if error.name not in ("torch", "matplotlib", "jinja2"):
            raise
        pytest.skip(f"{module} needs {error.name}: pip install 'airjax[parity,report]'")
    with pytest.raises(Parsed):
        program.main(arguments)


def test_trainings_on_clusters_have_flags_that_there_are_and_manifests_are_yaml() -> None:
    scripts = [block.text.replace("\\\n", " ") for block in ALL if block.language == "bash"]
    for block in ALL:
        if block.language == "yaml":
            documents = list(pytest.importorskip("yaml").safe_load_all(block.text))
            assert [document["kind"] for document in documents] == ["Service", "Job"]
            (container,) = documents[1]["spec"]["template"]["spec"]["containers"]
            scripts += container["args"]
    found = [command for text in scripts for command in re.findall(r"python -m airjax\.train (.*)", text)]
    assert len(found) == 2
    for command in found:
        options, _ = parse(shlex.split(re.sub(r'"\$\w+"', "0", command)))
        assert (options.devices, options.strategy) == ("all", "sequential")


def test_a_wrong_flag_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit):
        _parse_with_argparse("airjax.sweep", ["plan.toml", "--out", "DIR", "--worker-count", "2"], monkeypatch)


def test_public_names_of_the_blocks_are_those_of_the_package() -> None:
    used = {name for block in ALL if block.language == "python" for name in re.findall(r"\bairjax\.(\w+)", block.text)}
    inside = {"recipes", "optim", "training"}  # a method's own file, and a training by hand
    assert used <= {*airjax.__all__, *airjax.MODULES, *inside}
