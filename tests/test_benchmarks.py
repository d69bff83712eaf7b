import argparse
import ast
import itertools
import json
import os
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import airjax
from airjax.kernels.backend import PRECISIONS
from airjax.optim.hyperparameters import hyperparameters
from airjax.optim.muon import orthogonalize
from airjax.recipes.optimizer_muon import Muon
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Recipe
from airjax.sweep.plan import make_plan
from airjax.sweep.worker import Job, run_record
from airjax.training.backend import backend_of, resolve_precision
from airjax.training.run import Task, advance, start_run
from airjax.utils.records import append_line, read_lines
from benchmarks import (
    ablation,
    ablation_variants,
    kernels,
    losses,
    parity_tables,
    profile,
    record,
    report,
    rounds,
    scaling,
    scan,
    seeds,
    speed,
    speed_tables,
    startup,
    step_tables,
    turns,
    work,
)
from benchmarks.__main__ import COMMANDS, main
from benchmarks.rounds import Measured, flops, measure, summarise, total
from benchmarks.speed import command_line
from benchmarks.verdict import compare, spread
from benchmarks.work import make_answer
from parity.timing import Facts, TimedWork, host_peak_bytes, timed_phases
from parity.worker import Worker, WorkerError

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "benchmarks").glob("*.py"))
FACTS = Facts(2.0, 1000, 4e6, 1e9, 1e8, "float32")


def work_of(recipe: Recipe, **changes: Any) -> TimedWork:
    arguments = {
        "task": "step",
        "implementation": "airjax",
        "data": speed.make_noise(recipe),
        "device": "cpu",
        "steps": 5,
    }
    return TimedWork(recipe=recipe, **arguments | changes)


class FakeWorker:
    """Times nothing: airjax takes 1 second and the others 2, both times what `slower` says."""

    asked: list[tuple[str, int | None]] = []  # noqa: RUF012 set anew by each test
    slower: dict[str, float] = {}  # noqa: RUF012 likewise
    failing: tuple[str, ...] = ()  # implementations whose process ends in round 1

    def __init__(self, name: str, make: Any, work: TimedWork) -> None:
        self.name, self.work = name, work

    def __enter__(self) -> "FakeWorker":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ask(self, number: int | None, subject: str) -> Any:
        self.asked.append((self.name, number))
        if number is None:
            return FACTS
        if self.name in self.failing and number > 1:
            raise WorkerError(f"the {self.name} process ended with code -9 on {subject}")
        seconds = (1 if self.name == "airjax" else 2) * self.slower.get(self.name, 1) + 0.001 * number
        if self.work.task == "step":
            return {phase.name: seconds for phase in timed_phases(self.work.recipe, self.work.steps)}
        return {self.work.task: seconds}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[FakeWorker]:
    monkeypatch.setattr(rounds, "Worker", FakeWorker)
    monkeypatch.setattr(FakeWorker, "asked", [])
    monkeypatch.setattr(FakeWorker, "slower", {})
    monkeypatch.setattr(record, "SCRATCH", tmp_path)
    monkeypatch.setattr(speed, "describe", lambda device: {"device": "a processor", "versions": {}})
    return FakeWorker


def test_implementations_take_turns_and_warm_ups_do_not_count(tiny: Recipe, fake: type[FakeWorker]) -> None:
    works = [work_of(tiny, implementation=implementation, task="augment") for implementation in ("airjax", "eager")]
    measured, failed, interrupted = measure(works, repeats=2, warmups=1, on_block=lambda *_: None)
    assert (failed, interrupted) == ({}, None)
    order = [implementation for implementation, number in fake.asked if number is not None]
    assert order == ["eager", "airjax", "airjax", "eager", "eager", "airjax"]
    assert measured["airjax"].blocks == [{"augment": 1.001}, {"augment": 1.002}]


def test_a_step_is_the_mean_of_its_phases_by_their_fraction_of_the_steps(tiny: Recipe) -> None:
    # 94 trains the bias for 3 of 9.9 epochs: 144 of 476 steps.
    work = work_of(RECIPES["94"].override(train_examples=50_000), data=None)
    seconds = total(work, {"bias trains": 3.0, "bias frozen": 2.0})
    assert seconds == pytest.approx((144 * 3 + 332 * 2) / 476)
    whole = work_of(tiny.override(whiten_bias_epochs=None))
    assert [phase.fraction for phase in timed_phases(whole.recipe, 5)] == [1.0]
    # A block never takes steps of the next phase.
    assert [phase.steps for phase in timed_phases(tiny, 100)] == [8, 8]


def test_flops_of_steps_and_evaluation_add_up_to_those_of_a_run(tiny: Recipe) -> None:
    parts = {task: flops(work_of(tiny, task=task)) for task in ("step", "evaluate", "run")}
    assert parts["run"] == tiny.total_steps * (parts["step"] or 0) + (parts["evaluate"] or 0)
    assert parts["step"] == 6 * tiny.forward_macs * tiny.batch_size


def test_the_fastest_torch_implementation_is_what_airjax_is_held_against(tiny: Recipe) -> None:
    measured: Any = {
        implementation: Measured([{"run": seconds}] * 7, FACTS._replace(matmul_rate=rate))
        for implementation, seconds, rate in (("airjax", 3.0, 1e9), ("eager", 2.0, 4e9), ("compiled", 2.5, 2e9))
    }
    record = summarise(work_of(tiny, task="run"), measured)
    assert (record["airjax"], record["torch"], record["ratio"]) == (3.0, 2.0, 1.5)
    assert (record["best_torch"], record["verdict"]) == ("eager", "slower")
    # The device's rate is the best that any framework reached on it.
    assert record["implementations"]["airjax"]["mfu"] == pytest.approx(tiny.flops / 3.0 / 4e9)


def test_a_verdict_needs_six_rounds_that_agree() -> None:
    generator = np.random.default_rng(0)
    slow, fast = generator.normal(2.0, 0.01, 6), generator.normal(1.0, 0.01, 6)
    assert compare(fast, slow).verdict == "faster"
    assert compare(slow, fast).verdict == "slower"
    assert compare(fast[:5], slow[:5]).verdict == "open"
    assert compare(slow, slow).verdict == "open"
    low, high = compare(fast, slow).interval95
    assert low < 0.5 < high
    assert high - low < 0.02
    with pytest.raises(ValueError, match="6 and 5 times are no pairs"):
        compare(slow, fast[:5])
    assert spread([1.0, 2.0, 4.0])["quartiles"] == [1.5, 3.0]


