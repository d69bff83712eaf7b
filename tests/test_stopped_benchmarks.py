"""What a comparison keeps where a process fails or it is interrupted, and what its lines say of where it was made."""

import dataclasses
import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import airjax
from airjax.cli.stopping import TerminatedError
from airjax.recipes.published import get_recipe
from airjax.recipes.recipe import Recipe
from airjax.training import environment as training_environment
from airjax.utils.records import read_lines
from benchmarks import (
    ablation,
    kills,
    profile,
    rates,
    record,
    ridge,
    rounds,
    scaling,
    speed,
    startup,
    turns,
    workers,
)
from benchmarks.__main__ import main
from benchmarks.rounds import Measured, answer_of, measure, summarise
from benchmarks.speed import make_noise
from parity import environment
from parity.timing import Facts, TimedWork, require_precision
from parity.worker import Worker, WorkerError

ROOT = Path(__file__).parent.parent
FACTS = Facts(2.0, 1000, 4e6, 1e9, 1e8, "float32", "onednn", {"XLA_FLAGS": "--x"})
STEP = ["augment", "--recipe", "tiny", "--device", "cpu", "--against", "eager", "--warmups", "0", "--repeats", "8"]


class FakeWorker:
    """Times nothing: airjax takes 1 second and the others 2; at one question the user interrupts it."""

    interrupted_at: tuple[str, int] = ("eager", 99)
    interruption: type[KeyboardInterrupt] = KeyboardInterrupt
    settles: bool = True

    def __init__(self, name: str, make: Any, work: TimedWork) -> None:
        self.name, self.task, self.at_work = name, work.task, False

    def __enter__(self) -> "FakeWorker":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ask(self, number: int | None, subject: str) -> Any:
        assert not self.at_work, "the answer to an earlier question is still to come"
        if number is None:
            return FACTS
        if (self.name, number) == self.interrupted_at:
            self.at_work = True
            raise self.interruption
        return {self.task: 1.0 if self.name == "airjax" else 2.0}

    def settle(self, seconds: float) -> bool:
        assert seconds == rounds.PATIENCE
        was_at_work, self.at_work = self.at_work, False
        return self.settles or not was_at_work


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[FakeWorker]:
    monkeypatch.setattr(rounds, "Worker", FakeWorker)
    for name in ("interrupted_at", "interruption", "settles"):
        monkeypatch.setattr(FakeWorker, name, getattr(FakeWorker, name))
    monkeypatch.setattr(record, "SCRATCH", tmp_path)
    monkeypatch.setattr(speed, "describe", lambda device: {"device": "a processor", "commit": "c"})
    return FakeWorker


def test_a_line_says_what_convolved_in_airjax_and_under_which_settings(
    tiny: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "make_answer", lambda work: lambda number: FACTS if number is None else {"step": 1.0})
    monkeypatch.setenv("AIRJAX_CONVOLUTION", "native")
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    ours, theirs = (
        answer_of(TimedWork("step", name, tiny, make_noise(tiny), "cpu", 1)) for name in ("airjax", "eager")
    )
    assert ours(0) == {"step": 1.0}
    facts = ours(None)
    assert facts.convolution == "native"
    assert facts.settings["NVIDIA_TF32_OVERRIDE"] == "0"
    assert "jax_enable_x64" in facts.settings
    assert theirs(None) is FACTS
    work = TimedWork("augment", "airjax", tiny, make_noise(tiny), "cpu", 1)
    line = summarise(work, {"airjax": Measured([{"augment": 1.0}], facts)})
    assert (line["convolution"], line["settings"]) == ("native", facts.settings)
    # Without airjax nobody knows.
    assert summarise(work, {"eager": Measured([{"augment": 1.0}], FACTS)})["convolution"] is None
    assert "onednn-cpu-gomp" in environment.describe("cpu")["versions"]


