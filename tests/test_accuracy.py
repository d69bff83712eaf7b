"""Lines of accuracy.jsonl: those of trainings that were stopped."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airjax.cli import train
from airjax.utils.records import read_lines
from benchmarks import accuracy, accuracy_tables


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_what_a_stopped_training_says_is_kept(tmp_path: Path, number: signal.Signals, code: int) -> None:
    stub = (
        "import signal, sys, time\n"
        "def end(number, _):\n"
        "    print('{\"seeds\": [0, 1]}')\n"
        "    sys.exit(128 + number)\n"
        "for number in (signal.SIGINT, signal.SIGTERM):\n"
        "    signal.signal(number, end)\n"
        "print('training', flush=True)\n"
        "time.sleep(60)\n"
    )
    (tmp_path / "stub.py").write_text(stub)
    script = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from benchmarks import accuracy, record;"
        "accuracy.run_json = lambda module, arguments: record.run_json('stub', []);"
        "code = accuracy.main(['--results', 'results']); print(code)"
    )
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parent.parent)])
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"training\n"
        # A terminal, and a part's time limit, send SIGINT to all processes; a scheduler SIGTERM to the first.
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
        assert process.stdout.read().decode().split("\n")[-2] == str(code)
    [line] = read_lines(tmp_path / "results" / "accuracy.jsonl")
    assert {name: line[name] for name in ("seeds", "n", "interrupted")} == {
        "seeds": [0, 1],
        "n": 2,
        "interrupted": True,
    }


@pytest.mark.usefixtures("small_builtin")
def test_a_line_is_made_of_what_a_stopped_training_finished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained, results = tmp_path / "trained", tmp_path / "results"
    short = ["--recipe", "tiny", "--data", "synthetic", "--quiet", "--json", "--epochs", "1", "--out", str(trained)]
    assert train.main([*short, "--seeds", "2"]) == 0
    whole = json.loads(capsys.readouterr().out.splitlines()[-1])
    for file in trained.glob("model-*"):  # too large to leave a lent machine
        file.unlink()
    command = ["--finished", str(trained), "--results", str(results)]
    assert accuracy.main(command) == 0
    assert "(mean of 2; 95% interval" in capsys.readouterr().out
    [line] = read_lines(results / "accuracy.jsonl")
    added = {name: line.pop(name) for name in ("n", "interrupted", "date")}
    assert (added["n"], added["interrupted"]) == (2, True)
    assert line == whole | {"warnings": []}
    lines = (trained / "environments.jsonl").read_text()
    (trained / "environments.jsonl").write_text("")
    assert accuracy.main(command) == 2
    assert "are not of one known environment" in capsys.readouterr().err
    (trained / "environments.jsonl").write_text(lines)
    described = json.loads((trained / "recipe.json").read_text())
    (trained / "recipe.json").write_text(json.dumps(described | {"dataset_sha256": "0"}))
    assert accuracy.main(command) == 2
    assert "learned from other data" in capsys.readouterr().err
    assert accuracy.main(["--finished", str(tmp_path / "none")]) == 2
    assert "needs the folder of `airjax train --out`" in capsys.readouterr().err
    (trained / "runs.jsonl").unlink()
    (trained / "recipe.json").write_text(json.dumps(described))
    assert accuracy.main(command) == 2
    assert "no network is finished in" in capsys.readouterr().err
    assert len(read_lines(results / "accuracy.jsonl")) == 1


@pytest.mark.parametrize(("code", "marked"), [(0, False), (3, False), (1, True), (130, True)])
def test_survivors_of_a_training_that_failed_are_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, marked: bool
) -> None:
    monkeypatch.setattr(accuracy, "run_json", lambda module, arguments: (code, {"seeds": [0, 1]}))
    assert accuracy.main(["--results", str(tmp_path)]) == code
    [line] = read_lines(tmp_path / "accuracy.jsonl")
    assert line.get("interrupted", False) is marked


def line_of(n: int, **changes: Any) -> dict[str, Any]:
    """A line of the first n networks of 94 on a CPU."""
    accuracies = [0.94 + 0.001 * (seed % 3) for seed in range(n)]
    line = {"recipe": "94", "changed": {}, "dataset": "cifar10", "dataset_sha256": "a", "content": "official"}
    line |= {"seeds": list(range(n)), "accuracy": accuracies, "n": n, "mean": 0.94, "sd": None, "device": "a CPU"}
    line |= {"seconds": {"train": 60.0 * n}, "commit": "c"}
    return line | changes


def test_networks_of_a_resumed_training_count_once() -> None:
    stopped, resumed, other = line_of(2, interrupted=True), line_of(5), line_of(2, commit="d")
    assert accuracy_tables.whole_lines([stopped, resumed, other]) == [resumed, other]
    twice = line_of(5, date="later")
    assert accuracy_tables.whole_lines([resumed, twice]) == [twice]
    claimed = line_of(2, claim={})
    assert accuracy_tables.whole_lines([claimed, resumed]) == [claimed, resumed]


def test_a_stopped_training_takes_no_place_of_a_whole_one_and_is_marked() -> None:
    whole, stopped = line_of(5), line_of(2, commit="d", interrupted=True)
    assert accuracy_tables.unchanged([whole, stopped]) == [whole]
    assert accuracy_tables.unchanged([stopped]) == [stopped]
    assert "| 2, then stopped |" in accuracy_tables.accuracy_table([stopped])
    assert "| 5 |" in accuracy_tables.accuracy_table([whole])


def test_other_training_images_have_no_expected_accuracy() -> None:
    lines = [line_of(5, recipe=recipe, content="shuffled") for recipe in ("94", "mini")]
    whole, part = (row for row in accuracy_tables.accuracy_table(lines).splitlines() if "| 5 |" in row)
    assert "94.01%" in whole
    assert "39.55%" not in part
