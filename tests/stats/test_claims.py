import math

import numpy as np
import pytest

from airjax.stats.claims import claim_power, judge_claim, runs_for_claim


def test_p_is_that_of_student_s_one_sided_test() -> None:
    # Mean 0.942, standard error 0.001 / sqrt(3): t = 2 sqrt(3). Of 2 degrees of freedom p = (1 - t/sqrt(t² + 2)) / 2.
    test = judge_claim([0.941, 0.942, 0.943], 0.94)
    assert test.p == pytest.approx((1 - math.sqrt(12 / 14)) / 2, rel=1e-6)
    assert test.p_above == pytest.approx((1 + math.sqrt(12 / 14)) / 2, rel=1e-6)
    assert test.verdict == "not resolved at this n"


@pytest.mark.parametrize(
    ("accuracies", "verdict"),
    [
        ([0.941, 0.942, 0.943] * 2, "verified"),
        ([0.937, 0.938, 0.939] * 2, "refuted"),
        ([0.939, 0.940, 0.942] * 2, "not resolved at this n"),
    ],
)
def test_a_claim_is_verified_or_refuted_only_at_one_percent(accuracies: list[float], verdict: str) -> None:
    assert judge_claim(accuracies, 0.94).verdict == verdict


@pytest.mark.parametrize("accuracies", [[0.99], [0.99, 0.99, 0.99]])
def test_without_a_spread_nothing_is_resolved(accuracies: list[float]) -> None:
    test = judge_claim(accuracies, 0.94)
    assert test.verdict == "not resolved at this n"
    assert test.p == (None if len(accuracies) == 1 else 1.0)


@pytest.mark.parametrize("accuracies", [[], [0.94, math.nan]])
def test_a_claim_without_finite_accuracies_is_refused(accuracies: list[float]) -> None:
    with pytest.raises(ValueError, match="all finite"):
        judge_claim(accuracies, 0.94)


def test_runs_for_a_claim_are_those_of_statsmodels() -> None:
    power = pytest.importorskip("statsmodels.stats.power").TTestPower()
    runs = power.solve_power(0.0001 / 0.00128, power=0.9, alpha=0.01, alternative="larger")
    assert runs_for_claim(0.9401, 0.00128, 0.94) == math.ceil(runs) == 2136
    assert runs_for_claim(0.9399, 0.00128, 0.94) == 2136  # as many refute it
    assert runs_for_claim(0.94, 0.00128, 0.94) is None


def test_the_power_is_the_fraction_of_simulations_with_a_verdict() -> None:
    samples = np.random.default_rng(0).normal(0.941, 0.0014, (1000, 20))
    fraction = np.mean([judge_claim(list(sample), 0.94).verdict == "verified" for sample in samples])
    assert claim_power(0.941, 0.0014, 0.94, 20) == pytest.approx(fraction, abs=0.03)
