"""A plan.json that is not a sweep's: every command that reads one says so in a line."""

import json
from pathlib import Path
from typing import Any

import pytest
from test_sweep import CONTENT, SOURCES

from airjax.cli import export, report, sweep
from airjax.sweep.folder import prepare_folder
from airjax.sweep.plan import make_plan
from airjax.sweep.store import ResultsError
from benchmarks.claim_plan import Plan

OF_A_RECORD = {**Plan("tiny", 0.02, 4, 0, "synthetic", None)._asdict(), "level": 0.01, "commits": ["abc"]}


@pytest.fixture(params=[[], {}, OF_A_RECORD, {"recipe": "tiny", "num_runs": 1, "seeds": 1, "settings": {}}])
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    (tmp_path / "plan.json").write_text(json.dumps(request.param))
    return tmp_path


@pytest.mark.parametrize("command", ["status", "report", "export"])
def test_commands_that_read_a_sweep_say_that_it_is_none(
    folder: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if command == "report":
        pytest.importorskip("vl_convert", reason="vl-convert is not installed (pip install '.[report]')")
    calls: dict[str, Any] = {
        "status": lambda: sweep.main(["status", str(folder)]),
        "report": lambda: report.main([str(folder)]),
        "export": lambda: export.main([str(folder), str(folder / "file.parquet")]),
    }
    assert calls[command]() == 2
    assert f"error: {folder / 'plan.json'} is not a sweep's plan" in capsys.readouterr().err


def test_a_sweep_leaves_it_alone(folder: Path) -> None:
    before = (folder / "plan.json").read_text()
    with pytest.raises(ResultsError, match="is not a sweep's plan"):
        prepare_folder(make_plan(CONTENT), folder, SOURCES)
    assert (folder / "plan.json").read_text() == before