def test_drift_that_both_implementations_share_does_not_hide_a_difference() -> None:
    # Each round takes longer than the one before, by far more than the implementations differ.
    drift = np.linspace(1, 10, 12)
    assert compare(0.99 * drift, drift).verdict == "faster"


@pytest.mark.parametrize("task", ["step", "run", "evaluate", "augment"])
def test_json_and_the_kept_line_are_the_same(
    task: str,
    fake: type[FakeWorker],
    small_builtin: airjax.Dataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = ["--data", "builtin"] if task == "run" else []
    arguments = [task, "--recipe", "tiny", "--repeats", "6", "--batch-size", "16", "--device", "cpu", *data]
    assert main([*arguments, "--json", "--results", str(tmp_path)]) == 0
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    [kept] = read_lines(tmp_path / "speed.jsonl")
    assert record.items() <= kept.items()
    assert record["ratio"] == pytest.approx(0.5, rel=0.01)
    assert record["verdict"] == "faster"
    assert record["changed"] == {"batch_size": 16}
    assert record["command"] == "python -m benchmarks " + " ".join(arguments)
    blocks = read_lines(tmp_path / "blocks.jsonl")
    assert len(blocks) == 6 * 3
    # A block is found again in its line, and says itself what it is of.
    assert len(record["run"]) == 32
    assert blocks[0] == {
        "benchmark": task,
        "run": record["run"],
        "recipe": "tiny",
        "changed": {"batch_size": 16},
        "batch_size": 16,
        "precision": "auto",
        "allocator": "default",
        "steps": 10 if task == "step" else None,
        "data": "synthetic" if task == "run" else "noise",
        "command": record["command"],
        "load": record["load"],
        "platform": "cpu",
        "device": "a processor",
        "versions": {},
        "round": 0,
        "implementation": "airjax",
        "parts": blocks[0]["parts"],
        "date": blocks[0]["date"],
    }


def test_an_implementation_that_fails_leaves_the_others(
    fake: type[FakeWorker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["step", "--recipe", "tiny", "--device", "cpu", "--repeats", "6", "--results", str(tmp_path)]
    monkeypatch.setattr(FakeWorker, "failing", ("compiled",))
    assert main(arguments) == 1
    assert "the compiled process ended with code -9 on block 1" in capsys.readouterr().err
    [kept] = read_lines(tmp_path / "speed.jsonl")
    assert set(kept["implementations"]) == {"airjax", "eager"}
    assert kept["failed"] == {"compiled": "the compiled process ended with code -9 on block 1"}
    assert kept["ratio"] == pytest.approx(0.5, rel=0.01)
    assert kept["repeats"] == 6
    # airjax, too: then there is nothing to compare, but the others' times are there.
    monkeypatch.setattr(FakeWorker, "failing", ("airjax",))
    assert main(arguments) == 1
    kept = read_lines(tmp_path / "speed.jsonl")[-1]
    assert set(kept["implementations"]) == {"eager", "compiled"}
    assert "ratio" not in kept
    assert "Not measured yet" in speed_tables.speed_table([kept])


def test_rounds_end_before_the_time_is_up(
    tiny: Recipe, fake: type[FakeWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10_000, 5))
    monkeypatch.setattr(rounds.time, "monotonic", lambda: next(clock))
    works = [work_of(tiny, implementation=implementation, task="augment") for implementation in ("airjax", "eager")]
    measured, *_ = measure(works, repeats=50, warmups=1, on_block=lambda *_: None, allowed=60)
    assert [len(found.blocks) for found in measured.values()] == [5, 5]


def test_a_ratio_above_the_limit_is_exit_code_one(fake: type[FakeWorker], tmp_path: Path) -> None:
    arguments = ["step", "--recipe", "tiny", "--repeats", "2", "--device", "cpu", "--max-ratio"]
    assert main([*arguments, "0.6"]) == 0
    fake.slower = {"airjax": 1.3}
    assert main([*arguments, "0.6"]) == 1
    assert len(read_lines(tmp_path / "speed.jsonl")) == 2


def test_only_keep_writes_where_results_are_tracked(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    record.add_output_options(parser)
    assert parser.parse_args([]).results == record.SCRATCH
    assert parser.parse_args(["--keep"]).results == record.RESULTS
    assert parser.parse_args(["--results", "x"]).results == Path("x")
    with pytest.raises(SystemExit):
        parser.parse_args(["--keep", "--results", "x"])
    with pytest.raises(SystemExit, match="2"):  # before anything is measured
        parser.parse_args(["--results", f"{__file__}/x"])
    assert record.take_output_options(["--seeds", "5", "--keep"]) == (record.RESULTS, ["--seeds", "5"])
    ignored = subprocess.run(["git", "check-ignore", "-q", record.SCRATCH], cwd=ROOT, check=False)
    assert ignored.returncode == 0
    assert subprocess.run(["git", "check-ignore", "-q", record.RESULTS], cwd=ROOT, check=False).returncode == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--against", "keras"], "--against has 'keras', but it takes torch, eager, compiled, autocast"),
        (["--recipe", "97"], "unknown recipe '97'"),
        (["--repeats", "0"], "repeats is 0, but it must be at least 1"),
        (["--batch-size", "1000"], "batch-size is 1000"),
    ],
)
def test_bad_arguments_are_usage_errors(
    fake: type[FakeWorker], more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["step", "--recipe", "tiny", "--device", "cpu", *more]) == 2
    assert message in capsys.readouterr().err


def test_a_command_that_repeats_a_measurement_names_no_folder_of_this_machine() -> None:
    arguments = ["--recipe", "94", "--data-dir", "/home/me/data", "--keep", "--json"]
    assert command_line("run", arguments) == "python -m benchmarks run --recipe 94 --data-dir DATA"
    assert command_line("run", ["--data-dir=data"]) == "python -m benchmarks run --data-dir=DATA"
    assert (
        command_line("loading", ["/home/me/jpegs", "--workers", "1"])
        == "python -m benchmarks loading jpegs --workers 1"
    )


def test_the_usage_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    usage = capsys.readouterr().out
    assert [line.split()[0] for line in usage.splitlines() if line.startswith("  ")] == list(COMMANDS)
    assert main(["stpe"]) == 2


def test_what_a_compiler_does_not_count_is_unknown() -> None:
    compiled = SimpleNamespace(cost_analysis=lambda: None, as_text=lambda: "")
    assert work._traffic(compiled) is None
    counted = SimpleNamespace(cost_analysis=lambda: {"bytes accessed": 8.0}, as_text=lambda: "")
    assert work._traffic(counted) == 8.0


def test_rates_are_those_of_random_matrices() -> None:
    matrix = np.asarray(work.random_matrix(0, 64, "float32"))
    assert len(np.unique(matrix)) == 64 * 64
    assert not np.array_equal(matrix, np.asarray(work.random_matrix(1, 64, "float32")))
    assert min(work.measure_rates(64, "float32", 4096)) > 0


def test_airjax_is_timed_step_by_step(tiny: Recipe) -> None:
    answer = make_answer(work_of(tiny, steps=3))
    first, second = answer(0), answer(1)
    assert set(first) == set(second) == {"bias trains", "bias frozen"}
    assert min(second.values()) > 0
    facts = answer(None)
    assert facts.compile_seconds > 0
    assert facts.traffic_bytes > 4 * tiny.num_params
    assert facts.peak_bytes > 1e8
    assert facts.matmul_rate > 1e8


@pytest.mark.slow
@pytest.mark.parametrize("task", ["run", "evaluate", "augment"])
def test_airjax_is_timed_at_other_work(task: str, tiny: Recipe) -> None:
    answer = make_answer(work_of(tiny, task=task))
    assert min(answer(0).values()) > 0


def test_peak_memory_is_this_process_own() -> None:
    script = "from parity.timing import host_peak_bytes; print(host_peak_bytes())"
    hoard = np.ones(2**26)  # 512 MiB, which a child must not be charged with
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) < hoard.nbytes < host_peak_bytes()


def test_a_process_that_fails_is_exit_code_one(
    monkeypatch: pytest.MonkeyPatch, fake: type[FakeWorker], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise WorkerError("the eager process ended with code -9 on block 0")

    monkeypatch.setattr(FakeWorker, "ask", fail)
    assert main(["step", "--recipe", "tiny", "--device", "cpu"]) == 1
    assert "the eager process ended with code -9 on block 0" in capsys.readouterr().err


def test_a_worker_makes_its_function_once() -> None:
    with Worker("counting", make_counter, 10) as worker:
        assert [worker.ask(number, "a number") for number in (1, 2, 3)] == [11, 13, 16]
        with pytest.raises(WorkerError, match="the counting process failed on a word: TypeError"):
            worker.ask("four", "a word")


def make_counter(start: int) -> Any:
    numbers = [start]

    def answer(number: int) -> int:
        numbers.append(number)
        return sum(numbers)

    return answer


def test_starts_are_compared_without_caches(
    monkeypatch: pytest.MonkeyPatch, fake: type[FakeWorker], capsys: pytest.CaptureFixture[str]
) -> None:
    folders: list[str] = []

    def start(implementation: str, recipe: str, device: str, folder: str) -> dict[str, Any]:
        cached = (implementation, folder) in zip(implementations, folders, strict=True)
        implementations.append(implementation)
        folders.append(folder)
        seconds = {"airjax": 4.0, "eager": 2.0, "compiled": 9.0}[implementation] / (2 if cached else 1)
        return {"seconds": {"import": 1.0, "first step": seconds}, "peak_bytes": 10}

    implementations: list[str] = []
    monkeypatch.setattr(startup, "start", start)
    assert main(["compile", "--recipe", "tiny", "--device", "cpu", "--repeats", "2", "--json"]) == 0
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (record["airjax"], record["torch"], record["best_torch"]) == (5.0, 3.0, "eager")
    assert record["implementations"]["airjax, cached"]["median"] == 3.0
    assert len(set(folders)) == 2


def test_a_straight_line_is_found_and_a_bent_one_told_from_it() -> None:
    line = scaling.fit_line([1, 2, 3, 4], [5.0, 7.0, 9.0, 11.0])
    assert (line["slope"], line["intercept"], line["r_squared"]) == pytest.approx((2.0, 3.0, 1.0))
    assert scaling.fit_line([1, 2, 3, 4], [1.0, 4.0, 9.0, 40.0])["r_squared"] < 0.8
    curve = scaling.measure([1, 2], lambda x, seed: {"whiten": 1.0, "train": x, "evaluate": 2.0, "compile": 50.0}, 3)
    assert curve["seconds"] == [4.0, 5.0]


def row(**changes: Any) -> dict[str, Any]:
    record = {
        "benchmark": "step",
        "recipe": "94",
        "changed": {},
        "device": "a processor",
        "airjax": 1.0,
        "torch": 2.0,
        "ratio": 0.5,
        "interval95": [0.4, 0.6],
        "verdict": "faster",
        "best_torch": "eager",
        "implementations": {
            implementation: {"mfu": 0.25, "flops_per_second": rate, "peak_bytes": memory * 2**30}
            for implementation, rate, memory in (("airjax", 2e9, 1), ("eager", 1e9, 2))
        },
        "flops": 2e9,
        "traffic_bytes": 1e8,
        "matmul_rate": 8e9,
        "copy_rate": 1e9,
        "command": "python -m benchmarks step",
        "repeats": 7,
        "date": "2026-01-02",
    }
    return record | changes


def test_the_table_has_the_last_line_of_each_kind() -> None:
    run = row(benchmark="run", command="python -m benchmarks run")
    text = speed_tables.speed_table([row(ratio=0.7), row(), run, row(allocator="keep", ratio=0.9)])
    assert "0.70" not in text
    assert text.index("`python -m benchmarks step`") < text.index("`python -m benchmarks run`")
    rate = "25% of 0.008 TFLOP/s"
    assert f"| 1 s | 2 s, PyTorch | 0.50 (0.40 to 0.60, n=7), faster | {rate} | 1.0 GiB, 2.0 GiB | 2026-01-02 |" in text
    assert "| a training step, 94, memory kept | a processor | 1 s | 2 s, PyTorch | 0.90" in text


def test_few_rounds_have_no_interval_and_other_images_are_another_row() -> None:
    assert compare([1.0, 1.1, 1.2, 1.3, 1.4], [2.0] * 5).interval95 is None
    interval = compare([1.0, 1.1, 1.2, 1.3, 1.4, 1.5], [2.0] * 6).interval95
    assert interval is not None
    assert 0.5 <= interval[0] < 0.625 < interval[1] <= 0.75
    text = speed_tables.speed_table([row(repeats=5), row(benchmark="run", data="synthetic"), row(benchmark="run")])
    assert "| 0.50 (n=5), faster |" in text  # a line of before has an interval, which is not shown
    assert "| a whole training, 94, synthetic |" in text
    assert "| a whole training, 94 |" in text


def test_an_interrupted_comparison_takes_no_place_of_a_whole_one_and_xla_is_another_row() -> None:
    implementations = {name: {"flops_per_second": 1e9} for name in ("airjax", "eager")}
    cut = row(ratio=0.3, interrupted=True, implementations=implementations, traffic_bytes=None)
    assert speed_tables.latest([row(), cut]) == [row()]
    assert "unknown, unknown" in speed_tables.speed_table([cut])
    xla = row(platform="cpu", convolution="native", ratio=0.9)
    assert len(speed_tables.latest([row(), xla, row(platform="cpu", convolution="onednn")])) == 2
    assert "| a training step, 94, XLA's convolutions |" in speed_tables.speed_table([xla])


def test_a_ratio_to_another_step_says_to_which() -> None:
    def record(base: float, ratios: dict[str, float]) -> dict[str, Any]:
        steps = {name: {"seconds": ratio * base, "ratio": ratio} for name, ratio in ratios.items()}
        return {"recipe": "94", "device": "a processor", "n": 4, "steps": steps}

    old, now = record(1.0, {"as it is": 1, "XLA's pool": 1.5}), record(0.5, {"as it is": 1, "GELU from erfc": 1.2})
    assert step_tables.ablation_table([old, now]).splitlines()[2:] == [
        "| as it is | 0.5 s (n=4) |",
        "| GELU from erfc | 1.20 (n=4) |",
        "| XLA's pool | 1.50 (n=4, of 1 s) |",
    ]


def test_report_writes_tables_and_plot_from_the_results_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    append_line(tmp_path / "speed.jsonl", row())
    (tmp_path / "docs").mkdir()
    for page in report.PAGES:
        names = [name for name, table in report.TABLES.items() if table.page == page]
        sections = [f"above\n{report.BEGIN.format(name)}\nold\n{report.END}\nbelow\n" for name in names]
        (tmp_path / page).write_text("".join(sections))
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(report, "ROOT", tmp_path)
    names = [*report.PAGES, report.PLOT]
    assert main(["report"]) == 0
    first = [(tmp_path / name).read_bytes() for name in names]
    text = first[0].decode()
    assert text.startswith(f"above\n{report.BEGIN.format('speed')}\n| |")
    assert text.endswith(f"{report.END}\nbelow\n")
    assert "old" not in text
    for page, content in zip(report.PAGES[1:], first[1:], strict=False):
        if page == "docs/records.md":  # which has other people's results, too
            continue
        assert content.count(b" yet: `python -m benchmarks") == sum(
            table.page == page for table in report.TABLES.values()
        )
    assert b"step 94" in first[-1] or b"<path" in first[-1]
    assert main(["report"]) == 0
    assert first == [(tmp_path / name).read_bytes() for name in names]
    (tmp_path / "docs/seeds.md").write_text("no markers")
    append_line(tmp_path / "speed.jsonl", row(ratio=0.7))
    assert main(["report"]) == 2
    assert (tmp_path / "docs/speed.md").read_text() == text


def test_the_table_of_many_networks_has_every_size_and_what_auto_takes() -> None:
    def line(strategy: str, members: int, rate: float) -> dict[str, Any]:
        where = {"device": "a processor", "recipe": "mini", "strategy": strategy, "members": members}
        return where | {"networks_per_hour": rate, "peak_bytes": 2**31}

    rows = [
        line("vmap", 4, 1),
        line("vmap", 4, 50),
        line("sequential", 1, 40),
        line("vmap", 1, 30),
        line("eager", 1, 99),
    ]
    lines = speed_tables.seeds_table(rows).splitlines()
    assert lines[0] == "| mini, a processor | 1 | 4 |"
    assert "| `sequential` | 40 (2.0 GiB) |  |" in lines
    assert "| `vmap` | 30 (2.0 GiB) | 50 (2.0 GiB) |" in lines
    assert "| PyTorch | 99 (2.0 GiB) |  |" in lines
    assert lines[-1] == "`auto` takes `vmap`, 4 at once."


def test_forecasts_follow_from_the_best_rate_of_airjax() -> None:
    rows = [
        {"device": "a processor", "recipe": "mini", "strategy": strategy, "members": 1, "networks_per_hour": rate}
        for strategy, rate in (("map", 100), ("sequential", 500), ("vmap", 200), ("eager", 900))
    ]
    assert speed_tables.forecast_table(rows).splitlines()[-1] == (
        "| mini, a processor | 500 | 20.0 hours | 6,000 | 6.0 hours |"
    )


def test_starts_and_curves_and_profiles_are_tables() -> None:
    implementation = {"median": 3.0, "parts": {"import": 1.0, "prepare": 2.0}, "peak_bytes": 2**30}
    starts = speed_tables.starts_table(
        [
            row(),
            row(
                benchmark="compile",
                repeats=3,
                implementations={"airjax": implementation, "eager, cached": implementation},
            ),
        ]
    )
    assert starts.splitlines()[2:] == [
        "| 94, a processor: airjax | 3.0 s (n=3) | 1.00 s | 2.00 s | 1.0 GiB |",
        "| 94, a processor: PyTorch, cached | 3.0 s (n=3) | 1.00 s | 2.00 s | 1.0 GiB |",
    ]
    where = {"device": "a processor", "recipe": "94", "precision": "float32"}
    curve = scaling.fit_line([1, 2, 3], [2.0, 4.0, 6.0])
    text = speed_tables.scaling_table([where | {"repeats": 3, "curves": {"train_examples": curve}}])
    assert "| train examples, 94, a processor | 1: 2.00 s, 2: 4.00 s, 3: 6.00 s (n=3) | 2 s each, " in text
    parts = [
        {"part": "pools", "direction": "forward", "seconds": 3.0},
        {"part": "BatchNorm", "direction": "", "seconds": 1.0},
    ]
    lines = step_tables.profile_table([where | {"parts": parts}, where | {"precision": "bfloat16", "parts": parts[:1]}])
    assert lines.splitlines()[2:] == [
        "| pools, forward | 75.0% | 100.0% |",
        "| BatchNorm | 25.0% | 0.0% |",
        "| seconds of all operations | 4 | 3 |",
    ]


def test_a_piece_of_work_that_fails_leaves_the_others() -> None:
    calls: list[str] = []

    def make(name: str, fails_at: int = 99) -> Any:
        def work() -> None:
            calls.append(name)
            if calls.count(name) > fails_at:
                raise RuntimeError("out of memory")

        return lambda: work

    def cannot_be_made() -> Any:
        raise ValueError("unknown flag")

    makers = {"base": make("base"), "unmade": cannot_be_made, "breaks": make("breaks", 2), "lasts": make("lasts")}
    seen: list[tuple[str, int]] = []
    found = turns.take_turns(makers, 3, lambda name, turn, _: seen.append((name, turn)))
    assert found.failed == {"unmade": "ValueError: unknown flag", "breaks": "RuntimeError: out of memory"}
    assert {name: sorted(taken) for name, taken in found.seconds.items()} == {
        "base": [0, 1, 2],
        "breaks": [0],
        "lasts": [0, 1, 2],
    }
    assert seen[:3] == [("base", 0), ("breaks", 0), ("lasts", 0)]
    rows = turns.summarise(found._replace(seconds={"base": {0: 1.0, 1: 2.0}, "breaks": {1: 3.0}}), "base")
    assert rows["breaks"] == {"seconds": 3.0, "ratio": 1.5, "n": 1, "failed": "RuntimeError: out of memory"}
    assert rows["unmade"] == {"failed": "ValueError: unknown flag"}
    late = turns.take_turns({"base": make("base"), "late": make("late")}, 3, lambda *_: None, allowed=-1)
    assert (late.seconds, set(late.left_out)) == ({}, {"base", "late"})


def test_what_the_shuffled_copy_gave_is_listed_and_gives_way_to_the_official_order() -> None:
    old, new = row(benchmark="run", content="shuffled"), row(benchmark="run", content="official", ratio=0.4)
    lines = speed_tables.speed_table([new, old]).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:4]] == [
        "| a whole training, 94",
        "| a whole training, 94, shuffled order",
    ]
    check = {"check": "loss", "precision": "float32", "arrays": 2, "relative": 0.0, "absolute": 0.0, "allowed": 4.0}
    where = {"device": "a processor", "versions": {"jax": "1", "torch": "2"}}
    suite = {"data": "cifar10", "checks": [check | {"passed": True}], "environment": where}
    records = [
        suite | {"against": against, "content": content, "checks": [check | {"passed": content == "official"}]}
        for content in ("official", "shuffled")
        for against in ("reference", "airbench 0.1")
    ]
    text = parity_tables.suite_table(records)
    assert "Against reference: all 1 rows hold, 2 arrays; a processor, jax 1, torch 2, images of cifar10." in text
    assert (
        "Against reference: 1 of 1 rows FAIL, 2 arrays; a processor, jax 1, torch 2, images of cifar10, shuffled"
        in text
    )


