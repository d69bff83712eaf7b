"""Lines of accuracy.jsonl: those of trainings that were stopped."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from airjax.cli import train
from airjax.utils.records import read_lines
from benchmarks import accuracy


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
