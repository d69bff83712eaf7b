"""The site of the documentation: pages that list what the code has list all of it, and links lead somewhere."""

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import airjax
from airjax.cli import export, predict, report, serve, sweep, train, train_result
from airjax.cli.console import EXIT_CLOSED, EXIT_INTERRUPTED, EXIT_OUTPUT
from airjax.data.builtin import load_builtin
from airjax.recipes.published import CLAIMS, RECIPES
from airjax.sweep.folder import prepare_folder
from airjax.sweep.plan import make_plan
from airjax.sweep.store import Writer
from airjax.sweep.worker import Job, Source, run_record
from airjax.training.environment import describe
from airjax.training.events import CropResult
from airjax.training.loop import TrainedRun
from airjax.training.step import StepMetrics
from benchmarks import accuracy_tables

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def load_script(file: str, *needed: str) -> ModuleType:
    """Import a script that is in no package; skip where a package that it needs is missing."""
    for package in needed:
        pytest.importorskip(package)
    spec = importlib.util.spec_from_file_location(Path(file).stem, ROOT / file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def column(text: str, number: int = 1) -> list[str]:
    """The cells of a column of all tables in a text, without heads and rules."""
    rows = [row for row in re.findall(r"^\|.*\|$", text, re.MULTILINE) if not row.startswith("|-")]
    return [row.split("|")[number].strip() for row in rows]


def fields_of(what: str) -> set[str]:
    """The fields that docs/files.md lists of one kind of record."""
    section = (DOCS / "files.md").read_text().split(f"<!-- fields of {what} -->")[1]
    return set(re.findall(r"`(\w+)`", " ".join(column(re.split(r"\n\n", section.lstrip("\n"))[0]))))


def sources() -> Iterator[str]:
    for file in sorted((ROOT / "airjax").rglob("*.py")):
        yield file.read_text()


def texts() -> Iterator[str]:
    """Every text in the code; {} stands for what is filled in."""
    for source in sources():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.JoinedStr):
                yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_every_public_name_is_in_the_reference() -> None:
    pages = "\n".join(page.read_text() for page in sorted((DOCS / "api").glob("*.md")))
    shown = set(re.findall(r"^::: airjax\.(\S+)$", pages, re.MULTILINE))
    assert set(airjax.__all__) <= shown
    for name, module in airjax.MODULES.items():
        assert f"`airjax.{name}`" in pages or module.removeprefix("airjax.") in shown or f"airjax.{name}." in pages, (
            name
        )
    for name in shown:  # as mkdocstrings resolves them
        assert importlib.util.find_spec(f"airjax.{name}".rpartition(".")[0]) is not None


def test_every_variable_of_the_code_is_on_its_page() -> None:
    used = {name for source in sources() for name in re.findall(r"\bAIRJAX_[A-Z0-9]+\b", source)}
    assert set(re.findall(r"\bAIRJAX_[A-Z0-9]+\b", (DOCS / "environment.md").read_text())) == used


@pytest.mark.parametrize("module", [export, predict, report, serve, sweep, train])
def test_exit_codes_are_those_of_the_commands(module: Any) -> None:
    name = module.__name__.rpartition(".")[2]
    (row,) = re.findall(rf"^\| `airjax {name}` \|(.*)\|$", (DOCS / "exit_codes.md").read_text(), re.MULTILINE)
    listed = {code for code, cell in enumerate(row.split("|")) if cell.strip()}
    codes = {value for constant, value in vars(module).items() if constant.startswith("EXIT_") and value < 10}
    assert listed == (codes or {0, 1, 2})  # export has no names for them


def test_exit_codes_of_all_commands_are_those_of_the_console() -> None:
    listed = column((DOCS / "exit_codes.md").read_text().split("Of all commands")[1])
    assert {int(code) for code in listed[1:]} == {2, EXIT_OUTPUT, EXIT_INTERRUPTED, EXIT_CLOSED, 143}


def test_the_messages_of_the_troubles_are_those_of_the_code() -> None:
    found = "\n".join(texts())
    messages = [cell.strip("`") for cell in column((DOCS / "troubleshooting.md").read_text())[1:]]
    assert len(messages) > 10
    assert [message for message in messages if message not in found] == []
    assert "this is no message" not in found


def test_fields_of_a_training_are_listed() -> None:
    recipe = airjax.get_recipe("tiny")
    metrics = StepMetrics(np.ones(recipe.total_steps), np.ones(recipe.total_steps))
    crops = (CropResult(256, 0.875, 0.5, 0.5),)
    trained = TrainedRun(recipe, 0, {}, metrics, np.zeros((100, 10), np.float32), 0.5, {"train": 1.0}, crops, 0.4)
    record = train_result.record_run(trained, batches_of=5)
    assert fields_of("a training") == {*record, "setting", "environment"}
    summary = train_result.summarize_runs("tiny", recipe, load_builtin(300, 100), [record])
    assert fields_of("a result") == {*summary, "mixed", "warnings", *describe()}


