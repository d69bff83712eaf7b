"""Verification of a claim: what it refuses, what it trains, and that a killed one loses nothing.

The training is played by a function, but for the last test.
"""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from airjax.utils.records import append_line, read_lines
from benchmarks import verify
from benchmarks.record_cli import main
from tests.record_logs import check_logs

COMMAND = ["verify", "tiny", "--data", "synthetic", "--target", "2", "--seeds", "4"]
SECONDS = {"compile": 8.0, "whiten": 1.0, "train": 2.0, "evaluate": 4.0}  # of every network


class FakeTraining:
    """Trains nothing: seed s has an accuracy of 11% less s points. A process dies before the seeds in `deadly`."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []  # seeds that each process was asked for
        self.deadly: set[int] = set()  # each kills once

    def __call__(self, module: str, arguments: list[str]) -> tuple[int, dict[str, Any] | None]:
        assert module == "airjax.train"
        options = dict(itertools.pairwise(arguments))
        first, count = int(options["--seed"]), int(options["--seeds"])
        self.calls.append(list(range(first, first + count)))
        out = Path(options["--out"])
        out.mkdir(parents=True, exist_ok=True)
        for seed in self.calls[-1]:
            if seed in self.deadly:
                self.deadly.remove(seed)
                (out / "snapshots" / "digest").mkdir(parents=True)
                return -9, None
            if seed not in {run["seed"] for run in read_lines(out / "runs.jsonl")}:
                append_line(out / "runs.jsonl", {"seed": seed, "accuracy": 0.11 - 0.01 * seed, "seconds": SECONDS})
                for snapshot in (out / "snapshots").glob("*"):
                    snapshot.rmdir()
        return 0, self.record([run for run in read_lines(out / "runs.jsonl") if run["seed"] in self.calls[-1]])

    def record(self, runs: list[dict[str, Any]]) -> dict[str, Any]:
        accuracies = [run["accuracy"] for run in sorted(runs, key=lambda run: run["seed"])]
        return {
            "recipe": "tiny",
            "changed": {},
            "dataset": "synthetic",
            "dataset_sha256": "a",
            "seeds": sorted(run["seed"] for run in runs),
            "accuracy": accuracies,
            "mean": sum(accuracies) / len(accuracies),
            "target": None,
            "target_met": "not evaluated",
            "seconds": {stage: len(runs) * seconds for stage, seconds in SECONDS.items()},
            "device": "a processor",
            "versions": {"airjax": "0.2.0"},
            "commit": "now",
        }


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> FakeTraining:
    fake = FakeTraining()
    monkeypatch.setattr(verify, "run_json", fake)
    monkeypatch.setattr(verify, "commit", lambda: "abc")
    return fake


def places(tmp_path: Path) -> list[str]:
    return ["--out", str(tmp_path / "out"), "--results", str(tmp_path / "results")]


def test_a_row_is_written_with_its_test_times_and_raw_log(
    training: FakeTraining, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*COMMAND, *places(tmp_path), "--json"]) == 0
    assert training.calls == [[0], [0, 1, 2, 3]]  # the whole process of one network, then all
    [line] = read_lines(tmp_path / "results" / "accuracy.jsonl")
    assert (line["n"], line["commit"], line["claim"]["verdict"]) == (4, "abc", "verified")
    # t = 0.075 / (0.0129 / 2), of 3 degrees of freedom, for which p has a closed form: with u = t / sqrt(3),
    # 1/2 - (u / (1 + u²) + atan u) / π.
    assert line["claim"]["p"] == pytest.approx(0.00068467, rel=1e-4)
    assert (line["whole_process"]["seed"], line["whole_process"]["compile"]) == (0, 8.0)
    assert line["times"]["airbench"] == {"median": 7.0, "quartiles": [7.0, 7.0], "minimum": 7.0}
    assert check_logs(tmp_path / "results") == 1
    shown = capsys.readouterr().out
    row = json.loads(shown.splitlines()[-1])
    assert (row["seconds"], row["verdict"], row["is_record"]) == (7.0, "verified", False)
    assert "mean accuracy 9.50% of 4 networks" in shown
    assert "p 0.0007 that the mean is below 2%: verified" in shown


def test_a_finished_verification_is_neither_trained_nor_written_again(training: FakeTraining, tmp_path: Path) -> None:
    for _ in range(2):
        assert main([*COMMAND, *places(tmp_path)]) == 0
    assert training.calls == [[0], [0, 1, 2, 3], [0, 1, 2, 3]]  # the last finds them all
    assert check_logs(tmp_path / "results") == 1


def test_what_is_not_verified_ends_with_another_code(training: FakeTraining, tmp_path: Path) -> None:
    assert main([*COMMAND, *places(tmp_path), "--target", "9.4"]) == 3
    [line] = read_lines(tmp_path / "results" / "accuracy.jsonl")
    assert line["claim"]["verdict"] == "not resolved at this n"


@pytest.mark.parametrize("seed", [0, 2])
def test_a_killed_verification_resumes_with_what_is_finished(
    seed: int, training: FakeTraining, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training.deadly = {seed}
    assert main([*COMMAND, *places(tmp_path)]) == 1
    assert "rerunning the same command resumes" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()
    assert main([*COMMAND, *places(tmp_path)]) == 0
    [line] = read_lines(tmp_path / "results" / "accuracy.jsonl")
    assert line["seeds"] == [0, 1, 2, 3]
    # A process that resumed a network is not whole.
    assert line["whole_process"]["seed"] == (1 if seed == 0 else 0)
    assert training.calls == ([[0], [0], [1]] if seed == 0 else [[0], [0, 1, 2, 3]]) + [[0, 1, 2, 3]]


def test_a_folder_of_another_plan_is_refused(
    training: FakeTraining, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training.deadly = {2}
    assert main([*COMMAND, *places(tmp_path)]) == 1
    assert main([*COMMAND, *places(tmp_path), "--seeds", "5", "--target", "3"]) == 2
    message = capsys.readouterr().err
    assert "is of another plan (target 0.02, now 0.03; seeds 4, now 5)" in message
    assert "choose another --out" in message
    (tmp_path / "out" / "plan.json").write_text("{")
    assert main([*COMMAND, *places(tmp_path)]) == 2
    assert "plan.json is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "message"), [("--results", "cannot write to --results"), ("--out", "cannot write to --out")]
)
def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_trained(
    option: str, message: str, training: FakeTraining, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").touch()
    assert main([*COMMAND, *places(tmp_path), option, str(tmp_path / "a.png" / "x")]) == 2
    assert message in capsys.readouterr().err
    assert training.calls == []


def test_bad_input_of_the_training_fixes_no_plan(
    training: FakeTraining, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(verify, "run_json", lambda module, arguments: (2, None))
    assert main([*COMMAND, *places(tmp_path), "--data-dir", "nowhere"]) == 2
    assert "resumes" not in capsys.readouterr().err
    monkeypatch.setattr(verify, "run_json", training)
    assert main([*COMMAND, *places(tmp_path), "--seeds", "3"]) == 0
    [line] = read_lines(tmp_path / "results" / "accuracy.jsonl")
    assert line["n"] == 3


def test_all_commits_that_trained_are_named(
    training: FakeTraining, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training.deadly = {2}
    assert main([*COMMAND, *places(tmp_path)]) == 1
    monkeypatch.setattr(verify, "commit", lambda: "def")
    assert main([*COMMAND, *places(tmp_path)]) == 0
    assert read_lines(tmp_path / "results" / "accuracy.jsonl")[0]["commit"] == "abc, def"
    monkeypatch.setattr(verify, "commit", lambda: "fed")  # which finds all networks there
    (tmp_path / "results" / "accuracy.jsonl").unlink()
    assert main([*COMMAND, *places(tmp_path)]) == 0
    assert read_lines(tmp_path / "results" / "accuracy.jsonl")[0]["commit"] == "abc, def"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["verify"], "verify needs the name of a recipe: 94, 95"),
        (
            ["verify", "94", "--seeds", "1"],
            "seeds is 1, but a mean has a p-value from 2 networks: give --seeds N; 2,136",
        ),
        (["verify", "94", "--seeds", "0"], "seeds is 0, but a mean has a p-value from 2 networks"),
        (["verify", "94", "--seeds", "200"], "with a probability of 11% only: give --seeds N; 2,136 networks give"),
        (["verify", "95"], "how many networks the claim of 95 needs is not known: give --seeds N; with the standard"),
        (
            ["verify", "mini", "--seeds", "9"],
            "mini claims no accuracy; say which one is to be tested: --target PERCENT",
        ),
        (["verify", "94", "--data", "synthetic"], "what 94 claims is on cifar10; say what it is to reach on synthetic"),
        (["verify", "94", "--data", "synthetic", "--target", "94"], "needs is not known: give --seeds N\n"),
        (["verify", "94", "--target", "0.94"], "target is 0.94, but it must be a percentage of more than 1"),
        (["verify", "94", "--keep", "--results", "x"], "--keep and --results DIR both say where the row goes"),
        (["--seeds", "3"], "--seeds is of python -m airjax records verify NAME"),
    ],
)
def test_bad_input_is_one_line_and_code_2(
    arguments: list[str], message: str, training: FakeTraining, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert message in shown
    assert training.calls == []


def test_an_unknown_recipe_is_refused_with_the_names(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["verify", "97"])
    assert raised.value.code == 2
    assert "'94', '95'" in capsys.readouterr().err


def test_a_dry_run_says_what_would_be_trained(training: FakeTraining, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "94", "--dry-run"]) == 0
    assert "mean accuracy above 94.00% at p < 0.01: 2,136 networks from seed 0" in capsys.readouterr().out
    assert main(["verify", "94", "--seeds", "200", "--underpowered", "--dry-run"]) == 0
    assert "it gets a verdict with a probability of 11%" in capsys.readouterr().out
    assert training.calls == []


def test_a_training_that_is_terminated_may_write_its_snapshot(tmp_path: Path) -> None:
    stub = (
        "import pathlib, signal, sys, time\n"
        "def end(*_):\n"
        "    time.sleep(0.5)\n"
        "    pathlib.Path('snapshot').touch()\n"
        "    sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('training', flush=True)\n"
        "time.sleep(60)\n"
    )
    (tmp_path / "stub.py").write_text(stub)
    script = "import sys; from benchmarks.record import run_json; sys.exit(run_json('stub', [])[0])"
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parent.parent)])
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"training\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 143
        assert (tmp_path / "snapshot").exists()


@pytest.mark.slow
def test_killed_in_earnest_it_resumes_and_verifies(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "airjax", "records", *COMMAND, *places(tmp_path)]
    log = tmp_path / "out" / "networks" / "runs.jsonl"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        while not log.exists():
            assert process.poll() is None
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
    first = read_lines(log)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert read_lines(log)[: len(first)] == first
    [line] = read_lines(tmp_path / "results" / "accuracy.jsonl")
    assert line["seeds"] == [0, 1, 2, 3]
    assert line["whole_process"]["seconds"] > 1
    assert check_logs(tmp_path / "results") == 1
