"""What train_network and run_many show: a line on a terminal and in notebooks, nothing elsewhere unless asked."""

import os
import pty
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import airjax
from airjax.recipes.recipe import Recipe
from airjax.training.events import Callbacks
from airjax.training.progress import Line, Notebook, progress_line
from airjax.training.step import StepMetrics


class Recorder:
    """An output that remembers."""

    def __init__(self) -> None:
        self.parts: list[float] = []

    def start(self, line: Any) -> None:
        del line

    def changed(self, done: float, *, phase: bool) -> None:
        del phase
        self.parts.append(done)

    def stop(self) -> None:
        pass


def test_the_line_says_what_is_done_for_how_long_and_how_far() -> None:
    output = Recorder()
    line = Line(60, 4, output)
    line.phase("compile")
    assert line.text() == "network 1 of 4: compiling, step 0 of 60, 0.0 s"
    line.group(2)
    line.phase("whiten")
    line.phase("train")
    line.step(30, StepMetrics(np.array([2.0, 1.5]), np.zeros(2)))
    assert line.text() == "network 3 of 4: training, step 30 of 60, 0.0 s"
    assert output.parts[-1] == (2 + 0.5) / 4


def test_callbacks_of_the_caller_are_called_as_well(tiny: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    phases: list[str] = []
    groups: list[int] = []
    with progress_line(tiny, 2, True, Callbacks(on_phase=phases.append, on_group=groups.append)) as called:
        assert called.on_phase is not None
        assert called.on_group is not None
        called.on_phase("compile")
        called.on_group(1)
    assert (phases, groups) == (["compile"], [1])
    assert capsys.readouterr().err.splitlines() == [
        "network 1 of 2: compiling, step 0 of 16, 0.0 s",
        "network 2 of 2: done, step 16 of 16, 0.0 s",
    ]


@pytest.mark.parametrize("shown", [None, False])
def test_without_a_terminal_nothing_is_shown_unless_asked_for(
    shown: bool | None, tiny: Recipe, toy: airjax.Dataset, capfd: pytest.CaptureFixture[str]
) -> None:
    steps: list[int] = []
    epochs: list[int] = []
    airjax.train_network(
        tiny,
        toy,
        progress=shown,
        on_step=lambda done, metrics: steps.append(done),
        on_epoch=lambda report: epochs.append(report.epoch),
    )
    assert steps[-1] == tiny.total_steps
    assert epochs == list(range(int(tiny.epochs)))
    output, errors = capfd.readouterr()
    # XLA says something where a test before this one has made it keep compiled programs.
    assert (output, [line for line in errors.splitlines() if "cpu_aot_loader" not in line]) == ("", [])


def test_a_group_reports_its_phases_steps_epochs_and_networks(tiny: Recipe, toy: airjax.Dataset) -> None:
    phases: list[str] = []
    steps: list[int] = []
    reports: list[airjax.EpochReport] = []
    groups: list[int] = []
    done = airjax.run_many(
        tiny,
        airjax.seed_keys([0, 1]),
        toy,
        strategy="vmap",
        on_phase=phases.append,
        on_step=lambda done, metrics: steps.append(done),
        on_epoch=reports.append,
        on_group=groups.append,
    )
    epochs = int(tiny.epochs)
    assert phases == ["compile", "whiten", *["train"] * epochs, "evaluate"]
    assert steps[-1] == tiny.total_steps
    assert [report.epoch for report in reports] == list(range(epochs))
    assert groups == [2]
    last = slice(-tiny.steps_per_epoch, None)
    assert reports[-1].train_loss == pytest.approx(done.metrics.loss[:, last].mean())
    assert reports[-1].tta_accuracy == pytest.approx(done.accuracy.mean())
    assert reports[0].tta_accuracy is None


def test_a_terminal_shows_the_line_with_a_clock() -> None:
    script = """
import time
from airjax.training.events import Callbacks
from airjax.training.progress import progress_line
from airjax.recipes.published import RECIPES
with progress_line(RECIPES["tiny"], 1, None, Callbacks()) as called:
    called.on_phase("compile")
    time.sleep(1.5)
"""
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    environment.pop("NO_COLOR", None)
    done = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the end of a pseudo-terminal
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert done.communicate()[0] == b""
    assert done.returncode == 0
    assert b"compiling, step 0 of 16, 0." in shown
    assert b"compiling, step 0 of 16, 1." in shown


def test_a_notebook_s_cell_is_updated_while_everything_else_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []

    class Handle:
        def update(self, bundle: dict[str, str], *, raw: bool) -> None:
            assert raw
            texts.append(bundle["text/plain"])

    def display(bundle: dict[str, str], *, raw: bool, display_id: bool) -> Handle:
        assert raw
        assert display_id
        texts.append(bundle["text/plain"])
        return Handle()

    module = type(sys)("IPython.display")
    module.display = display  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "IPython", type(sys)("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    line = iter(range(100))
    output = Notebook(0.01)
    output.start(lambda: f"line {next(line)}")
    while len(texts) < 3:
        pass
    output.stop()
    assert texts[:3] == ["line 0", "line 1", "line 2"]
