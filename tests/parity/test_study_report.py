import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.__main__ import main
from parity.study import RunOutcome, add_run, open_study

pytest.importorskip("matplotlib", reason="matplotlib is not installed (pip install '.[report]')")

OUTSIDE = r'(src|href)="(?!data:)'  # what a page would load from elsewhere
ROW = {
    "check": "loss",
    "recipe": "94",
    "precision": "float64",
    "arrays": 2,
    "worst": "loss",
    "absolute": 1e-16,
    "relative": None,
    "allowed": 1e-13,
    "passed": True,
}
SUITE: dict[str, Any] = {
    "passed": True,
    "against": "reference",
    "data": "cifar10",
    "checks": [ROW],
    "drift": {"94": {"distance": [1e-8, 2e-7, 3e-7], "allowed": [1e-7, 2e-6, 3e-6]}},
}


@pytest.fixture
def study_file(tmp_path: Path, plan: dict[str, Any]) -> Path:
    file = tmp_path / "study.jsonl"
    study = open_study(file, plan | {"runs": 20, "recipe": "mini <&>"})
    generator = np.random.default_rng(0)
    for framework, seed in study.missing():
        add_run(file, study, framework, seed, RunOutcome(generator.random(500) < 0.4, False, {"train": 2.0}))
    return file


def test_page_is_whole_in_itself(tmp_path: Path, study_file: Path) -> None:
    suite, page = tmp_path / "suite.jsonl", tmp_path / "page.html"
    suite.write_text(json.dumps(SUITE) + "\n")
    assert main(["report", str(study_file), "--suite", str(suite), "--out", str(page)]) == 0
    text = page.read_text()
    assert text.count('src="data:image/svg+xml;base64,') == 5
    assert not re.search(OUTSIDE, text)
    assert re.search(OUTSIDE, text.replace("</body>", '<img src="figure.png"></body>'))
    assert "$" not in text
    assert "mini &lt;&amp;&gt;" in text
    assert "mini <&>" not in text
    for part in ("Brown-Forsythe", "all 1 checks hold", "a processor", "not finite", "20"):
        assert part in text


def test_the_same_study_gives_the_same_page(tmp_path: Path, study_file: Path) -> None:
    pages = []
    for name in ("a.html", "b.html"):
        main(["report", str(study_file), "--out", str(tmp_path / name)])
        pages.append((tmp_path / name).read_bytes())
    assert pages[0] == pages[1]


def test_page_of_an_unfinished_study_draws_no_conclusion(tmp_path: Path, study_file: Path) -> None:
    study_file.write_text("".join(study_file.read_text().splitlines(keepends=True)[:30]))
    assert main(["report", str(study_file), "--out", str(tmp_path / "page.html")]) == 0
    text = (tmp_path / "page.html").read_text()
    assert "Not finished" in text
    assert "Brown-Forsythe" not in text


def test_a_result_of_an_earlier_version_gives_the_same_page(tmp_path: Path, study_file: Path) -> None:
    row = {("rung" if key == "check" else key): value for key, value in ROW.items()}
    old = {key: value for key, value in SUITE.items() if key != "checks"} | {"rungs": [row]}
    (tmp_path / "old.jsonl").write_text(json.dumps(old) + "\n")
    (tmp_path / "new.jsonl").write_text(json.dumps(SUITE) + "\n")
    for option, name in (("--ladder", "old"), ("--suite", "new")):
        page = str(tmp_path / f"{name}.html")
        assert main(["report", str(study_file), option, str(tmp_path / f"{name}.jsonl"), "--out", page]) == 0
    assert (tmp_path / "old.html").read_bytes() == (tmp_path / "new.html").read_bytes()
    assert "all 1 checks hold" in (tmp_path / "old.html").read_text()


def test_a_failing_check_is_shown(tmp_path: Path, study_file: Path) -> None:
    suite = tmp_path / "suite.jsonl"
    suite.write_text(json.dumps(SUITE | {"checks": [ROW, ROW | {"passed": False}]}) + "\n")
    main(["report", str(study_file), "--suite", str(suite), "--out", str(tmp_path / "page.html")])
    text = (tmp_path / "page.html").read_text()
    assert "1 of 2 checks fail" in text
    assert "FAIL" in text


def test_files_that_hold_something_else_are_named(
    tmp_path: Path, study_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(tmp_path / "none.jsonl"), "--out", str(tmp_path / "page.html")]) == 2
    assert "is not the record of a study" in capsys.readouterr().err
    assert main(["report", str(study_file), "--suite", str(study_file), "--out", str(tmp_path / "page.html")]) == 2
    assert "has no result of the parity suite" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()
