import math

import numpy as np
import pytest
from scipy import stats

from airjax.stats.equivalence import compare_means
from airjax.stats.power import equivalence_power, runs_for_equivalence, runs_to_resolve, welch_power

SD = 0.14  # percentage points, about that of 94
SIMULATIONS = 1000


@pytest.mark.parametrize(("margin", "runs"), [(0.10, 43), (0.05, 170), (0.03, 472), (0.02, 1061), (0.01, 4243)])
def test_runs_needed_are_those_of_the_normal_formula(margin: float, runs: int) -> None:
    # 2 (sd (z95 + z95) / margin)^2, which the t distribution raises by a run.
    assert runs <= runs_for_equivalence(SD, SD, margin) <= runs + 1


def test_power_is_the_share_of_simulations_shown_equivalent() -> None:
    pytest.importorskip("statsmodels", reason="statsmodels is not installed (pip install '.[report]')")
    generator = np.random.default_rng(0)
    pairs = generator.normal(94, SD, (SIMULATIONS, 2, 120)).round(2)
    share = np.mean([compare_means(a, b, 0.05).verdict == "equivalent" for a, b in pairs])
    power = equivalence_power(SD, SD, 120, 120, 0.05)
    assert 0.6 < power < 0.8
    assert share == pytest.approx(power, abs=0.05)


@pytest.mark.parametrize("difference", [0.5, 0.1, 0.02])
def test_runs_to_resolve_are_those_of_statsmodels(difference: float) -> None:
    power = pytest.importorskip("statsmodels.stats.power")
    runs = power.TTestIndPower().solve_power(difference / SD, power=0.9, alpha=0.05)
    assert runs_to_resolve(difference, SD, SD) == math.ceil(runs)
    assert runs_to_resolve(-difference, SD, SD) == math.ceil(runs)
    ours = welch_power(difference, SD, SD, 20, 20)
    assert ours == pytest.approx(power.TTestIndPower().power(difference / SD, 20, 0.05), rel=1e-9)


def test_runs_to_resolve_find_the_difference_as_often_as_they_say() -> None:
    generator = np.random.default_rng(12)
    runs = runs_to_resolve(0.2, SD, 3 * SD)
    a, b = generator.normal(0, SD, (4000, runs)), generator.normal(0.2, 3 * SD, (4000, runs))
    found = stats.ttest_ind(a, b, axis=1, equal_var=False).pvalue < 0.05
    # Four standard errors of 4,000 simulations are 0.019, and the last run is worth less than 0.005.
    assert found.mean() == pytest.approx(0.9, abs=0.024)
    assert welch_power(0.2, SD, 3 * SD, runs - 1, runs - 1) < 0.9 <= welch_power(0.2, SD, 3 * SD, runs, runs)


@pytest.mark.parametrize("difference", [0.0, math.nan, math.inf])
def test_no_number_of_runs_resolves_what_is_no_difference(difference: float) -> None:
    with pytest.raises(ValueError, match="the difference is"):
        runs_to_resolve(difference, SD, SD)


def test_few_runs_resolve_a_difference_without_spread() -> None:
    assert runs_to_resolve(0.1, 0.0, 0.0) == 2
