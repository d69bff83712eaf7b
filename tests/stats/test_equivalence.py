import math

import numpy as np
import pytest
from scipy import stats

from airjax.stats import equivalence
from airjax.stats.equivalence import (
    bootstrap_interval,
    compare_distributions,
    compare_means,
    equivalence_power,
    holm,
    mean_difference,
    permutation_p,
    permutations,
    runs_for_equivalence,
    runs_to_resolve,
    welch_power,
)

SD = 0.14  # percentage points, about that of 94
SIMULATIONS = 1000
# The largest share that 1,000 simulations of an error rate of 5% show with probability 99.9%.
LARGEST_SHARE = 0.05 + 3.1 * math.sqrt(0.05 * 0.95 / SIMULATIONS)


def accuracies(generator: np.random.Generator, mean: float, count: int, sd: float = SD) -> np.ndarray:
    """Accuracies of networks on 10,000 test images: a lattice of 0.01 points, with many ties."""
    return generator.normal(mean, sd, count).round(2)


@pytest.mark.parametrize(("margin", "runs"), [(0.10, 43), (0.05, 170), (0.03, 472), (0.02, 1061), (0.01, 4243)])
def test_runs_needed_are_those_of_the_normal_formula(margin: float, runs: int) -> None:
    # 2 (sd (z95 + z95) / margin)^2, which the t distribution raises by a run.
    assert runs <= runs_for_equivalence(SD, SD, margin) <= runs + 1


def test_power_is_the_share_of_simulations_shown_equivalent() -> None:
    generator = np.random.default_rng(0)
    pairs = [(accuracies(generator, 94, 120), accuracies(generator, 94, 120)) for _ in range(SIMULATIONS)]
    share = np.mean([compare_means(a, b, 0.05).verdict == "equivalent" for a, b in pairs])
    power = equivalence_power(SD, SD, 120, 120, 0.05)
    assert 0.6 < power < 0.8
    assert share == pytest.approx(power, abs=0.05)


def test_a_difference_as_large_as_the_margin_is_rarely_called_equivalent() -> None:
    generator = np.random.default_rng(1)
    pairs = [(accuracies(generator, 94, 100), accuracies(generator, 94.05, 100)) for _ in range(SIMULATIONS)]
    assert 0.01 < np.mean([compare_means(a, b, 0.05).verdict == "equivalent" for a, b in pairs]) < LARGEST_SHARE


def test_equal_distributions_are_rarely_called_different() -> None:
    generator = np.random.default_rng(2)
    pairs = [(accuracies(generator, 94, 100), accuracies(generator, 94, 100)) for _ in range(SIMULATIONS)]
    compared = [compare_means(a, b, 0.01) for a, b in pairs]  # a margin too small to be shown
    assert 0.02 < np.mean([means.verdict == "different" for means in compared]) < LARGEST_SHARE


def test_a_shift_of_three_tenths_of_a_point_is_always_found() -> None:
    generator = np.random.default_rng(3)
    pairs = [(accuracies(generator, 94, 100), accuracies(generator, 94.3, 100)) for _ in range(SIMULATIONS)]
    assert all(compare_means(a, b, 0.05).verdict == "different" for a, b in pairs)


def test_few_runs_with_wide_spread_decide_nothing() -> None:
    generator = np.random.default_rng(4)
    a, b = (accuracies(generator, 40, 10, sd=1.6) for _ in range(2))
    means = compare_means(a, b, 0.05)
    assert means.verdict == "open"
    assert means.power == 0
    assert means.runs_needed > 10_000


def test_equivalence_test_is_that_of_statsmodels() -> None:
    weightstats = pytest.importorskip("statsmodels.stats.weightstats")
    generator = np.random.default_rng(5)
    a, b = accuracies(generator, 94, 40), accuracies(generator, 94.03, 60, sd=0.2)
    means = compare_means(a, b, 0.1)
    assert means.difference_p == pytest.approx(stats.ttest_ind(b, a, equal_var=False).pvalue, rel=1e-9)
    assert means.equivalence_p == pytest.approx(weightstats.ttost_ind(b, a, -0.1, 0.1, usevar="unequal")[0], rel=1e-9)
    welch = weightstats.CompareMeans(weightstats.DescrStatsW(b), weightstats.DescrStatsW(a))
    assert means.interval90 == pytest.approx(welch.tconfint_diff(0.1, usevar="unequal"), rel=1e-9)
    assert means.interval95 == pytest.approx(welch.tconfint_diff(0.05, usevar="unequal"), rel=1e-9)


def test_equivalent_is_the_90_percent_interval_inside_the_margin() -> None:
    generator = np.random.default_rng(6)
    verdicts = set()
    for _ in range(200):
        a, b = accuracies(generator, 94, 100), accuracies(generator, 94.02, 100)
        means = compare_means(a, b, 0.05)
        inside = means.interval90[0] > -0.05 and means.interval90[1] < 0.05
        assert inside == (means.verdict == "equivalent")
        verdicts.add(means.verdict)
    assert len(verdicts) > 1


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


def test_runs_without_spread_decide_nothing() -> None:
    means = compare_means(np.full(5, 10.0), np.full(5, 10.0), 0.05)
    assert (means.verdict, means.difference) == ("open", 0.0)