def test_fields_of_a_sweep_are_listed(tmp_path: Path) -> None:
    plan = make_plan({"recipe": "tiny", "data": "synthetic", "seeds": 1}, "cpu")
    source = Source("f", "unknown", None)
    prepare_folder(plan, tmp_path, {"synthetic": source})
    assert fields_of("a sweep") == set(airjax.sweep.store.read_plan(tmp_path)) | {"pools"}
    job = Job(plan, tmp_path, None, "auto", "cpu", {"synthetic": source}, None)
    record = run_record(job, next(plan.runs({"synthetic": "f"}, "1")), None)
    writer = Writer(tmp_path, "worker")
    writer.add(record | {"last_loss": None, "plain_accuracy": 0.1})
    (line,) = airjax.sweep.store.load(tmp_path).rows
    assert fields_of("a network of a sweep") == set(line) - {"folder"}


def test_the_first_two_commands_of_the_readme_train_and_test() -> None:
    commands = re.findall(r"^```\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    assert [command.startswith("python3 -m venv .venv && ") for command in commands] == [True, True]
    assert commands[0].endswith("-m airjax.train --recipe mini\n")
    assert commands[1].endswith("-m pytest -n 2\n")
    assert len((ROOT / "README.md").read_text().splitlines()) < 80


def test_the_package_index_gets_no_relative_link() -> None:
    hook = load_script("hatch_build.py", "hatchling")
    text = "![picture](docs/a.png) [a page](docs/a.md#part) [paper](https://arxiv.org) [here](#use)"
    assert hook.absolute_links(text, "https://example.org/r", "abc") == (
        "![picture](https://example.org/r/raw/abc/docs/a.png) [a page](https://example.org/r/blob/abc/docs/a.md#part) "
        "[paper](https://arxiv.org) [here](#use)"
    )
    assert hook.absolute_links(text, None, "abc") == " a page [paper](https://arxiv.org) [here](#use)"


def test_a_link_of_the_built_site_to_nothing_is_found(tmp_path: Path) -> None:
    check = load_script(".ci/check_links.py")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "index.html").write_text('<h2 id="part">x</h2><a href="../b.html">b</a><a href="#part">p</a>')
    (tmp_path / "b.html").write_text('<a href="a/#part">a</a> <a href="https://elsewhere.org/x">e</a>')
    assert list(check.broken_links(tmp_path)) == []
    (tmp_path / "b.html").write_text('<a href="a/#other">a</a> <img src="none.png"> <a href="c/">c</a>')
    assert list(check.broken_links(tmp_path)) == ["b.html: a/#other", "b.html: none.png", "b.html: c/"]


def test_links_between_pages_and_to_files_are_the_site_s() -> None:
    links = load_script(".ci/site_links.py", "mkdocs")
    page = type("Page", (), {"file": type("File", (), {"src_uri": "paper/fig1.md"}), "is_homepage": False, "meta": {}})
    text = "[a](../../docs/recipes.md#1-network) [b](../../airjax/data/svhn.py) ![c](cpu.png)\n<!-- x -->\n| t |\n"
    assert links.on_page_markdown(text, page) == (
        "[a](../recipes.md#1-network) [b](../source/airjax/data/svhn.py.md) ![c](../source/experiments/fig1/cpu.png)\n"
        "\n<!-- x -->\n\n| t |\n"
    )
    with pytest.raises(links.PluginError, match=r"links to airjax/none\.py, which is not there"):
        links.linked_file(None, "README.md", "airjax/none.py")


def test_the_plot_has_every_published_accuracy_and_what_was_reached() -> None:
    def line(**changes: Any) -> dict[str, Any]:
        line = {"recipe": "94", "dataset": "cifar10", "changed": {"precision": "float32"}, "device": "d", "n": 2}
        line |= {"mean": 0.9, "sd": 0.01, "seconds": {"train": 8.0}, "commit": "c", "dataset_sha256": "a"}
        line |= {"content": "official"} | changes
        return line | {"seeds": list(range(line["n"])), "accuracy": [line["mean"]] * line["n"]}

    lines = [line(), line(mean=0.94), line(changed={"epochs": 1.0}), line(dataset="builtin"), line(recipe="mini")]
    lines += [line(mean=0.5, split="validation"), line(mean=0.6, content="shuffled"), line(mean=0.7, device="e", n=1)]
    found = accuracy_tables.points(lines)
    assert [point for point in found if not point.published] == [
        accuracy_tables.Point("94, float32, n=2", 9.9, 0.94, 0.01, published=False)
    ]
    published = {point.name: point.accuracy for point in found if point.published}
    assert published["94"] == 0.9401
    assert published.keys() == {name for name in RECIPES if CLAIMS[name].target and CLAIMS[name].expected_accuracy}
    table = accuracy_tables.accuracy_table(lines)
    assert "| 94 | CIFAR-10 | 94.00% (sd 1.00) | 2 | 4.0 s | d, float32 | 94.01% |" in table
    assert "| 95 | CIFAR-10 | not yet run in full |  |  |  | 95.01% |" in table
