"""Reports of sweeps that were written by hand."""

import errno
import html.parser
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest

import airjax
from airjax.cli import report
from airjax.cli.report import main
from airjax.data import DataError
from airjax.recipes.published import RECIPES
from airjax.report import page, survey
from airjax.report.figures_grid import draw_dependences
from airjax.sweep.store import Writer
from airjax.utils.records import append_line, write_json
from tests.report.folders import make_networks

pytest.importorskip("vl_convert", reason="vl-convert is not installed (pip install '.[report]')")
pytest.importorskip("jinja2", reason="jinja2 is not installed (pip install '.[report]')")

ENVIRONMENT = {"environment": "e1", "device": "a processor", "commit": None, "versions": {"jax": "1.2.3"}}
OUTSIDE = re.compile(r'(src|href)="(?!data:)|<link|@import|url\(')  # what a page would load from elsewhere
SCRIPT = re.compile("<script>.*?</script>", re.DOTALL)  # what the browser tests watch over


@pytest.fixture(autouse=True)
def _toy_tests(monkeypatch: pytest.MonkeyPatch, small_builtin: airjax.Dataset) -> None:
    """Every test here is on the toy data set."""


@pytest.fixture
def drafts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are drawn, but not rendered as files: for tests of what a page says."""
    monkeypatch.setattr(page, "render_png", lambda spec: b"png")


def network(labels: np.ndarray, right: int) -> np.ndarray:
    """Classifies the first so many images right, and the others as the next class."""
    return np.where(np.arange(len(labels)) < right, labels, (labels + 1) % 10).astype(np.uint8)


def make_sweep(
    folder: Path, labels: np.ndarray, settings: list[dict[str, Any]], right: list[list[int]], **changes: Any
) -> Path:
    """A sweep of tiny: for each setting, how many test images each of its networks gets right."""
    writer = Writer(folder, "a")
    for number, (setting, counts) in enumerate(zip(settings, right, strict=True)):
        for seed, count in enumerate(counts):
            record = {
                "id": f"s{number}-{seed}",
                "setting": f"s{number}",
                "data": "builtin",
                "seed": seed,
                "subset": None,
                "changes": setting,
                "environment": "e1",
                "accuracy": count / len(labels),
                "diverged": False,
                "error": None,
                "examples": len(labels),
                "seconds": 1.5,
            }
            arrays = {
                "predictions": network(labels, count),
                "curves": np.array([[2 - 0.1 * seed, 0.3], [1 - 0.1 * seed, np.nan]], np.float32),
            }
            writer.add(record | changes, arrays)
    append_line(folder / "environments.jsonl", ENVIRONMENT)
    plan = {
        "recipe": "tiny",
        "num_runs": sum(map(len, right)),
        "seeds": list(range(max(map(len, right)))),
        "subsets": None,
        "settings": {f"s{i}": setting | {"data": "builtin"} for i, setting in enumerate(settings)},
        "recipes": [RECIPES["tiny"].to_dict() | setting for setting in settings],
    }
    write_json(folder / "plan.json", plan)
    return folder


FLIPS = [{"flip": "random"}, {"flip": "alternating <&>"}]


@pytest.fixture
def sweep(tmp_path: Path, toy: airjax.Dataset) -> Path:
    return make_sweep(tmp_path / "sweep", toy.test_labels, FLIPS, [[60, 62, 64, 66], [70, 72, 74, 76]])


def page_of(sweep: Path, *arguments: str) -> str:
    assert main([str(sweep), *arguments]) == 0
    return (sweep / "report" / "report.html").read_text()


class Cells(html.parser.HTMLParser):
    """The rows of a page's tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "tr":
            self.rows.append([])
        self._inside = tag in {"td", "th"}
        if self._inside:
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.rows[-1][-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag not in {"td", "th"}


def test_page_is_whole_in_itself_and_its_figures_are_beside_it(sweep: Path) -> None:
    text = page_of(sweep)
    names = {"accuracy", "loss", "training"}
    names |= {f"{part}-builtin-100" for part in ("classes", "confusion", "reliability", "difficulty")}
    assert {file.stem for file in (sweep / "report").glob("*.png")} == names
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in (sweep / "report").glob("*.png"))
    assert text.count('<div class="chart">') == len(names)
    assert text.count('src="data:image/png;base64,') == 12  # the hardest images
    text = SCRIPT.sub("", text)
    assert not OUTSIDE.search(text)
    for loaded in ('<img src="figure.png">', '<script src="x.js">', '<link rel="icon">', "@import", "a: url(x.png)"):
        assert OUTSIDE.search(text.replace("</body>", f"{loaded}</body>"))
    assert all(heading in text for heading in ("Learning curves", "The votes of all networks", "<h2>Differences"))
    assert "flip alternating &lt;&amp;&gt;" in text
    assert "<&>" not in text