def test_where_a_comparison_is_made_is_asked_before_it_is(
    fake: type[FakeWorker], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def describe(device: str) -> dict[str, Any]:
        asked.append(f"describe {device}")
        return {"device": "a processor", "commit": "before"}

    def ask(self: FakeWorker, number: int | None, subject: str) -> Any:
        asked.append(self.name)
        return FACTS if number is None else {"augment": 1.0}

    monkeypatch.setattr(speed, "describe", describe)
    monkeypatch.setattr(fake, "ask", ask)
    assert main(STEP) == 0
    assert asked[:2] == ["describe cpu", "airjax"]
    assert asked.count("describe cpu") == 1
    assert {line["commit"] for line in read_lines(tmp_path / "blocks.jsonl")} == {"before"}

    def unseen(device: str) -> dict[str, Any]:
        raise ValueError("neither torch nor the driver sees a GPU")

    monkeypatch.setattr(speed, "describe", unseen)
    asked.clear()
    assert main(STEP) == 2
    assert "neither torch nor the driver sees a GPU" in capsys.readouterr().err
    assert asked == []


def test_a_gpu_has_its_driver_s_name_where_torch_is_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(environment, "gpu_name", lambda: "NVIDIA H100")
    assert environment.describe("cuda")["device"] == "NVIDIA H100"
    monkeypatch.setattr(environment, "gpu_name", lambda: None)
    with pytest.raises(ValueError, match="neither torch nor the driver sees a GPU; pass --device cpu"):
        environment.describe("cuda")


@pytest.mark.parametrize(("interruption", "code"), [(KeyboardInterrupt, 130), (TerminatedError, 143)])
def test_an_interrupted_comparison_keeps_its_complete_rounds(
    interruption: type[KeyboardInterrupt],
    code: int,
    fake: type[FakeWorker],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake.interruption, fake.interrupted_at = interruption, ("eager", 6)  # after airjax in this round
    assert main(STEP) == code
    assert "interrupted; 6 complete rounds are kept" in capsys.readouterr().err
    [line] = read_lines(tmp_path / "speed.jsonl")
    assert (line["interrupted"], line["repeats"], line["ratio"]) == (True, 6, 0.5)
    assert {name: len(found["seconds"]) for name, found in line["implementations"].items()} == {"airjax": 6, "eager": 6}
    assert line["implementations"]["eager"]["peak_bytes"] == 1000
    # The half round is among the blocks alone.
    assert len(read_lines(tmp_path / "blocks.jsonl")) == 13
    # Nothing to keep before a round is complete.
    fake.interrupted_at = ("eager", 0)
    assert main(STEP) == code
    assert "interrupted before there was a record to keep" in capsys.readouterr().err
    assert len(read_lines(tmp_path / "speed.jsonl")) == 1
    # And nothing is said of an interruption where there was none.
    fake.interrupted_at = ("eager", 99)
    assert main(STEP) == 0
    assert "interrupted" not in read_lines(tmp_path / "speed.jsonl")[-1]


def test_a_process_that_is_ended_in_a_block_tells_no_memory(
    tiny: Recipe, fake: type[FakeWorker], tmp_path: Path
) -> None:
    fake.interrupted_at, fake.settles = ("airjax", 1), False
    works: Any = [TimedWork("augment", name, tiny, make_noise(tiny), "cpu", 1) for name in ("airjax", "eager")]
    found = measure(works, repeats=3, warmups=0, on_block=lambda *_: None)
    assert isinstance(found.interrupted, KeyboardInterrupt)
    assert found.failed == {}
    assert found.measured == {
        "airjax": Measured([{"augment": 1.0}], None),
        "eager": Measured([{"augment": 2.0}], FACTS),
    }
    line = summarise(works[0], found.measured)
    assert line["ratio"] == 0.5
    assert "peak_bytes" not in line["implementations"]["airjax"]
    assert (line["matmul_rate"], line["convolution"]) == (1e9, None)


def make_sleeper(_: None) -> Any:
    def answer(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    return answer


def test_the_answer_that_nobody_waited_for_is_not_that_of_the_next_question(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with Worker("sleeping", make_sleeper, None) as worker:
        assert worker.ask(0.0, "nothing") == 0.0
        assert worker.settle(0.0)
        before = signal.signal(signal.SIGALRM, interrupt)
        try:
            for seconds, patience, goes_on in ((0.5, 60.0, True), (600.0, 0.1, False)):
                signal.setitimer(signal.ITIMER_REAL, 0.2)
                with pytest.raises(KeyboardInterrupt):
                    worker.ask(seconds, "a nap")
                assert worker.settle(patience) is goes_on
                if goes_on:
                    assert worker.ask(0.0, "nothing") == 0.0
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert not worker.process.is_alive()


WAITING = """
import sys
sys.path.insert(0, "tests")
from parity.worker import Worker
from test_stopped_benchmarks import make_sleeper

if __name__ == "__main__":
    with Worker("sleeping", make_sleeper, None) as worker:
        worker.ask(0.0, "nothing")
        print(worker.process.pid, flush=True)
        worker.ask(600.0, "a nap")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux's kernel")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_ends_with_the_process_that_started_it(number: signal.Signals, tmp_path: Path) -> None:
    script = tmp_path / "waiting.py"
    script.write_text(WAITING)
    with subprocess.Popen(
        [sys.executable, str(script)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        worker = Path(f"/proc/{int(parent.stdout.readline())}")
        assert worker.exists()
        os.kill(parent.pid, number)
        assert parent.wait(60) == -number
        deadline = time.monotonic() + 30
        while worker.exists() and "\nState:\tZ" not in (worker / "status").read_text():
            assert time.monotonic() < deadline, "the worker goes on"
            time.sleep(0.05)


def test_sigterm_ends_a_benchmark_as_ctrl_c_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wait(*_: object) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
        return 0

    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(speed, "main", wait)
    assert main(["step"]) == 143
    assert "interrupted" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == handler


def start_of(failing: dict[str, int], stops: int = 99) -> Any:
    """Stands in for a start: of an implementation the nth fails, and after so many the user interrupts."""
    starts: list[str] = []

    def start(implementation: str, recipe: str, device: str, folder: str) -> dict[str, Any]:
        starts.append(implementation)
        if len(starts) > stops:
            raise KeyboardInterrupt
        if starts.count(implementation) == failing.get(implementation):
            raise WorkerError(f"the {implementation} process ended with code -9 before its first step")
        told = {"convolution": "native", "settings": {}} if implementation == "airjax" else {}
        return told | {"seconds": {"import": 1.0, "first step": 4.0}, "peak_bytes": 10}

    return start


def test_a_start_that_fails_leaves_the_others(
    fake: type[FakeWorker], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["compile", "--recipe", "tiny", "--device", "cpu", "--repeats", "2"]
    monkeypatch.setattr(startup, "start", start_of({"compiled": 3}))  # without a cache, in the second round
    assert main(command) == 1
    assert capsys.readouterr().err.count("the compiled process ended with code -9") == 1
    [line] = read_lines(tmp_path / "speed.jsonl")
    assert set(line["implementations"]) == {"airjax", "airjax, cached", "eager"}
    assert set(line["failed"]) == {"compiled", "compiled, cached"}
    assert (line["repeats"], line["best_torch"], line["convolution"], line["commit"]) == (2, "eager", "native", "c")
    blocks = read_lines(tmp_path / "blocks.jsonl")
    assert [block["start"] for block in blocks].count("compiled") == 1
    assert {(block["benchmark"], block["run"], block["commit"]) for block in blocks} == {("compile", line["run"], "c")}
    # A start that finds a cache fails alone.
    monkeypatch.setattr(startup, "start", start_of({"compiled": 2}))
    assert main(command) == 1
    assert set(read_lines(tmp_path / "speed.jsonl")[-1]["failed"]) == {"compiled, cached"}
    # airjax, too: then there is nothing to compare.
    monkeypatch.setattr(startup, "start", start_of({"airjax": 1}))
    assert main(command) == 1
    assert "ratio" not in read_lines(tmp_path / "speed.jsonl")[-1]
    monkeypatch.setattr(startup, "start", start_of({"airjax": 1, "eager": 1, "compiled": 1}))
    assert main(command) == 1
    assert "every process failed; nothing is measured" in capsys.readouterr().err
    assert len(read_lines(tmp_path / "speed.jsonl")) == 3


def test_interrupted_starts_are_kept_in_complete_rounds(
    fake: type[FakeWorker], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    command = ["compile", "--recipe", "tiny", "--device", "cpu", "--repeats", "3"]
    monkeypatch.setattr(startup, "start", start_of({}, stops=7))  # in the second round of five
    assert main(command) == 130
    [line] = read_lines(tmp_path / "speed.jsonl")
    assert (line["interrupted"], line["repeats"]) == (True, 1)
    assert all(len(found["seconds"]) == 1 for found in line["implementations"].values())
    monkeypatch.setattr(startup, "start", start_of({}, stops=3))
    assert main(command) == 130
    assert len(read_lines(tmp_path / "speed.jsonl")) == 1


def refused(implementation: Any, device: Any, precision: Any, task: Any = "run") -> bool:
    recipe = get_recipe("94").override(precision=precision)
    work = TimedWork(task, implementation, recipe, None, device, 1)  # pyright: ignore[reportArgumentType]
    try:
        require_precision(work)
    except ValueError:
        return True
    return False


def test_implementations_in_another_precision_than_the_one_asked_for_are_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("airbench", "airbench-compiled"):
        precisions = ("auto", "float16", "float32", "bfloat16")
        assert [refused(name, "cuda", precision) for precision in precisions] == [False, False, True, True]
        precisions = ("auto", "float32", "float16", "bfloat16")
        assert [refused(name, "cpu", precision) for precision in precisions] == [False, False, True, True]
    for name in ("autocast", "autocast-compiled"):
        precisions = ("bfloat16", "auto", "float32")
        assert [refused(name, "cpu", precision) for precision in precisions] == [False, True, True]
        assert [refused(name, "cuda", precision) for precision in precisions] == [False, False, True]
        assert not refused(name, "cpu", "auto", task="augment")
    assert not any(refused("eager", device, "float32") for device in ("cpu", "cuda"))
    arguments = ["--recipe", "tiny", "--device"]
    assert main(["step", *arguments, "cpu", "--against", "autocast"]) == 2
    assert "autocast computes in bfloat16, but airjax beside it in float32; add --precision" in capsys.readouterr().err
    more = ["cuda", "--against", "airbench", "--precision", "bfloat16", "--data", "builtin"]
    assert main(["run", *arguments, *more]) == 2
    assert "airbench trains in float16 on a GPU, as it is shipped, but precision is bfloat16" in capsys.readouterr().err


def test_interrupted_turns_are_kept() -> None:
    done: list[str] = []

    def make(name: str) -> Any:
        def work() -> None:
            done.append(name)
            if len(done) == stops:
                raise KeyboardInterrupt

        return lambda: work

    stops = 4  # the warm-up, and the first of the first turn
    found = turns.take_turns({"base": make("base"), "other": make("other")}, 3, lambda *_: None)
    assert isinstance(found.interrupted, KeyboardInterrupt)
    assert (list(found.seconds), found.left_out) == (["base"], ["other"])
    done.clear()
    stops = 1
    with pytest.raises(KeyboardInterrupt):
        turns.take_turns({"base": make("base")}, 3, lambda *_: None)


@pytest.mark.parametrize("interrupted", [None, KeyboardInterrupt()])
def test_turns_and_their_line_say_where_they_were_made(
    interrupted: KeyboardInterrupt | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    described: list[int] = []

    def describe() -> dict[str, Any]:
        described.append(1)
        return {"device": "a processor", "commit": "before"}

    def take_turns(makers: Any, count: int, on_turn: Any, allowed: float) -> turns.Turns:
        assert described == [1], "where it is made is asked before anything is measured"
        on_turn("as it is", 0, 1.0)
        return turns.Turns({"as it is": {0: 1.0}}, {}, [], interrupted)

    monkeypatch.setattr(ablation, "describe", describe)
    monkeypatch.setattr(ablation, "take_turns", take_turns)
    command = ["--recipe", "tiny", "--variant", "as it is", "--turns", "1", "--results", str(tmp_path)]
    assert ablation.main(command) == (130 if interrupted else 0)
    [block], [line] = (read_lines(tmp_path / file) for file in ("blocks.jsonl", "ablation.jsonl"))
    assert line.get("interrupted", False) is (interrupted is not None)
    header = {name: line[name] for name in ("run", "recipe", "strategy", "members", "precision", "n", "steps_per_turn")}
    assert len(header["run"]) == 32
    assert block.items() >= (header | {"device": "a processor", "commit": "before", "turn": 0}).items()
    assert line["commit"] == "before"


def test_where_a_measurement_is_made_is_asked_before_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny: Recipe
) -> None:
    asked: list[str] = []

    def noting(name: str, answer: Any) -> Any:
        def note(*_: object, **__: object) -> Any:
            asked.append(name)
            return answer

        return note

    described = noting("describe", {"device": "a processor", "versions": {}})
    monkeypatch.setattr(rates, "describe", described)
    monkeypatch.setattr(rates, "measure_rates", noting("measure", (1.0, 1.0)))
    rates.main(["--results", str(tmp_path)])
    monkeypatch.setattr(ridge, "describe", described)
    fit = ridge.Fit(1.0, 1.0, 1, np.array(1.0), np.ones((1, 1)), np.ones(1))
    monkeypatch.setattr(ridge, "_alone", noting("measure", fit))
    monkeypatch.setattr(ridge, "FITS", {"airjax": ridge.fit_ours, "sklearn, one penalty": ridge.fit_shared})
    assert ridge.main(["--results", str(tmp_path)]) == 0
    # The command asks where it is imported.
    monkeypatch.setattr(training_environment, "describe", described)
    monkeypatch.setattr(scaling, "measure_curves", noting("measure", {}))
    scaling.main(["--recipe", "tiny", "--data", "builtin", "--results", str(tmp_path)])
    # The worker's part of a profile: what the parent asks it comes after.
    monkeypatch.setattr(profile, "describe", described)
    monkeypatch.setattr(profile, "gpu_name", lambda: "a GPU")  # which leaves the cores to this process
    monkeypatch.setattr(profile, "measure", noting("measure", ({}, 1.0)))
    profile.make_answer(tiny)(1)
    once, of_both_fits = ["describe", "measure"], ["describe", "measure", "measure"]
    assert asked == [*once, *of_both_fits, *once, *once]


def test_an_operation_that_takes_no_time_takes_none_from_the_others() -> None:
    assert profile.shared_time([(0.0, 10.0, "dot"), (5.0, 5.0, "noop")]) == pytest.approx({"dot": 1e-8})
    assert profile.shared_time([(5.0, 5.0, "noop")]) == {}


@pytest.fixture
def workers_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs `benchmarks.workers` with made-up rates, or what is raised instead; returns its exit code and lines."""
    monkeypatch.setattr(workers, "describe_apart", lambda: {"device": "a processor"})

    def run(found: dict[int, Any], *more: str) -> tuple[int, list[dict[str, Any]]]:
        def measure(recipe: str, data: str, count: int, networks: int) -> float:
            if not isinstance(found[count], float):
                raise found[count]
            return found[count]

        monkeypatch.setattr(workers, "measure", measure)
        numbers = [part for count in found for part in ("--workers", str(count))]
        code = workers.main(["--data", "builtin", *numbers, "--results", str(tmp_path), *more])
        file = tmp_path / "workers.jsonl"
        return code, read_lines(file) if file.exists() else []

    return run


def test_a_sweep_that_fails_leaves_the_rates_of_the_others(workers_of: Any) -> None:
    reason = WorkerError("the sweep with 2 workers ended with code 1")
    code, [line] = workers_of({1: 9.0, 2: reason, 3: 11.0})
    assert code == 1
    assert line["networks_per_hour"] == {"1": 9.0, "3": 11.0}
    assert line["failed"] == {"2": "the sweep with 2 workers ended with code 1"}
    code, [_, line] = workers_of({1: 9.0, 2: KeyboardInterrupt()})
    assert (code, line["interrupted"], line["networks_per_hour"]) == (130, True, {"1": 9.0})
    assert workers_of({1: reason})[0] == 1
    assert workers_of({1: KeyboardInterrupt()})[0] == 130
    code, lines = workers_of({1: 9.0, 2: 12.0})
    assert (code, len(lines), lines[-1]["failed"]) == (0, 3, {})
    assert workers_of({1: 9.0}, "--data", "nowhere")[0] == 2
    with pytest.raises(SystemExit, match="2"):
        workers_of({1: 9.0}, "--networks", "0")


def test_rates_of_workers_say_in_which_order_the_images_stood(
    workers_of: Any, monkeypatch: pytest.MonkeyPatch, small_builtin: airjax.Dataset
) -> None:
    data = dataclasses.replace(small_builtin, name="cifar10")
    monkeypatch.setattr(workers, "load_data", lambda name: data)
    _, [line] = workers_of({1: 9.0}, "--data", "cifar10")
    assert (line["data"], line["content"]) == ("cifar10", data.content)


def test_a_sweep_s_failure_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    failing = [sys.executable, "-c", "raise SystemExit(3)"]
    monkeypatch.setattr(workers, "bound", lambda command: failing)
    with pytest.raises(WorkerError, match="the sweep with 2 workers ended with code 3"):
        workers.measure("tiny", "builtin", 2, 1)


def test_a_sweep_that_fails_of_itself_is_not_started_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[int] = []

    def fail(command: list[str]) -> list[str]:
        started.append(1)
        assert len(started) == 1, "started again"
        return [sys.executable, "-c", "import sys; print('error: no such field', file=sys.stderr); sys.exit(2)"]

    monkeypatch.setattr(kills, "bound", fail)
    monkeypatch.setattr(kills, "describe_apart", lambda: {"device": "a processor"})
    command = ["--networks", "2", "--kills", "1", "--out", str(tmp_path / "out"), "--results", str(tmp_path)]
    assert kills.main(command) == 2
    said = capsys.readouterr().err
    assert "error: no such field\nerror: the sweep ended with code 2, but not by a kill\n" in said
    assert not (tmp_path / "kills.jsonl").exists()
    for more in (["--networks", "0"], ["--networks", "3"], ["--kills", "-1"]):
        with pytest.raises(SystemExit, match="2"):
            kills.main([*command, *more])


def test_a_sweep_that_is_killed_is_started_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started: list[int] = []

    def sweep(command: list[str]) -> list[str]:
        started.append(1)
        return [sys.executable, "-c", "import time; time.sleep(60)" if len(started) == 1 else ""]

    # There is always a network more than when it was asked for last.
    counts = itertools.count()
    monkeypatch.setattr(kills, "bound", sweep)
    monkeypatch.setattr(kills.results, "completed_ids", lambda out: range(next(counts)))
    monkeypatch.setattr(kills, "PAUSE", 0.1)
    monkeypatch.setattr(kills, "_judge", lambda out, networks, killed, seconds: killed)
    assert kills.sweep_with_kills(tmp_path, networks=2, kills=1) == {"driver": 1}
    assert len(started) == 2


def test_what_has_ended_of_itself_is_no_kill(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(code: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([sys.executable, "-c", code])

    ended = start("")
    ended.wait()
    last: Any = SimpleNamespace(choice=lambda victims: victims[-1])
    assert kills._kill_one(ended, last) is None
    assert kills._workers(ended.pid) == []
    with start("import time; time.sleep(60)") as driver:
        # A worker that has ended since it was listed.
        monkeypatch.setattr(kills, "_workers", lambda pid: [ended.pid])
        assert kills._kill_one(driver, last) is None
        assert driver.poll() is None
        with start("import time; time.sleep(60)") as worker:
            monkeypatch.setattr(kills, "_workers", lambda pid: [worker.pid])
            assert kills._kill_one(driver, last) == "worker"
            assert worker.wait() == -signal.SIGKILL
        monkeypatch.setattr(kills, "_workers", lambda pid: [])
        assert kills._kill_one(driver, last) == "driver"
