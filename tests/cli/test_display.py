import io
import re

import numpy as np
import pytest
from rich.console import Console

from airjax.cli.display import HEADINGS, Display, Status, clock, draw, fit, seconds_left
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Recipe
from airjax.training.events import EpochReport
from airjax.training.loop import TrainedRun
from airjax.training.step import StepMetrics

SEEDS = {"one": ([3], 1), "second of many": ([1], 25), "group": ([4, 5, 6, 7], 1000), "large": ([2**32 - 1], 1_000_000)}


def shown(status: Status, now: float, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    console.print(draw(status, now, width))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def training(**changes: object) -> Status:
    # In the middle of the second epoch of 94, after 2 seconds of compilation and 90 of training.
    values = {"total": 1, "recipe": RECIPES["94"], "seeds": [0], "steps": 60, "loss": 1.23456, "phase": "train"}
    return Status(**{**values, "since": 100.0, "training": 60.0, "working": 61.0, **changes})  # pyright: ignore


def test_the_live_lines_count_networks_epochs_and_steps_from_1_and_say_how_long_all_will_take() -> None:
    status = training(total=25, done=1, seeds=[1], working=161.0)
    headline, footline = shown(status, 130.0, 80)
    assert headline == "network 2 of 25 (seed 1), epoch 2 of 10, loss 1.2346, 683 images/s"
    # 90 s for 60 of 476 steps; (161 + 30) s for 1 + 60/476 of 25 networks.
    assert footline.lstrip("━╸ ") == "step 60 of 476, 10:24 left, all networks 1:07:29"


def test_the_live_lines_of_a_compilation_show_a_clock() -> None:
    assert shown(training(phase="compile", steps=0, training=0.0), 167.0, 80)[0] == "seed 0, compiling, 1:07"


def test_a_group_counts_the_images_of_all_its_networks() -> None:
    headline = shown(training(total=8, done=4, seeds=[4, 5, 6, 7]), 130.0, 100)[0]
    assert headline == "networks 5 to 8 of 8 (seeds 4 to 7), epoch 2 of 10, loss 1.2346, 2,731 images/s"


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120])
@pytest.mark.parametrize("case", SEEDS)
def test_lines_are_never_wider_than_the_terminal_and_cut_no_part(case: str, width: int) -> None:
    seeds, total = SEEDS[case]
    everything = shown(training(seeds=seeds, total=total), 130.0, 400)
    lines = shown(training(seeds=seeds, total=total), 130.0, width)
    assert len(lines) == 2
    assert all(len(line) <= width for line in lines)
    for line, whole in zip(lines, everything, strict=True):
        assert set(re.sub("[━╸╺ ]+", " ", line).strip().split(", ")) <= set(
            re.sub("[━╸╺ ]+", " ", whole).strip().split(", ")
        )


def test_fit_leaves_out_whole_parts() -> None:
    parts = ["step 60 of 476", "10:24 left", "all networks 2:34"]
    assert fit(parts, 80) == "step 60 of 476, 10:24 left, all networks 2:34"
    assert fit(parts, 26) == "step 60 of 476, 10:24 left"
    assert fit(parts, 25) == "step 60 of 476"


def test_clock() -> None:
    times = {0.9: "0:00", 7: "0:07", 754: "12:34", 3723: "1:02:03", 360_000: "100:00:00"}
    assert {seconds: clock(seconds) for seconds in times} == times


def test_the_time_left_counts_finished_networks_and_the_steps_of_this_one() -> None:
    status = training(total=4, done=1, steps=238, phase="train", working=100.0, since=0.0)
    assert seconds_left(status, 50.0) == pytest.approx(150.0 / 1.5 * 2.5)
    assert seconds_left(training(total=4, done=2, working=150.0, since=50.0), 50.0, group_done=True) == 150.0


def plain(recipe: Recipe, seeds: list[int], total: int) -> str:
    console = Console(file=io.StringIO(), width=80)
    with Display(console, quiet=False, total=total) as display:
        display.begin(recipe, seeds)
        for phase in ("compile", "whiten", "train"):
            display.phase(phase)
        display.epoch(EpochReport(0, 2.25, 0.1234, 0.5, None, 1.5))
        for phase in ("compile", "train", "evaluate"):
            display.phase(phase)
        display.epoch(EpochReport(1, 2.0, 0.25, 0.5125, 0.9401, 3.0))
        metrics = StepMetrics(np.zeros(16), np.zeros(16))
        seconds = {"compile": 8.0, "whiten": 0.5, "train": 3.2, "evaluate": 1.0}
        for seed in seeds:
            display.run(TrainedRun(recipe, seed, {}, metrics, np.zeros((1, 10)), 0.9401, seconds))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_plain_lines_say_that_it_compiles_and_how_long_it_took_and_give_percents(tiny: Recipe) -> None:
    lines = plain(tiny, [7], 1).splitlines()
    assert lines[0] == "seed 7: compiling"
    assert re.fullmatch(r"seed 7: compiled in 0\.0 s", lines[1])  # and nothing of the second, which was over at once
    assert lines[2].split("  ")[-1].strip() == HEADINGS[-1]
    assert lines[3].split() == ["7", "1", "2.2500", "12.34%", "50.00%", "1.50"]
    assert lines[4].split() == ["7", "2", "2.0000", "25.00%", "51.25%", "94.01%", "3.00"]
    assert lines[5] == (
        "seed 7: accuracy 94.01%; compile 8.00 s, whiten 0.50 s, train 3.20 s, evaluate 1.00 s (0.2000 s per step)"
    )
    assert len(lines) == 6


def test_plain_lines_of_several_networks_say_how_many_are_done_and_the_time_left(tiny: Recipe) -> None:
    lines = plain(tiny, [0, 1], 6).splitlines()
    assert lines[3].split()[:2] == ["0-1", "1"]
    assert lines[-2].endswith("; 1 of 6 networks")
    assert re.search(r"; 2 of 6 networks, about [\d.]+ s left$", lines[-1])
    assert plain(tiny, [0, 1], 2).endswith("; 2 of 2 networks\n")


def test_a_terminal_wraps_long_lines_between_words() -> None:
    console = Console(file=io.StringIO(), width=40, force_terminal=True, color_system=None)
    Display(console, quiet=True).result("94 on cifar10: accuracy 94.16% (one network); expected 94.01%")
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines() == ["94 on cifar10: accuracy 94.16% (one ", "network); expected 94.01%"]