def test_every_line_of_cifar10_says_in_which_order() -> None:
    for file in sorted((ROOT / "benchmarks" / "results").glob("*.jsonl")):
        for line in read_lines(file):
            of_cifar10 = "cifar10" in (line.get("data"), line.get("dataset")) or file.name == "studies.jsonl"
            allowed = ("official", "shuffled") if of_cifar10 else ("official", None)  # made-up images need not say it
            assert line.get("content") in allowed, (file.name, line.get("date"))


def test_a_later_ablation_of_one_choice_leaves_the_others() -> None:
    def record(n: int, ratios: dict[str, float]) -> dict[str, Any]:
        steps = {name: {"seconds": ratio / 2, "ratio": ratio} for name, ratio in ratios.items()}
        return {"recipe": "94", "device": "a processor", "n": n, "steps": steps}

    first = record(4, {"as it is": 1, "XLA's pool": 1.5, "GELU from erfc": 1.2, "no longer a choice": 3})
    text = step_tables.ablation_table([first, record(8, {"as it is": 1, "GELU from erfc": 1.25})])
    assert text.splitlines()[2:] == [
        "| as it is | 0.5 s (n=8) |",
        "| GELU from erfc | 1.25 (n=8) |",
        "| XLA's pool | 1.50 (n=4) |",
    ]


