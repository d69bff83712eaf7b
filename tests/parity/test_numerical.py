import json
import math
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch

from airjax.kernels import backend
from airjax.nn import whitening as whiten
from airjax.nn.whitening import second_moment
from parity import numerical
from parity.__main__ import main
from parity.check_setup import BOTH
from parity.checks_training import TorchTraining, drift
from parity.compare import (
    DRIFT_FACTOR,
    ROUNDING_FLOOR,
    ROUNDING_LIMIT,
    TOLERANCES,
    Comparison,
    Place,
    compare,
    measured,
    summarize,
)
from parity.numerical import CHECK_NAMES, SUITE, SuiteStep, run_suite
from parity.torch_implementation import OWN

Pixels = tuple[str, np.ndarray, np.ndarray]


# One recipe of each kind of network, optimizer, selection and draws: what a landing runs the longest steps with.
EACH_KIND = ("94", "94-airjax", "94-hiverge", "96-faster", "resnet18")
LONGEST = ("intermediates", "dirac", "image-sizes", "optimizer", "tta", "trajectory")


def cases() -> Iterator[Any]:
    for step in SUITE:
        name = step.checks[0]
        if name in LONGEST:
            others = tuple(recipe for recipe in numerical.RECIPE_NAMES if recipe not in EACH_KIND)
            yield pytest.param(step, EACH_KIND, id=name)
            yield pytest.param(step, others, id=f"{name}-others", marks=[pytest.mark.slow, pytest.mark.nightly])
        else:
            yield pytest.param(step, numerical.RECIPE_NAMES, id=name)


@pytest.mark.parametrize(("step", "recipes"), list(cases()))
def test_check_holds_against_the_reference(step: SuiteStep, recipes: tuple[str, ...], pixels: Pixels) -> None:
    result = run_suite(OWN, pixels, checks=step.checks, recipes=recipes)
    print("", *map(numerical.format_row, result.rows), sep="\n")
    assert {row.check for row in result.rows} == set(step.checks)
    assert {row.recipe for row in result.rows if row.check != "tta"} <= ({"any"} if step.once else set(recipes))
    assert [row for row in result.rows if not row.passed] == []


def test_every_check_has_its_tolerance_in_the_table() -> None:
    # The drift's is DRIFT_FACTOR times a measured distance.
    assert set(CHECK_NAMES) - {"drift"} == set(TOLERANCES)
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


def test_two_results_of_pytorch_that_are_no_rounding_apart_measure_nothing() -> None:
    place = Place("gradients", "94", "float32")
    exact, other = np.array([1.0, 2.0]), np.array([-1.0, 2.0])
    assert compare(place, "a", exact, exact, other).allowed == pytest.approx(2 * (ROUNDING_LIMIT + ROUNDING_FLOOR))
    states = [{"a": torch.tensor(values, dtype=torch.float64)} for values in (exact, other)]
    trained, apart = (TorchTraining([state], []) for state in states)
    found = list(drift(Place("drift", "94", "float32"), [states[0]], apart, trained))
    assert [c.allowed for c in found] == [pytest.approx(ROUNDING_LIMIT + ROUNDING_FLOOR)]


@pytest.mark.parametrize("wrong", [[math.nan, 1.0], [math.inf, 1.0], [1.0]])
def test_missing_numbers_and_other_shapes_never_pass(wrong: list[float]) -> None:
    place = Place("training", "94", "float64")
    assert not compare(place, "a", wrong, [1.0, 1.0]).passed


def test_an_infinity_of_pytorch_allows_nothing() -> None:
    place = Place("gradients", "94", "float64")
    infinite = compare(place, "a", [1.0, 1.0], [math.inf, 1.0])
    assert not infinite.passed
    (row,) = summarize([measured(place, "b", 1.0, 2.0), infinite])
    assert (row.worst, row.passed) == ("a", False)


def test_sections_that_are_referred_to_are_in_the_document() -> None:
    root = Path(__file__).parents[2]
    sections = set(re.findall(r"^#+ (§[\d.]+)", (root / "docs" / "recipes.md").read_text(), re.MULTILINE))
    for file in (root / "parity").glob("*.py"):
        assert set(re.findall(r"§\d+(?:\.\d+)?", file.read_text())) <= sections, file.name


def test_a_row_shows_the_worst_array_and_fails_with_any() -> None:
    place = Place("gradients", "94", "float64")
    row = summarize([measured(place, "a", 1.0, 2.0), measured(place, "b", 3.0, 2.0), measured(place, "c", 1.5, 2.0)])
    assert len(row) == 1
    assert (row[0].worst, row[0].arrays, row[0].passed) == ("b", 3, False)


def test_a_suite_without_checks_does_not_pass() -> None:
    assert not numerical.SuiteResult("reference", "builtin", [], []).passed


