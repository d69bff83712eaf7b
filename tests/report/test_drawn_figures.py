"""Figures of made-up networks."""

import itertools
from typing import Any

import numpy as np
import pytest

from airjax.report.charts import Row, Spec, render_png
from airjax.report.figures_classes import draw_classes, draw_difficulty
from airjax.report.figures_grid import draw_dependences, pairs_left_out


@pytest.mark.parametrize("networks", [1, 2, 3, 19, 20, 25, 40, 100, 1000])
def test_images_as_often_of_every_difficulty_make_a_flat_figure(networks: int) -> None:
    wrong = np.repeat(np.arange(networks + 1), 100)  # 100 images for each number of networks that are wrong
    votes, labels = np.stack([networks - wrong, wrong], axis=1), np.zeros(len(wrong), int)
    rows = draw_difficulty(["a"], [votes], labels)["data"]["values"]
    assert sum(row["images"] for row in rows) == len(wrong)
    first, *inner, last = rows
    # The images that all get right, and those that none does.
    assert (first["wrong"], first["images"], first["networks"]) == (0, 100, f"0 of {networks}")
    assert (last["wrong"], last["images"], last["networks"]) == (100, 100, f"{networks} of {networks}")
    assert len({row["images"] for row in inner[:-1]}) <= 1
    assert all(0 < row["images"] <= inner[0]["images"] for row in inner)
    assert len(inner) == networks - 1 if networks <= 50 else len(inner) <= 49


def test_settings_with_different_numbers_of_networks_have_as_many_bins() -> None:
    def votes(networks: int) -> np.ndarray:
        wrong = np.repeat(np.arange(networks + 1), 9)
        return np.stack([networks - wrong, wrong], axis=1)[:99]

    rows = draw_difficulty(["few", "many"], [votes(10), votes(100)], np.zeros(99, int))["data"]["values"]
    assert sum(row["setting"] == "few" for row in rows) == sum(row["setting"] == "many" for row in rows) == 11


def rules_of(chart: Spec) -> list[Row]:
    """The rows that have a line from low to high."""
    [layer] = [layer for layer in chart["layer"] if layer["mark"]["type"] == "rule"]
    return layer["data"]["values"]


def test_one_network_has_neither_interval_nor_range() -> None:
    described = [{"epochs": float(epochs)} for epochs in (1, 2, 3)]
    accuracies = [np.array([50.0]), np.array([60.0]), np.array([70.0, 72.0])]
    chart = draw_dependences(described, accuracies)["grid-epochs"]
    assert [row["x"] for row in rules_of(chart)] == [3.0]
    assert [row["x"] for row in chart["data"]["values"]] == [1.0, 2.0, 3.0]
    assert ["low" in row for row in chart["data"]["values"]] == [False, False, True]
    classes = draw_classes(["one", "two"], [np.array([[50.0]]), np.array([[60.0], [70.0]])], ["cat"])
    assert [row["setting"] for row in rules_of(classes)] == ["two"]
    pytest.importorskip("vl_convert", reason="vl-convert is not installed (pip install '.[report]')")
    for one in (chart, classes):
        assert render_png(one).startswith(b"\x89PNG")


def test_values_that_differ_late_have_cells_of_their_own() -> None:
    rates, pixels = (0.12345671, 0.12345672, 1), (2, 2.5)
    described = [{"rate": rate, "pixels": count} for rate in rates for count in pixels]
    [chart] = draw_dependences(described, [np.array([50.0, 51.0])] * 6).values()
    cells = {(row["x"], row["y"]) for row in chart["data"]["values"]}
    assert cells == {(x, y) for x in ("2", "2.5") for y in ("0.12345671", "0.12345672", "1")}
    same = draw_dependences([{"rate": 1}, {"rate": 1.0}, {"rate": "none"}], [np.array([50.0])] * 3)["grid-rate"]
    assert [row["x"] for row in same["data"]["values"]] == [1, 1.0, "none"]


def test_pairs_of_fields_without_a_map_are_named() -> None:
    def grid(fields: str, values: tuple[int, ...]) -> list[dict[str, Any]]:
        return [dict(zip(fields, row, strict=True)) for row in itertools.product(values, repeat=len(fields))]

    five = grid("abcde", (0, 1))
    assert list(draw_dependences(five, [np.array([50.0])] * 32)) == [
        *("grid-a-b", "grid-a-c", "grid-a-d", "grid-a-e", "grid-b-c", "grid-b-d")
    ]
    assert pairs_left_out(five) == ["b and e", "c and d", "c and e", "d and e"]
    # The name of a case is no axis, and takes no room.
    named = [{"name": f"case {number}", **row} for number, row in enumerate(grid("abcd", (0, 1, 2)))]
    assert len(draw_dependences(named, [np.array([50.0])] * 81)) == 6
    assert pairs_left_out(named) == pairs_left_out([{"epochs": epochs} for epochs in (1.0, 2.0, 3.0)]) == []