def test_the_suite_is_the_worst_of_its_recipes() -> None:
    def record(against: str, passed: bool = True) -> dict[str, Any]:
        row = {"check": "loss", "precision": "float32", "arrays": 2, "relative": 1e-7, "allowed": 4.0, "passed": True}
        checks = [row | {"absolute": 1.0}, row | {"absolute": 2.0, "relative": 3e-7, "passed": passed}]
        where = {"device": "a processor", "versions": {"jax": "1", "torch": "2"}}
        return {"against": against, "data": "cifar10", "checks": checks, "environment": where}

    assert "Not measured yet" in parity_tables.suite_table([record("reference")])
    lines = parity_tables.suite_table(
        [{"runs": 3}, record("reference", passed=False), record("airbench 0.1")]
    ).splitlines()
    assert lines[0].startswith("Against reference: 1 of 2 rows FAIL, 4 arrays; a processor, jax 1, torch 2")
    assert lines[1].startswith("Against airbench 0.1: all 2 rows hold")
    assert lines[-1] == "| loss | float32 | 4 | 3e-07 | 50% | 3e-07 | 50% |"


def test_a_roof_is_of_one_processor_and_precision() -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (pip install '.[report]')")
    from benchmarks import roofline

    def row(device: str, precision: str, rate: float) -> dict[str, Any]:
        return {"device": device, "implementations": {"airjax": {"precision": precision}}, "matmul_rate": rate}

    old, new, newer = row("a", "float32", 2e11), row("a", "float32", 4.4e11), row("a", "float32", 4.8e11)
    half, other = row("a", "bfloat16", 4.8e11), row("b", "float32", 2e11)
    assert roofline.one_roof([other, newer, half, old, new]) == [[half], [old], [new, newer], [other]]


