import json
import math

import numpy as np
import pytest

from airjax import layers, model
from parity import numerical
from parity.__main__ import main
from parity.compare import DRIFT_FACTOR, TOLERANCES, Comparison, Place, compare, measured, summarize
from parity.numerical import LADDER, RUNG_NAMES, Step, climb
from parity.peer import OWN
from parity.rungs_network import winners

Pixels = tuple[str, np.ndarray, np.ndarray]


@pytest.mark.parametrize("step", LADDER, ids=lambda step: step.rungs[0])
def test_rung_holds_against_the_reference(step: Step, pixels: Pixels) -> None:
    result = climb(OWN, pixels, rungs=step.rungs)
    print("", *map(numerical.format_row, result.rows), sep="\n")
    assert {row.rung for row in result.rows} == set(step.rungs)
    recipes = {"any"} if step.once else set(numerical.RECIPE_NAMES)
    assert {row.recipe for row in result.rows if row.rung != "tta"} <= recipes
    assert [row for row in result.rows if not row.passed] == []


def test_every_rung_has_its_tolerance_in_the_table() -> None:
    # The drift's is DRIFT_FACTOR times a measured distance.
    assert set(RUNG_NAMES) - {"drift"} == set(TOLERANCES)
    assert DRIFT_FACTOR > 1
    assert all(tolerance.reason for tolerance in TOLERANCES.values())


def test_comparison_is_relative_to_the_largest_magnitude() -> None:
    place = Place("gradients", "94", "float64")
    close = compare(place, "a", [1e-12, 100.0], [0.0, 100.0])
    assert close.passed
    assert close.relative == pytest.approx(1e-14)
    assert not compare(place, "a", [1e-9, 100.0], [0.0, 100.0]).passed


def test_float32_tolerance_follows_the_rounding_of_pytorch() -> None:
    place = Place("gradients", "94", "float32")
    exact, rounded = np.array([1.0, 2.0]), np.array([1.0, 2.001])
    assert compare(place, "a", [1.0, 2.003], exact, rounded).passed
    assert not compare(place, "a", [1.0, 2.005], exact, rounded).passed
    assert not compare(place, "a", [1.0, 2.0001], exact, exact).passed


@pytest.mark.parametrize("wrong", [[math.nan, 1.0], [math.inf, 1.0], [1.0]])
def test_missing_numbers_and_other_shapes_never_pass(wrong: list[float]) -> None:
    place = Place("training", "94", "float64")
    assert not compare(place, "a", wrong, [1.0, 1.0]).passed


def test_a_row_shows_the_worst_array_and_fails_with_any() -> None:
    place = Place("gradients", "94", "float64")
    row = summarize([measured(place, "a", 1.0, 2.0), measured(place, "b", 3.0, 2.0), measured(place, "c", 1.5, 2.0)])
    assert len(row) == 1
    assert (row[0].worst, row[0].arrays, row[0].passed) == ("b", 3, False)


def test_a_ladder_without_rungs_does_not_pass() -> None:
    assert not numerical.Result("reference", "builtin", [], []).passed


def test_command_line_ends_with_json_and_code_0(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["numerical", "--json", "--data", "builtin", "--rung", "schedule", "--recipe", "94", "--recipe", "96"]
    assert main(arguments) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["passed"] is True
    assert [(rung["rung"], rung["recipe"]) for rung in last["rungs"]] == [("schedule", "94"), ("schedule", "96")]


def test_a_failing_rung_is_code_1_and_null_where_not_finite(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(setting: object) -> list[Comparison]:
        del setting
        return [compare(Place("schedule", "94", "float64"), "factors", [math.nan], [1.0])]

    monkeypatch.setattr(numerical, "LADDER", (Step(("schedule",), broken),))  # pyright: ignore[reportArgumentType]
    assert main(["numerical", "--json", "--data", "builtin", "--recipe", "94"]) == 1
    output = capsys.readouterr().out.splitlines()
    assert "failed: schedule (94, float64)" in output
    assert json.loads(output[-1])["rungs"][0]["absolute"] is None


def test_a_pool_s_pixels_are_counted_by_rows_and_the_first_of_equals_wins() -> None:
    x = np.zeros((1, 1, 5, 4))
    x[0, 0, 1, 0], x[0, 0, 2, 3], x[0, 0, 4, 0] = 3.0, 2.0, 9.0  # the last is in no window
    assert winners(x, 2).tolist() == [[[[2, 0], [0, 1]]]]


def test_a_wrong_pool_is_found_though_torch_takes_the_same_pixels(
    monkeypatch: pytest.MonkeyPatch, pixels: Pixels
) -> None:
    monkeypatch.setattr(model, "max_pool", lambda x, size: -layers.max_pool(-x, size))
    result = climb(OWN, pixels, recipes=("94",), rungs=("intermediates", "gradients"), precisions=("float32",))
    assert {row.rung for row in result.rows if not row.passed} == {"intermediates", "gradients"}
