"""An experiment from plan to page, whose networks are really trained: tiny ones, on the synthetic dataset."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import airjax
from airjax.sweep.store import ResultsError, load, read_plan
from airjax.utils.records import read_lines
from experiments import cli
from experiments.experiment import Experiment, Part, Scale
from experiments.registry import EXPERIMENTS
from experiments.table1.analyse import TABLE1
from experiments.views import evaluate_views, view_folder

ROOT = Path(__file__).parents[2]
CELLS = itertools.product(("replacement", "reshuffle"), ("random", "alternating"))
PLAN: dict[str, Any] = {
    "recipe": "tiny",
    "data": "synthetic",
    "seeds": 2,
    "cases": [{"order": order, "flip": flip} for order, flip in CELLS],
}


def small_parts(scale: Scale, out: Path) -> Iterator[Part]:
    """Table 1 with two tiny networks a cell, and a plan that is written where it is trained."""
    yield Part("cells", out / "cells.toml", content=PLAN)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """Table 1, small, under its own name."""
    experiment = TABLE1._replace(parts=small_parts)
    monkeypatch.setitem(EXPERIMENTS, "table1", experiment)
    return experiment


@pytest.mark.slow
def test_from_plan_to_page(small: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, results = tmp_path / "out", tmp_path / "results"
    arguments = ["table1", "--out", str(out), "--results", str(results), "--workers", "1"]
    assert cli.main(["list", "--out", str(out)]) == 0
    assert "0 of 8 networks finished" in capsys.readouterr().out
    assert cli.main(["table1", "--out", str(out), "--analyse"]) == 2  # nothing is there
    assert "is not the folder of a sweep" in capsys.readouterr().err
    assert cli.main(arguments) == 0
    shown = capsys.readouterr().out
    assert "8 networks, 0 of them finished before" in shown
    (line,) = read_lines(results / "table1.jsonl")
    assert (line["experiment"], line["scale"], line["networks"]) == ("table1", "cpu", 8)
    assert {"device", "versions", "commit", "date", "content"} <= set(line)
    accuracies = [100 * row["accuracy"] for row in load(out / "cpu" / "table1" / "cells").rows]
    assert np.mean([row["ours"] for row in line["rows"][:4]]) == pytest.approx(np.mean(accuracies))
    page = (results / "experiments.md").read_text()
    assert "| with replacement, random flip |" in page
    assert "![Table 1, order of the examples and flip, CPU scale](table1-cpu.png)" in page
    assert (results / "table1-cpu.png").read_bytes().startswith(b"\x89PNG")
    assert (results / "table1-cpu.svg").read_text().startswith("<?xml")
    # Once more: nothing is left to train, and the same is found.
    assert cli.main(arguments) == 0
    assert "networks, " not in capsys.readouterr().out.partition("Table 1")[0]
    lines = read_lines(results / "table1.jsonl")
    assert [one["rows"] for one in lines] == [line["rows"]] * 2
    assert cli.main(["list", "--out", str(out)]) == 0
    assert "8 of 8 networks finished" in capsys.readouterr().out


SCRIPT = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from test_end_to_end import small_parts
from experiments import cli
from experiments.registry import EXPERIMENTS
from experiments.table1.analyse import TABLE1
if __name__ == "__main__":
    EXPERIMENTS["table1"] = TABLE1._replace(parts=small_parts)
    sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.nightly
def test_after_a_kill_the_same_command_trains_the_rest(tmp_path: Path) -> None:
    script, out = tmp_path / "run.py", tmp_path / "out"
    script.write_text(SCRIPT)
    arguments = ["table1", "--out", str(out), "--results", str(tmp_path / "results"), "--chunk", "1"]
    command = [sys.executable, str(script), str(Path(__file__).parent), *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    sweep = out / "cpu" / "table1" / "cells"
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        while not finished(sweep):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    before = finished(sweep)
    assert 1 <= len(before) < 8
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    after = finished(sweep)
    assert len(after) == len(set(after)) == 8  # none lost, none trained twice
    assert set(before) <= set(after)


def finished(sweep: Path) -> list[str]:
    """The networks whose lines are on disk, each as often as it is there."""
    return [row["id"] for file in sweep.glob("workers/*/runs.jsonl") for row in read_lines(file)]


@pytest.mark.slow
def test_a_network_evaluated_again_is_the_one_trained_for_that_evaluation(tmp_path: Path) -> None:
    from airjax.cli import sweep

    for level in (0, 2):
        plan = tmp_path / f"{level}.toml"
        plan.write_text(
            f'recipe = "tiny"\ndata = "synthetic"\nseeds = 3\n[set]\ntta_level = {level}\n[keep]\nnetworks = true\n'
        )
        assert sweep.main([str(plan), "--out", str(tmp_path / str(level)), "--workers", "1"]) == 0
    evaluate_views(tmp_path / "0", 2)
    again, trained = load(view_folder(tmp_path / "0", 2)), load(tmp_path / "2")
    by_seed = [[row["accuracy"] for row in sorted(r.rows, key=lambda row: row["seed"])] for r in (again, trained)]
    assert by_seed[0] == by_seed[1]
    assert sorted(again.array("predictions").sum(1)) == sorted(trained.array("predictions").sum(1))
    assert airjax.Recipe.from_dict(read_plan(view_folder(tmp_path / "0", 2))["recipes"][0]).evaluation.tta_level == 2
    lines = finished(view_folder(tmp_path / "0", 2))
    evaluate_views(tmp_path / "0", 2)  # nothing is left to do
    assert finished(view_folder(tmp_path / "0", 2)) == lines
    # A network that is lost cannot be evaluated; the message says what a plan has to keep.
    for file in (tmp_path / "0").glob("workers/*/networks/*"):
        file.unlink()
    with pytest.raises(ResultsError, match="networks = true under"):
        evaluate_views(tmp_path / "0", 1)