def test_labels_of_points_that_are_close_move_down_in_their_order() -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (pip install '.[report]')")
    from benchmarks import roofline

    moved = roofline.spread_labels(np.array([1.0, 3.0, 1.05, 2.95]), 0.25)
    np.testing.assert_allclose(moved, [0.8, 3.0, 1.05, 2.75])


def test_a_check_that_fails_is_told_of() -> None:
    row = {"relative": 1e-7, "absolute": 1.0, "allowed": 4.0}
    equal = {"relative": 0.0, "absolute": 0.0, "allowed": 0.0}  # as what must be the same bits is checked
    assert parity_tables.worst_of([equal]) == ("0", "0%")
    assert parity_tables.worst_of([row, equal | {"relative": 1e-9, "absolute": 1e-9}]) == ("1e-07", "FAIL")
    nothing = {"relative": None, "absolute": None, "allowed": 4.0}  # NaN, or other shapes
    assert parity_tables.worst_of([nothing]) == parity_tables.worst_of([row, nothing]) == ("inf", "FAIL")


def test_losses_of_a_device_that_trains_wrong_are_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def in_process(command: list[str], precision: str, environment: dict[str, str]) -> list[float | None]:
        if precision == "auto":
            raise WorkerError("the training in auto ended with code 1")
        return [2.0, 1.0] if environment else [2.0, None]

    monkeypatch.setattr(losses, "in_process", in_process)
    assert losses.main(["--results", str(tmp_path)]) == 1
    [line] = read_lines(tmp_path / "losses.jsonl")
    assert (line["passed"], line["failed"]) == (False, {"auto": "the training in auto ended with code 1"})
    assert line["losses"] == {"float32": [2.0, None]}
    assert "float32  differs: by at most inf" in capsys.readouterr().out
    assert losses.difference([2.0, 1.1], [2.0, 1.0]) == pytest.approx(0.1)