@pytest.mark.usefixtures("drafts")
def test_numbers_in_the_page(sweep: Path) -> None:
    rows = Cells(page_of(sweep)).rows
    assert ["networks", "8 of 8 networks, 0 failed, 0 diverged"] in rows
    assert ["seeds", "0 to 3"] in rows
    first = next(row for row in rows if row[0] == "flip random")
    assert first[1:4] == ["4", "0", "63.00 (58.89 to 67.11)"]
    assert first[4].startswith("2.582 (")
    assert first[5:] == ["60.00 to 66.00", "1.5"]
    together = [row for row in rows if row[0] == "flip random"][1]
    assert together[4].startswith("3.33 (")
    assert together[5].endswith(" (votes)")
    (difference,) = [row for row in rows if " minus " in row[0]]
    # Welch: 10 -+ 2.447 * 2.582 / sqrt(2).
    assert difference[:2] == ["flip alternating <&> minus flip random", "+10.000 (+5.533 to +14.467)"]
    # Cohen's d is 3.87: samples of 2 have a power of 0.54, samples of 3 one of 0.94.
    assert difference[2:] == ["0.0015", "0.0015", "3"]
    assert ["device", "a processor"] in rows
    assert ["jax", "1.2.3"] in rows


def test_the_same_sweep_gives_the_same_files(sweep: Path, tmp_path: Path) -> None:
    for name in "ab":
        assert main([str(sweep), "--out", str(tmp_path / name)]) == 0
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


@pytest.mark.usefixtures("drafts")
def test_failed_networks_are_listed_and_diverged_ones_counted(tmp_path: Path, toy: airjax.Dataset) -> None:
    folder = make_sweep(tmp_path / "sweep", toy.test_labels, [{}], [[10, 10, 10]], diverged=True)
    writer = Writer(folder, "b")
    record = {"id": "s0-3", "setting": "s0", "accuracy": None, "diverged": False, "environment": "e1"}
    writer.add(record | {"error": "no <memory>"})
    text = page_of(folder)
    rows = Cells(text).rows
    assert ["networks", "3 of 3 networks, 1 failed, 3 diverged"] in rows
    assert ["s0-3", "no <memory>"] in rows
    assert "no <memory>" not in text
    assert next(row for row in rows if row[0] == "as it is")[1:4] == ["3", "3", "10.00 (10.00 to 10.00)"]


@pytest.mark.usefixtures("drafts")
def test_one_network_has_no_intervals(tmp_path: Path, toy: airjax.Dataset) -> None:
    text = page_of(make_sweep(tmp_path / "sweep", toy.test_labels, [{}], [[60]]))
    assert next(row for row in Cells(text).rows if row[0] == "as it is")[1:5] == ["1", "0", "60.00", ""]
    assert "There are no two settings to compare" in text
    assert "90%" not in text.split('<div class="chart">', 1)[1].split("<h2>Environment")[0]
    assert "<h2>Differences" not in text


@pytest.mark.usefixtures("drafts")
def test_sweeps_without_curves_leave_them_out(tmp_path: Path, toy: airjax.Dataset) -> None:
    folder = make_sweep(tmp_path / "sweep", toy.test_labels, [{}], [[60, 62]])
    shapes = folder / "workers" / "a" / "arrays.json"
    write_json(shapes, {"predictions": json.loads(shapes.read_text())["predictions"]})
    assert "Learning curves" not in page_of(folder)


