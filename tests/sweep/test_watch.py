import io

from rich.console import Console

from airjax.sweep.plan import make_plan
from airjax.sweep.status import Doing
from airjax.sweep.watch import Watch
from airjax.sweep.worker import Outcome

PLAN = make_plan({"recipe": "tiny", "seeds": 4, "grid": {"momentum": [0.5, 0.85]}})


def finished(setting: int, accuracy: float, *, diverged: bool = False) -> Outcome:
    return Outcome("id", setting, accuracy, diverged, None)


def test_plain_lines_count_what_came_in() -> None:
    now = [0.0]
    stream = io.StringIO()
    with Watch(Console(file=stream, width=200), PLAN, 8, clock=lambda: now[0]) as watch:
        now[0] = 3600.0
        watch.add([finished(0, 0.5), finished(0, 0.6, diverged=True)])
        now[0] += 1.0  # too soon for another line
        watch.add([Outcome("gone", 1, None, False, "no luck")])
        watch.kept(1)
    assert stream.getvalue().splitlines() == [
        "2 of 8 networks, 0 failed, 1 diverged, 2 an hour, 3.0 h left",
        "network gone failed: no luck",
        "4 of 8 networks, 1 failed, 1 diverged, 4 an hour, 60 min left",
    ]


def test_plain_lines_say_what_the_workers_do_until_a_network_is_done_and_after_a_silence() -> None:
    now, doing = [0.0], {}
    stream = io.StringIO()
    with Watch(Console(file=stream, width=200), PLAN, 8, lambda: doing, lambda: now[0]) as watch:
        for time, phases in (
            (2.0, {}),
            (3.0, {"a": Doing("self-check")}),
            (4.0, {"a": Doing("self-check"), "b": Doing("self-check")}),
            (9.0, {"a": Doing("self-check"), "b": Doing("self-check")}),  # nothing new
            (12.5, {"a": Doing("compiling"), "b": Doing("self-check")}),
            (73.0, {"a": Doing("compiling"), "b": Doing("compiling")}),
        ):
            now[0], doing = time, phases
            watch.refresh()
        watch.add([finished(0, 0.5)])
        now[0], doing = 100.0, {"a": Doing("training")}
        watch.refresh()
        now[0] = 140.0
        watch.refresh()
        watch.add([finished(0, 0.5)] * 7)
    none = "0 of 8 networks, 0 failed, 0 diverged"
    assert stream.getvalue().splitlines() == [
        f"{none}, starting workers (2.0 s)",
        f"{none}, worker: 1 self-check (0.0 s)",
        f"{none}, workers: 2 self-check (1.0 s)",
        f"{none}, workers: 1 compiling (0.0 s), 1 self-check (8.5 s)",
        f"{none}, workers: 2 compiling (60 s)",
        "1 of 8 networks, 0 failed, 0 diverged, 26 an hour, 16 min left, worker: 1 training (40 s)",
        "8 of 8 networks, 0 failed, 0 diverged",
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


def test_a_table_on_80_columns_breaks_no_number() -> None:
    many = [{"learning_rate": 11.5, "flip": "alternating-hash", "widths": [w, w, w], "momentum": 0.85} for w in (8, 16)]
    plan = make_plan({"recipe": "tiny", "seeds": 4, "cases": many})
    with Watch(
        Console(file=io.StringIO(), width=80, force_terminal=True), plan, 8, lambda: {"a": Doing("training")}
    ) as watch:
        watch.add([finished(1, 0.93456), finished(1, 0.94567)])
        watch.refresh()
        text = Console(file=io.StringIO(), width=80, record=True)
        text.print(watch.table())
    lines = text.export_text().splitlines()
    assert lines[0].startswith("2 of 8 networks, 0 failed, 0 diverged, ")
    assert lines[1].startswith("worker: 1 training (")
    (numbers,) = [line for line in lines if "94.01" in line]
    assert numbers.split()[-5:] == ["2", "94.01", "86.95", "to", "100.00"]
    assert all(len(line) <= 80 for line in lines)


def test_networks_of_unfinished_chunks_count_as_they_are_written() -> None:
    now, doing = [0.0], {"a": Doing("training"), "b": Doing("training")}
    stream = io.StringIO()
    with Watch(Console(file=stream, width=200), PLAN, 8, lambda: doing, lambda: now[0]) as watch:
        for seconds, a, b in ((10.0, 0, 0), (40.0, 1, 0), (80.0, 2, 1)):
            now[0], doing = seconds, {"a": Doing("training", a), "b": Doing("training", b)}
            watch.refresh()
        now[0], doing = 100.0, {"b": Doing("evaluating", 2)}  # what a worker has handed in is counted once
        watch.add([finished(0, 0.5)] * 4)
        assert watch.done == 4
        now[0], doing = 120.0, {}
        watch.add([finished(0, 0.5)] * 4)
    assert stream.getvalue().splitlines() == [
        "0 of 8 networks, 0 failed, 0 diverged, workers: 2 training (0.0 s)",
        "3 of 8 networks, 0 failed, 0 diverged, 135 an hour, 2 min left, workers: 2 training (70 s)",
        "6 of 8 networks, 0 failed, 0 diverged, 216 an hour, 33 s left, workers: 2 training (90 s)",
        "8 of 8 networks, 0 failed, 0 diverged",
        "8 of 8 networks, 0 failed, 0 diverged",
    ]