def test_command_line_ends_with_json_and_code_0(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["numerical", "--json", "--data", "builtin", "--check", "schedule", "--recipe", "94", "--recipe", "96"]
    assert main(arguments) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["passed"] is True
    assert [(check["check"], check["recipe"]) for check in last["checks"]] == [("schedule", "94"), ("schedule", "96")]


def test_a_failing_check_is_code_1_and_null_where_not_finite(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(setup: object) -> list[Comparison]:
        del setup
        return [compare(Place("schedule", "94", "float64"), "factors", [math.nan], [1.0])]

    monkeypatch.setattr(numerical, "SUITE", (SuiteStep(("schedule",), broken),))  # pyright: ignore[reportArgumentType]
    assert main(["numerical", "--json", "--data", "builtin", "--recipe", "94"]) == 1
    output = capsys.readouterr().out.splitlines()
    assert "failed: schedule (94, float64)" in output
    assert json.loads(output[-1])["checks"][0]["absolute"] is None


def plant_pool(monkeypatch: pytest.MonkeyPatch, wrong: Callable[[Any], Any]) -> None:
    right = backend.make_ops

    def make_ops(*arguments: Any) -> backend.Ops:
        ops = right(*arguments)
        return ops._replace(max_pool=wrong(ops.max_pool))

    monkeypatch.setattr(backend, "make_ops", make_ops)


def test_a_wrong_pool_is_found_though_torch_takes_the_same_pixels(
    monkeypatch: pytest.MonkeyPatch, pixels: Pixels
) -> None:
    def wrong(right: Any) -> Any:
        return lambda x, size: -right(-x, size)

    plant_pool(monkeypatch, wrong)
    checks = ("intermediates", "gradients", "drift")
    result = run_suite(OWN, pixels, recipes=("94",), checks=checks, precisions=("float32",))
    assert {row.check for row in result.rows if not row.passed} == set(checks)


def test_a_pool_s_gradient_to_wrong_pixels_is_found_though_torch_takes_the_same(
    monkeypatch: pytest.MonkeyPatch, pixels: Pixels
) -> None:
    def wrong(right: Any) -> Any:
        return lambda x, size: mean_gradient(right, x, size)

    def mean_gradient(right: Any, x: Any, size: int) -> Any:
        count, rows, columns, channels = x.shape[0], x.shape[1] // size, x.shape[2] // size, x.shape[3]
        windows = x[:, : rows * size, : columns * size].reshape(count, rows, size, columns, size, channels)
        mean = windows.mean((2, 4))
        return jax.lax.stop_gradient(right(x, size) - mean) + mean

    plant_pool(monkeypatch, wrong)
    checks = ("intermediates", "gradients", "trajectory", "drift")
    result = run_suite(OWN, pixels, recipes=("94",), checks=checks)
    failed = {(row.check, row.precision) for row in result.rows if not row.passed}
    assert failed == {("gradients", p) for p in BOTH} | {("trajectory", "float64"), ("drift", "float32")}


def test_degenerate_eigenvalues_leave_whitening_within_tolerance_and_mistakes_outside(
    monkeypatch: pytest.MonkeyPatch, builtin: Pixels
) -> None:
    # Of noise all eigenvalues nearly tie, and of grey noise eight are zero.
    name, images, labels = builtin
    noise = np.random.default_rng(0).integers(0, 256, images.shape, np.uint8)
    kinds = {"noise": noise, "grey noise": noise[..., :1].repeat(3, -1), name: images}

    def run() -> dict[str, list[bool]]:
        suites = {
            kind: run_suite(OWN, (kind, x, labels), recipes=("94",), checks=("whitening",)) for kind, x in kinds.items()
        }
        return {kind: [row.passed for row in suite.rows] for kind, suite in suites.items()}

    assert run() == {kind: [True, True] for kind in kinds}
    monkeypatch.setattr(whiten, "second_moment", lambda x: second_moment(x - x.mean((0, 1, 2), keepdims=True)))
    assert run()[name] == [False, False]


def test_seeds_are_all_run_and_the_worst_is_named() -> None:
    pixels = numerical.load_images("builtin", None)
    result = run_suite(OWN, pixels, recipes=("94",), checks=("cancellation", "dirac"), seeds=(2, 5))
    assert [(row.check, row.passed) for row in result.rows] == [("dirac", True), ("cancellation", True)]
    cancellations = [c for c in result.comparisons if c.check == "cancellation"]
    assert [c.name for c in cancellations] == ["BatchNorm far from zero, seed 2", "BatchNorm far from zero, seed 5"]
    assert cancellations[0].absolute != cancellations[1].absolute
    assert numerical.to_json(result)["seeds"] == [2, 5]


def test_drift_of_the_first_seed_is_the_curve() -> None:
    place = Place("drift", "94", "float32")
    found = [
        measured(place, f"{name}, seed {seed}", value, 9.0)
        for seed, value in ((3, 1.0), (4, 2.0))
        for name in ("all tensors after 0 steps", "pool 0, pixels taken in step 0")
    ]
    record = numerical.to_json(numerical.SuiteResult("reference", "builtin", summarize(found), found, (3, 4)))
    assert record["drift"] == {"94": {"distance": [1.0], "allowed": [9.0]}}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "0"], "--seeds is 0; at least one is needed"),
        (["--seed", "-1"], "seed is -1, but it must be a whole number from 0 to 4294967295"),
        (["--threads", "0"], "--threads is 0; it must be at least 1"),
        (["--threads", "100000"], "--threads is 100000; this process has"),
        (["--check", "schedul"], "unknown check schedul; there are normalize, augmentation, resize"),
    ],
)
def test_wrong_arguments_are_code_2_and_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["numerical", "--data", "builtin", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_threads_are_those_of_both_frameworks() -> None:
    code = (
        "import os, torch, parity.__main__ as m; "
        "m.main('numerical --data builtin --check schedule --recipe 94 --threads 1 --json'.split()); "
        "print(torch.get_num_threads(), len(os.sched_getaffinity(0)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *_, record, threads = run.stdout.splitlines()
    assert threads == "1 1"
    assert json.loads(record)["threads"] == {"torch": 1, "jax": 1}
    assert json.loads(record)["convolution"] in ("native", "onednn")