def test_runs_of_the_parity_suite_are_listed_by_what_they_ran_on() -> None:
    row = {"check": "loss", "recipe": "94", "precision": "float32", "arrays": 1200, "passed": True}
    run = {"against": "reference", "data": "cifar10", "content": "official", "seeds": [0, 1], "convolution": "onednn"}
    run |= {"threads": {"torch": 1, "jax": 2}, "environment": {"device": "a processor"}, "date": "2026-01-02"}
    drawn = {key: value for key, value in run.items() if key != "content"} | {"data": "builtin", "date": "2026-01-03"}
    records = [{"runs": 3}, run | {"checks": [row | {"passed": False}]}, run | {"checks": [row]}]
    records.append(drawn | {"checks": [row, row | {"passed": False}]})
    assert parity_tables.parity_runs_table([{"runs": 3}]).startswith("Not measured yet")
    assert parity_tables.parity_runs_table(records).splitlines()[2:] == [
        "| reference | cifar10, official order | 0, 1 | onednn | 1 and 2 | a processor | 1,200 | all 1 rows hold "
        "| 2026-01-02 |",
        "| reference | builtin | 0, 1 | onednn | 1 and 2 | a processor | 2,400 | FAIL: loss (94, float32) "
        "| 2026-01-03 |",
    ]


def test_kernels_of_a_step_are_those_of_the_loop_s_body(tiny: Recipe) -> None:
    text = """
HloModule jit_steps

%fused (p.1: bf16[4,8]) -> f32[8] {
  ROOT %reduce.1 = f32[8]{0} reduce(%p.1), dimensions={0}
}

%body.2 (state: (f32[8], u8[300,32,32,3])) -> (f32[8], u8[300,32,32,3]) {
  %state = (f32[8]{0}, u8[300,32,32,3]{3,2,1,0}) parameter(0)
  %images = u8[300,32,32,3]{3,2,1,0} get-tuple-element(%state), index=1
  %batch.1 = bf16[50,32,32,3]{3,2,1,0} fusion(%images, %images), kind=kLoop, metadata={op_name="jit/while/batch/div"}
  %conv.1 = (bf16[50,31,31,24]{3,2,1,0}, u8[0]{0}) custom-call(%batch.1), custom_call_target="__cudnn$convForward", metadata={op_name="jit/while/jvp(Network)/block1/conv/conv_general_dilated"}
  %out.1 = bf16[50,31,31,24]{3,2,1,0} get-tuple-element(%conv.1), index=0
  %sum.1 = (f32[8]{0}, pred[7]{0}) fusion(%out.1), kind=kInput, metadata={op_name="jit/jvp(N)/block1/norm1/reduce_sum"}
  ROOT %result = (f32[8]{0}, u8[300,32,32,3]{3,2,1,0}) tuple(%sum.1, %images)
}

ENTRY %main.3 (state: (f32[8], u8[300,32,32,3])) -> f32[8] {
  %copy.9 = f32[8]{0} fusion(%p.9), kind=kLoop
}
"""  # noqa: E501
    recipe = tiny.override(train_examples=300, batch_size=50)
    batch, out = 50 * 32 * 32 * 3, 50 * 31 * 31 * 24 * 2
    found = list(kernels.kernels_of(text, recipe))
    assert [tuple(kernel) for kernel in found] == [
        ("batch.1", profile.PARTS[0][0], batch, 2 * batch),
        ("conv.1", "convolutions", 2 * batch, out),
        ("sum.1", "BatchNorm", out, 8 * 4 + 7),
    ]
    summary = kernels.summary_of(found)
    assert summary["kernels"] == 3
    assert summary["convolution_bytes"] == 2 * batch + out
    assert summary["other_bytes"] == 3 * batch + out + 39
    rest = {"memory_bytes": 0, "executed_flops": 2e9, "graphs": 1, "outside": 4}
    assert "3 kernels" in kernels.line_of("as it is", summary | rest)
    assert "2 GFLOP, 0 MiB of memory, 1 graphs and 4 launches" in kernels.line_of("as it is", summary | rest)


def test_kernels_are_a_table_with_a_row_for_every_choice() -> None:
    row = {"kernels": 7, "convolution_bytes": 2**21, "other_bytes": 2**22, "memory_bytes": 2**30}
    first = {"recipe": "94", "device": "compiled for a GPU", "variants": {"as it is": row, "float32": row}}
    counted = row | {"kernels": 6, "executed_flops": 6.2e11, "graphs": 3, "outside": 1}
    later = first | {"variants": {"as it is": counted}}
    lines = step_tables.kernels_table([first, later]).splitlines()
    assert lines[2:] == [
        "| 94, compiled for a GPU | 6 | 3 + 1 | 620 GFLOP | 2 MiB | 4 MiB | 1024 MiB |",
        "| float32 | 7 |  |  | 2 MiB | 4 MiB | 1024 MiB |",
    ]


def test_kernels_of_several_networks_are_a_row_with_the_share_of_one() -> None:
    row = {"kernels": 8, "convolution_bytes": 2**22, "other_bytes": 2**23, "memory_bytes": 2**30}
    alone = {"recipe": "94", "device": "a GPU", "variants": {"as it is": row}}
    group = alone | {"strategy": "vmap", "members": 4}
    lines = step_tables.kernels_table([alone, group]).splitlines()
    assert lines[2:] == [
        "| 94, a GPU | 8 |  |  | 4 MiB | 8 MiB | 1024 MiB |",
        "| 94, a GPU, vmap, each of 4 networks | 2 |  |  | 1 MiB | 2 MiB | 256 MiB |",
    ]


def test_only_a_described_gpu_is_compiled_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kernels", "--target", "z80"]) == 2
    assert "h200" in capsys.readouterr().err


