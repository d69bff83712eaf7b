"""Pages are made from results alone."""

from pathlib import Path
from typing import Any

import pytest

from airjax.utils.records import append_line
from experiments.experiment import HERE, Experiment
from experiments.page import insert_into, render_all, render_pages, render_results, resolution_table, write_pages
from experiments.registry import EXPERIMENTS

ROW: dict[str, Any] = {
    "cell": "alternating flip, reshuffled",
    "ours": 0.512,
    "interval": [0.1, 0.9],
    "n": 150,
    "paper": 0.09,
    "verdict": "agrees",
    "unit": "points",
    "decimals": 2,
    "p": 0.0123,
    "note": "",
}
LINE = {
    "experiment": "table1",
    "scale": "cpu",
    "networks": 600,
    "diverged": 1,
    "rows": [ROW, ROW | {"cell": "exact", "ours": 24, "decimals": 0, "interval": None, "n": 0, "p": None, "unit": ""}],
    "series": {},
    "content": {"cifar10": "official"},
    "device": "a device",
    "versions": {"airjax": "9.9"},
    "commit": "abc",
    "date": "2026-11-26",
}


@pytest.fixture
def table1(tmp_path: Path) -> Experiment:
    append_line(tmp_path / "table1.jsonl", LINE | {"networks": 1})  # an older one
    append_line(tmp_path / "table1.jsonl", LINE)
    return EXPERIMENTS["table1"]


def test_a_page_shows_the_newest_line(table1: Experiment, tmp_path: Path) -> None:
    page = render_results(table1, tmp_path, tmp_path)
    assert "600 networks, 1 of them diverged and are counted in; cifar10 (official content); a device" in page
    assert "a device, airjax 9.9, commit abc" in page
    line = "| +0.51 points | +0.10 to +0.90 | 150 | +0.09 points | agrees, p = 0.0123 |"
    assert f"| alternating flip, reshuffled {line}" in page
    assert "| exact | 24 |  |  | 0 | agrees |" in page
    assert "**The paper's scale**: not yet run." in page
    assert "![" not in page  # the figure is not there
    (tmp_path / "table1-cpu.png").write_bytes(b"")
    assert "](table1-cpu.png)" in render_results(table1, tmp_path, tmp_path)


def test_a_precision_that_was_asked_for_does_not_replace_the_planned_one(table1: Experiment, tmp_path: Path) -> None:
    asked = LINE | {"precision": "bfloat16"}
    append_line(tmp_path / "table1.jsonl", asked)
    (tmp_path / "table1-cpu-bfloat16.png").write_bytes(b"")
    assert "600 networks, 1 of them diverged" in render_results(table1, tmp_path, tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    append_line(other / "table1.jsonl", asked)
    (other / "table1-cpu-bfloat16.png").write_bytes(b"")
    page = render_results(table1, other, other)
    assert "600 networks in bfloat16, 1 of them diverged" in page
    assert "](table1-cpu-bfloat16.png)" in page


def test_all_experiments_are_on_one_page_with_their_verdicts(table1: Experiment, tmp_path: Path) -> None:
    (file,) = write_pages(EXPERIMENTS, tmp_path)
    page = file.read_text()
    assert page == render_all(EXPERIMENTS, tmp_path, tmp_path)
    for experiment in EXPERIMENTS.values():
        assert f"## {experiment.title}\n" in page
    assert "| `table1`: Table 1, order of the examples and flip | cpu | 600 | 2 |  |  |  |" in page
    assert "| `table1`: Table 1, order of the examples and flip | paper | not yet run |  |  |  |  |" in page


def test_a_page_without_its_markers_is_refused() -> None:
    text = "before\n<!-- python -m airjax experiments page writes results from here -->\nold\n<!-- to here -->\nafter"
    assert insert_into(Path("p.md"), text, "results", "new").splitlines()[2] == "new"
    with pytest.raises(ValueError, match=r"p\.md lacks the lines"):
        insert_into(Path("p.md"), "no markers", "results", "new")


def test_the_committed_pages_are_those_of_the_committed_results() -> None:
    pages = render_pages(EXPERIMENTS)
    assert set(pages) == {*HERE.glob("**/README.md"), HERE.parent / "docs" / "experiments.md"}
    for file, text in pages.items():
        assert file.read_text() == text, f"{file} is stale; python -m airjax experiments page writes it"


def test_a_page_says_what_its_plans_can_resolve() -> None:
    table = resolution_table(EXPERIMENTS["table1"])
    assert "| random and alternating flip, over both orders | 0.4 | 1.5 | " in table
    assert resolution_table(EXPERIMENTS["fig2"]).startswith("No number")