@pytest.mark.parametrize("values", [[94.0], [94.0, math.nan], []])
def test_samples_without_a_deviation_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="first sample needs at least 2 values"):
        compare_means(np.array(values), np.array([94.0, 94.1]), 0.05)


@pytest.mark.parametrize("margin", [0.0, -1.0, math.nan, math.inf])
def test_a_margin_has_to_be_positive(margin: float) -> None:
    with pytest.raises(ValueError, match="margin is"):
        compare_means(np.array([94.0, 94.1]), np.array([94.0, 94.1]), margin)


def test_distribution_statistics_are_those_of_scipy() -> None:
    generator = np.random.default_rng(7)
    a, b = accuracies(generator, 94, 50), accuracies(generator, 94.05, 70, sd=0.2)
    shapes = compare_distributions(a, b)
    assert shapes.kolmogorov_smirnov == pytest.approx(stats.ks_2samp(a, b).statistic, abs=1e-6)
    assert shapes.mann_whitney == pytest.approx(stats.mannwhitneyu(b, a).statistic / (50 * 70), abs=1e-6)
    assert shapes.brown_forsythe_p == pytest.approx(stats.levene(a, b, center="median").pvalue)
    assert shapes.sd_ratio == pytest.approx(b.std(ddof=1) / a.std(ddof=1))
    assert shapes.sd_ratio_interval[0] < shapes.sd_ratio < shapes.sd_ratio_interval[1]


def test_permutation_p_values_are_those_of_scipy() -> None:
    generator = np.random.default_rng(8)
    a, b = accuracies(generator, 94, 20), accuracies(generator, 94.08, 25)
    shapes = compare_distributions(a, b)
    for statistic, ours in (
        (lambda x, y: stats.ks_2samp(x, y).statistic, shapes.kolmogorov_smirnov_p),
        (lambda x, y: abs(stats.mannwhitneyu(x, y).statistic - len(x) * len(y) / 2), shapes.mann_whitney_p),
    ):
        theirs = stats.permutation_test(
            (a, b), statistic, alternative="greater", vectorized=False, n_resamples=999, rng=np.random.default_rng(0)
        ).pvalue
        assert ours == pytest.approx(theirs, abs=4 * math.sqrt(theirs * (1 - theirs) / 999) + 0.002)


def test_tests_of_equal_distributions_keep_their_error_rate_after_adjustment() -> None:
    generator = np.random.default_rng(9)
    rejected = 0
    for _ in range(SIMULATIONS):
        shapes = compare_distributions(accuracies(generator, 94, 30), accuracies(generator, 94, 30), resamples=199)
        p_values = {"ks": shapes.kolmogorov_smirnov_p, "mw": shapes.mann_whitney_p, "bf": shapes.brown_forsythe_p}
        rejected += min(holm(p_values).values()) < 0.05
    assert 0.01 < rejected / SIMULATIONS < LARGEST_SHARE


def test_wider_spread_is_found() -> None:
    generator = np.random.default_rng(10)
    shapes = compare_distributions(accuracies(generator, 94, 100), accuracies(generator, 94, 100, sd=2 * SD))
    assert shapes.brown_forsythe_p < 0.001
    assert shapes.sd_ratio_interval[0] > 1.5


def test_permutations_deal_the_same_number_to_each() -> None:
    weights = permutations(3, 5, resamples=50)
    assert weights.shape == (51, 8)
    np.testing.assert_array_equal((weights < 0).sum(1), 3)
    np.testing.assert_allclose(weights.sum(1), 0, atol=1e-6)
    np.testing.assert_allclose(weights[0], [-1 / 3] * 3 + [0.2] * 5, rtol=1e-6)
    assert len(np.unique(weights, axis=0)) > 30


def test_permutation_p_counts_the_observed_row_and_ties() -> None:
    assert permutation_p(np.array([3.0, 1.0, 3.0 + 1e-9, 2.0])) == 0.5
    assert permutation_p(np.array([5.0, 1.0, 2.0, 3.0])) == 0.25


def test_holm_is_the_step_down_by_hand() -> None:
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.9})
    assert adjusted == pytest.approx({"a": 0.04, "b": 0.09, "c": 0.09, "d": 0.9})


def test_a_bootstrap_in_parts_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    values = accuracies(np.random.default_rng(13), 94, 50)
    whole = bootstrap_interval(values, "std")
    monkeypatch.setattr(equivalence, "LARGEST_DRAW", 7 * 50)
    assert bootstrap_interval(values, "std") == whole


def test_bootstrap_interval_covers_what_the_t_interval_covers() -> None:
    values = accuracies(np.random.default_rng(11), 94, 200)
    low, high = bootstrap_interval(values, "mean")
    half = 1.97 * values.std(ddof=1) / math.sqrt(200)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)
    low, high = bootstrap_interval(values, "std")
    assert low < values.std(ddof=1) < high


def test_an_interval_of_a_difference_of_shares_stays_where_such_differences_are() -> None:
    a, b = np.array([5.0, 30.0]), np.array([60.0, 99.0])
    assert mean_difference(a, b, whole=100.0).interval95[1] == 100.0
    assert mean_difference(a, b).interval95[1] > 100.0
    assert compare_means(b, a, 0.5, whole=100.0).interval95[0] == -100.0