@pytest.mark.usefixtures("drafts")
def test_many_settings_are_all_in_the_tables_and_the_first_in_the_figures(tmp_path: Path, toy: airjax.Dataset) -> None:
    settings = [{"learning_rate": float(rate)} for rate in range(1, 32)]
    right = [[40 + i, 41 + i] for i in range(31)]
    text = page_of(make_sweep(tmp_path / "sweep", toy.test_labels, settings, right))
    assert "The figures show the best 12 settings; the other 19 are in the tables alone." in text
    firsts = [row[0] for row in Cells(text).rows]
    assert all(firsts.count(f"learning_rate {rate:.1f}") == 2 for rate in range(1, 32))
    assert sum(" minus learning_rate 1.0" in first for first in firsts) == 30


@pytest.mark.usefixtures("drafts")
def test_ladders_of_epochs_show_what_alternating_flip_saves(tmp_path: Path, toy: airjax.Dataset) -> None:
    settings = [{"epochs": e, "flip": flip} for flip in ("random", "alternating") for e in (1.0, 2.0, 4.0, 8.0)]
    right = [[40, 40], [60, 60], [70, 70], [75, 75], [50, 50], [65, 65], [72, 73], [76, 76]]
    rows = Cells(page_of(make_sweep(tmp_path / "sweep", toy.test_labels, settings, right))).rows
    # Errors of 20 + 40 / e: 50% are reached after 4/3 epochs, 35% after 8/3.
    assert ["1", "60.000", "50.000", "+33.3%"] in rows
    assert ["2", "40.000", "35.000", "+33.3%"] in rows


@pytest.mark.usefixtures("drafts")
def test_images_that_are_not_at_hand_are_left_out(
    sweep: Path, monkeypatch: pytest.MonkeyPatch, toy: airjax.Dataset
) -> None:
    def fail(name: str, source: Any, folder: Path | None) -> airjax.Dataset:
        raise DataError("it is on <another> disk")

    monkeypatch.setattr(survey, "find_data", fail)
    text = page_of(sweep)
    assert "it is on &lt;another&gt; disk" in text
    assert "confused" not in text
    assert {file.stem for file in (sweep / "report").glob("*.png")} == {"accuracy", "loss", "training"}
    together = [row for row in Cells(text).rows if row[0] == "flip random"][1]
    assert [together[2], together[3], together[5]] == ["", "", ""]
    assert together[4].startswith("3.33")


@pytest.mark.usefixtures("drafts")
def test_labels_of_other_images_are_not_used(sweep: Path, monkeypatch: pytest.MonkeyPatch, toy: airjax.Dataset) -> None:
    other = airjax.Dataset("synthetic", toy.train_images, toy.train_labels, toy.test_images, (toy.test_labels + 1) % 10)
    monkeypatch.setattr(survey, "find_data", lambda name, source, folder: other)
    assert "not what the networks were tested on" in page_of(sweep)


def test_a_place_of_cifar10_that_is_named_has_to_hold_it(
    tmp_path: Path, toy: airjax.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_sweep(tmp_path / "sweep", toy.test_labels, [{}], [[60]], data="cifar10")
    assert main([str(folder), "--data-dir", str(tmp_path / "none")]) == 2
    assert str(tmp_path / "none") in capsys.readouterr().err


@pytest.mark.usefixtures("drafts")
def test_environments_are_pooled_only_when_asked(
    sweep: Path, toy: airjax.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_sweep(sweep.parent / "other", toy.test_labels, [FLIPS[0]], [[61]], id="s0-9", environment="e2")
    (other / "workers" / "a").rename(sweep / "workers" / "b")
    assert main([str(sweep)]) == 2
    assert "2 environments (e1, e2" in capsys.readouterr().err
    rows = Cells(page_of(sweep, "--mixed")).rows
    assert ["self-check", "e1"] in rows
    assert ["self-check", "e2"] in rows


def test_bad_input_is_named(
    tmp_path: Path, sweep: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / "empty")]) == 2
    assert "is not the folder of a sweep" in capsys.readouterr().err
    (tmp_path / "begun" / "workers").mkdir(parents=True)
    shutil.copy(sweep / "plan.json", tmp_path / "begun")
    assert main([str(tmp_path / "begun")]) == 2
    assert "no network in" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main([str(sweep), "--out", str(tmp_path / "file" / "page")]) == 2
    assert "cannot write to --out" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "vl_convert", None)  # as where it is not installed
    assert main([str(sweep)]) == 2
    assert "a report needs vl_convert, which cannot be imported" in (error := capsys.readouterr().err)
    assert "pip install 'airjax[report]'" in error
    assert not (sweep / "report").exists()