def test_a_group_that_one_gpu_cannot_have_is_not_compiled(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kernels", "--members", "2"]) == 2
    assert "members is 2, but it must be at least 1, and 1 with the strategy sequential" in capsys.readouterr().err
    assert main(["kernels", "--strategy", "sharded"]) == 2
    assert "choose vmap" in capsys.readouterr().err


def test_choices_are_compiled_for_the_groups_and_recipes_that_have_them_alone(tiny: Recipe) -> None:
    of_groups = "convolutions as vmap makes them"
    assert of_groups in kernels.choices_of("vmap", tiny)
    assert of_groups not in kernels.choices_of("sequential", tiny)
    assert set(kernels.choices_of("vmap", tiny)) - {of_groups} == set(kernels.choices_of("sequential", tiny))
    of_muon = set(kernels.choices_of("vmap", RECIPES["94-muon"])) - set(kernels.choices_of("vmap", tiny))
    assert of_muon == {name for name in ablation_variants.VARIANTS if name.startswith("Muon: ")}


def test_networks_are_measured_in_every_combination_or_in_those_that_are_named() -> None:
    assert seeds.groups_of(("sequential", "vmap"), (1, 4)) == [("sequential", 1), ("vmap", 1), ("vmap", 4)]
    assert seeds.parse_group("interleaved:4") == ("interleaved", 4)
    for text in ("interleaved", "interleaved:0", "scan:2", "vmap:x"):
        with pytest.raises(argparse.ArgumentTypeError, match="such as interleaved:4"):
            seeds.parse_group(text)


def test_a_strategy_that_fails_is_a_failure_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(command: list[str], **_: Any) -> SimpleNamespace:
        return SimpleNamespace(returncode=int("vmap" in command), stdout='{"networks_per_hour": 7.0}\n')

    monkeypatch.setattr(seeds.subprocess, "run", run)
    monkeypatch.setattr(seeds, "load", lambda options: None)
    command = ["--only", "vmap:2", "--only", "sequential:1", "--results", str(tmp_path)]
    assert seeds.main(command) == 1
    assert "error: vmap with 2 members failed with code 1" in capsys.readouterr().err
    assert len(read_lines(tmp_path / "seeds.jsonl")) == 1
    assert seeds.main(command[2:]) == 0


def test_bad_input_is_refused_before_any_strategy_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert seeds.main(["--data", "nowhere/at/all"]) == 2
    assert "nowhere/at/all" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        seeds.main(["--members", "0"])
    assert "must be at least 1" in capsys.readouterr().err


def test_the_table_of_strategies_is_of_the_last_measurements(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def line(strategy: str, rate: float, **changes: Any) -> dict[str, Any]:
        row = {"device": "a GPU", "recipe": "94", "strategy": strategy, "members": 2, "networks_per_hour": rate}
        return row | {"data": "cifar10", "content": "official"} | changes

    lines = [line("vmap", 900.0), line("interleaved", 700.0), line("vmap", 600.0), line("map", 990.0, data="synthetic")]
    for row in lines:
        append_line(tmp_path / seeds.FILE, row)
    monkeypatch.setattr(seeds, "RESULTS", tmp_path)
    monkeypatch.setattr(seeds, "TABLE", tmp_path / "table.jsonl")
    seeds.write_table()
    [row] = read_lines(tmp_path / "table.jsonl")
    assert (row["strategy"], row["networks_per_hour"]) == ("interleaved", 700.0)
    table = speed_tables.forecast_table(lines[:3])
    assert "| 94, a GPU | 700 |" in table


@pytest.mark.skipif(find_spec("jax_plugins") is not None, reason="has the compiler that must be missing")
def test_without_a_gpu_s_compiler_the_message_says_how_to_get_it() -> None:
    command = [sys.executable, "-m", "benchmarks", "kernels"]
    done = subprocess.run(command, cwd=report.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "airjax[cuda12]" in done.stderr


@pytest.mark.parametrize("page", report.PAGES)
def test_every_page_has_the_table_that_its_results_make(page: str) -> None:
    assert (report.ROOT / page).read_text() == report.render(page)


def test_every_operation_of_a_step_has_its_part() -> None:
    text = """
  %ffi.1 = f32[2]{0} custom-call(%a), custom_call_target="x", metadata={op_name="jit(advance)/transpose(jvp(Network))/block1/conv/ffi_call" id=1}
  ROOT %fusion.2 = f32[2]{0} fusion(%b), kind=kLoop, metadata={op_name="jit(advance)/jvp(Network)/block2/norm1/add"}
  %copy.3 = f32[2]{0} copy(%c)
  %p.4 = f32[] parameter(0), metadata={op_name="state.params['head']"}
"""  # noqa: E501
    names = profile.names_of_operations(text)
    assert set(names) == {"ffi.1", "fusion.2", "p.4"}
    assert profile.part_of(names["ffi.1"]) == ("convolutions", "backward")
    assert profile.part_of(names["fusion.2"]) == ("BatchNorm", "forward")
    assert profile.part_of(names.get("copy.3")) == (profile.UNNAMED, "")
    assert profile.part_of("jit(advance)/jvp(jit(log_softmax))/exp") == ("head, loss", "forward")
    assert profile.part_of("jit(advance)/add") == (profile.REST, "")
    assert profile.part_of("jit(advance)/batch/gather") == (profile.PARTS[0][0], "")


def test_an_operation_takes_until_it_ends_on_whichever_thread() -> None:
    def event(name: str, start: float, end: float, **stats: Any) -> Any:
        return SimpleNamespace(name=name, start_ns=start, end_ns=end, duration_ns=end - start, stats=stats.items())

    threads = [
        [
            event("dot.1", 0, 10, hlo_op="dot.1", _p=1),
            event("dot.2", 20, 25, hlo_op="dot.2", _p=2),
            event("idle", 0, 9),
        ],
        [event("end: dot.1", 40, 41, _c=1), event("on a stream", 50, 57, hlo_op="gpu.3")],
    ]
    planes = [SimpleNamespace(name="/host:CPU", lines=[SimpleNamespace(events=events) for events in threads])]
    seconds = profile.seconds_of_operations(planes)
    # For 5 of its 40 the first was not alone.
    assert seconds == pytest.approx({"dot.1": 37.5e-9, "dot.2": 2.5e-9, "gpu.3": 7e-9})


def test_the_host_s_events_of_a_gpu_s_operations_do_not_count() -> None:
    host, gpu = (SimpleNamespace(name=name, lines=[]) for name in ("/host:CPU", "/device:GPU:0 (Compute)"))
    assert profile.device_planes([host, gpu]) == [gpu]
    assert profile.device_planes([host]) == [host]


def test_a_profile_covers_the_step(tmp_path: Path) -> None:
    assert main(["profile", "--recipe", "tiny", "--steps", "2", "--results", str(tmp_path)]) == 0
    (line,) = read_lines(tmp_path / "profile.jsonl")
    found = {(row["part"], row["direction"]) for row in line["parts"]}
    assert {("convolutions", "forward"), ("convolutions", "backward"), ("GELU", "forward")} <= found
    # Hardly anything has no name, and no moment counts twice. How much the operations leave of a step so small is the
    # host's part, and on a busy machine that of others.
    seconds = {row["part"]: row["seconds"] for row in line["parts"]}
    assert seconds.get(profile.UNNAMED, 0) < 0.2 * sum(seconds.values())
    assert 0 < sum(seconds.values()) <= line["seconds_per_step"]
    assert main(["profile", "--recipe", "tiny", "--steps", "0"]) == 2


def test_torch_is_reached_through_parity_only() -> None:
    found = set()
    for file in (ROOT / "benchmarks").glob("*.py"):
        imports = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Import)]
        froms = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)]
        names = {alias.name for node in imports for alias in node.names} | {str(node.module) for node in froms}
        found |= {(file.name, name) for name in names if name.split(".")[0] == "torch"}
    # Its import is on the clock of the one, and its DataLoader on that of the other.
    assert found == {("first_step.py", "torch"), ("loading_engines.py", "torch")}


