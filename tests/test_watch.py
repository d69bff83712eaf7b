import io

import pytest
from rich.console import Console

from airjax.plan import make_plan
from airjax.watch import Watch
from airjax.workers import Outcome

PLAN = make_plan({"recipe": "tiny", "seeds": 4, "grid": {"momentum": [0.5, 0.85]}})


def finished(setting: int, accuracy: float, *, diverged: bool = False) -> Outcome:
    return Outcome("id", setting, accuracy, diverged, None)


def test_plain_lines_count_what_came_in(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("airjax.watch.time.monotonic", lambda: now[0])
    stream = io.StringIO()
    with Watch(Console(file=stream, width=200), PLAN, 8) as watch:
        now[0] = 3600.0
        watch.add([finished(0, 0.5), finished(0, 0.6, diverged=True)])
        now[0] += 1.0  # too soon for another line
        watch.add([Outcome("gone", 1, None, False, "no luck")])
        watch.kept(1)
    assert stream.getvalue().splitlines() == [
        "2 of 8 networks, 0 failed, 1 diverged, 2 an hour, 3.0 h left",
        "network gone failed: no luck",
        "4 of 8 networks, 1 failed, 1 diverged, 4 an hour, 61 min left",
    ]


def test_a_terminal_has_a_table_of_settings() -> None:
    stream = io.StringIO()
    with Watch(Console(file=stream, width=120, force_terminal=True), PLAN, 8) as watch:
        watch.add([finished(1, 0.5), finished(1, 0.6)])
        text = Console(file=io.StringIO(), width=120, record=True)
        text.print(watch.table())
        shown = text.export_text()
    assert "momentum 0.85, data cifar10" in shown
    assert "55.00" in shown
    assert "momentum 0.5" not in shown
    assert "2 of 8 networks" in stream.getvalue()