@pytest.mark.usefixtures("drafts")
def test_settings_are_ranked_and_their_grid_is_a_heat_map(tmp_path: Path, toy: airjax.Dataset) -> None:
    settings = [{"learning_rate": rate, "translate": pixels} for rate in (1.0, 2.0) for pixels in (0, 2, 4)]
    right = [[30, 31], [50, 51], [40, 41], [60, 61], [80, 81], [70, 71]]
    folder = make_sweep(tmp_path / "sweep", toy.test_labels, settings, right)
    text = page_of(folder)
    assert "with learning_rate 2.0, translate 2, the best of 6 settings" in text
    firsts = [row[0] for row in Cells(text).rows if row and row[0].startswith("learning_rate")]
    assert [first.removeprefix("learning_rate ") for first in firsts[:6]] == [
        *("2.0, translate 2", "2.0, translate 4", "2.0, translate 0"),
        *("1.0, translate 2", "1.0, translate 4", "1.0, translate 0"),
    ]
    cells = draw_dependences(settings, [np.array(counts, float) for counts in right])
    assert list(cells) == ["grid-learning_rate-translate"]
    rows = cells["grid-learning_rate-translate"]["data"]["values"]
    assert {(row["x"], row["y"]): row["mean"] for row in rows}["2", "2"] == 80.5
    # A list of cases that fills little of its table is no grid.
    cases = [{"learning_rate": float(i), "translate": i} for i in range(5)]
    assert draw_dependences(cases, [np.ones(2)] * 5) == {}


@pytest.mark.usefixtures("drafts")
def test_a_folder_of_sweeps_has_a_page(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (sweep.parent / "later").mkdir()
    shutil.copy(sweep / "plan.json", sweep.parent / "later")
    assert main([str(sweep.parent)]) == 0
    text = (sweep.parent / "report" / "report.html").read_text()
    assert "8 of 8 networks of 2 sweeps" in text
    for link in re.findall(r'<a href="([^"]*/report.html)"', text):
        assert "Learning curves" in (sweep.parent / "report" / link).read_text()
    assert text.count('/report.html"') == 1  # the other has no network yet
    assert "later: no network in" in text
    assert "<h2>sweep</h2>" in text


@pytest.mark.usefixtures("drafts")
def test_a_folder_of_sweeps_of_any_name_and_of_trainings_has_a_page(tmp_path: Path, toy: airjax.Dataset) -> None:
    whole = tmp_path / "whole"
    names = ["a/b", "a-b", "c #1", os.fsdecode(b"d\xff")]
    for name in names:
        make_sweep(whole / name, toy.test_labels, [{}], [[60, 62]])
    make_networks(whole / "trained", toy, [60, 64])
    make_networks(whole / "record" / "networks", toy, [61])  # as of `airjax records verify`
    (whole / "record" / "plan.json").write_text("{}")
    (whole / "damaged").mkdir()
    (whole / "damaged" / "plan.json").write_text("[]")
    assert main([str(whole), "--out", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "report.html").read_text()
    assert "11 of 11 networks of 5 sweeps and 2 trainings" in text
    assert "Accuracy 62.00% (95% interval" in text
    assert "damaged: " in text
    links = re.findall(r'<a href="([^"]*/report.html)"', text)
    found = {os.fsdecode(unquote_to_bytes(link)) for link in links}
    assert found == {f"{name}/report.html" for name in (*names, "trained", "record")}
    assert all(re.fullmatch("[a-zA-Z0-9/%.-]*", link) for link in links)
    for name in found:
        assert (tmp_path / "out" / name).exists()
        assert (tmp_path / "out" / name).with_name("accuracy.png").exists()


def test_a_disk_that_fails_is_no_bad_input(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(file: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(file))

    monkeypatch.setattr(page, "render_png", lambda spec: b"png")
    monkeypatch.setattr(report, "write_atomically", fail)
    assert main([str(sweep)]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert main([str(tmp_path / ("x" * 300))]) == 2
    assert "xxx cannot be read: File name too long" in capsys.readouterr().err