def test_made_up_lines_are_scanned_and_have_the_fields_of_real_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("duckdb")
    arguments = ["--networks", "10", "--per-worker", "4", "--out", str(tmp_path / "sweep")]
    assert scan.main([*arguments, "--results", str(tmp_path)]) == 0
    (line,) = read_lines(tmp_path / "scan.jsonl")
    assert (line["n"], line["workers"]) == (10, 3)
    assert json.loads(capsys.readouterr().out)["bytes_per_line"] == line["bytes_per_line"]
    plan = make_plan({"recipe": "tiny", "data": "builtin", "seeds": 1})
    (run,) = plan.runs({"builtin": "fingerprint"}, "version")
    real = run_record(Job(plan, tmp_path, None, "sequential", "cpu", {}), run, None)
    assert set(real) | {"last_loss", "row"} == set(scan.make_record(0, 0))


@pytest.mark.slow
@pytest.mark.nightly
def test_every_choice_can_be_undone(tiny: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = [
        name
        for name, variant in ablation_variants.VARIANTS.items()
        if jax.default_backend() in variant.platforms and "sequential" in variant.strategies and variant.concerns(tiny)
    ]
    assert ablation.main(["--recipe", "tiny", "--turns", "1", "--steps", "2", "--results", str(tmp_path)]) == 0
    kept = read_lines(tmp_path / ablation.FILE)
    assert list(kept[0]["steps"]) == here
    assert kept[0]["steps"]["as it is"]["ratio"] == 1
    assert len(capsys.readouterr().out.splitlines()) == len(here)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="asks for choices of another platform")
def test_choices_that_cannot_be_measured_here_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a scan over the steps", "float16", "Muon: kernels of one shape in a batch"):
        with pytest.raises(SystemExit):
            ablation.main(["--recipe", "tiny", "--variant", name])
        assert f"{name!r} is nothing to measure of tiny on a cpu with --steps 1" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.nightly
def test_an_undone_choice_computes_the_same(tiny: Recipe) -> None:
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (tiny.train_examples, 32, 32, 3), np.uint8))
    labels = np.zeros(tiny.train_examples, np.int32)
    hyper = hyperparameters(tiny)
    recipe = resolve_precision(tiny)
    state, draws = start_run(recipe, backend_of(recipe), jax.random.key(0), images, hyper)
    task = Task(jnp.asarray(images), jnp.asarray(labels), draws, hyper)

    def loss(variant: ablation_variants.Variant) -> float:
        _, backend = ablation_variants.make_variant(variant, recipe, jax.default_backend(), 1)
        step = partial(advance, recipe, backend, frozen=("whiten_bias",), batch_at=variant.batch_at)
        with ablation_variants.undone(variant):
            _, metrics = jax.jit(step)(state, task)
        return float(metrics.loss)

    as_it_is = loss(ablation_variants.Variant())
    for variant in ablation_variants.VARIANTS.values():
        assert loss(variant) == pytest.approx(as_it_is, rel=1e-4)


@pytest.mark.parametrize("padded", [False, True])
def test_kernels_are_made_orthogonal_in_batches_as_one_by_one(padded: bool) -> None:
    draw = np.random.default_rng(0).normal
    shapes = ((3, 3, 5, 8), (3, 3, 8, 8), (3, 3, 5, 8), (1, 1, 3, 9))  # the last one is wider than tall
    kernels = [jnp.asarray(draw(size=shape), jnp.float32) for shape in shapes]
    optimizer, precision = Muon(newton_schulz_precision="float32"), PRECISIONS["float32"]
    found, wanted = (
        make.update(kernels, make.init(kernels))[0]
        for make in (
            ablation_variants.orthogonalized_in_batches(optimizer, precision, padded=padded),
            orthogonalize(optimizer, precision),
        )
    )
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-6)


def run_without_reader(*arguments: str) -> tuple[int, str]:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    return done.returncode, done.stderr


def test_without_a_reader_a_benchmark_measures_on_and_keeps_its_record(tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    command = ["benchmarks.scan", "--networks", "10", "--out", str(tmp_path / "out"), "--results", str(tmp_path)]
    assert run_without_reader(*command) == (0, "warning: output lost (Broken pipe); going on without it\n")
    assert [line["n"] for line in read_lines(tmp_path / "scan.jsonl")] == [10]


def test_every_benchmark_ends_as_the_other_commands_do() -> None:
    ends = {file.name: file.read_text().partition('if __name__ == "__main__":\n')[2] for file in MODULES}
    # These run before airjax is imported, or without it.
    alone = {"device.py", "first_step.py"}
    programs = {name for name, end in ends.items() if end}
    assert alone < programs
    assert {name for name in programs if "run_main(" in ends[name]} == programs - alone


def test_names_in_the_plot_of_accuracies_stay_apart_and_inside() -> None:
    pytest.importorskip("matplotlib")
    from benchmarks import accuracy_plot

    (axes,) = accuracy_plot.make_figure(report.results("accuracy.jsonl")).axes
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) > 8
    inside = axes.bbox
    assert all(inside.x0 <= b.x0 and b.x1 <= inside.x1 and inside.y0 <= b.y0 and b.y1 <= inside.y1 for b in boxes)
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
