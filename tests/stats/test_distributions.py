import math

import numpy as np
import pytest
from scipy import stats

from airjax.stats import distributions
from airjax.stats.distributions import (
    compare_distributions,
    largest_magnitude,
    permutation_p,
)

SD = 0.14  # percentage points, about that of 94
SIMULATIONS = 400
# The largest fraction that 400 simulations of an error rate of 5% show with probability 99.9%.
LARGEST_FRACTION = 0.05 + 3.1 * math.sqrt(0.05 * 0.95 / SIMULATIONS)


def accuracies(generator: np.random.Generator, mean: float, count: int, sd: float = SD) -> np.ndarray:
    """Accuracies of networks on 10,000 test images: a lattice of 0.01 points, with many ties."""
    return generator.normal(mean, sd, count).round(2)


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
        # Holm rejects any of three hypotheses where three times the smallest p-value is below 5%.
        rejected += 3 * min(shapes.kolmogorov_smirnov_p, shapes.mann_whitney_p, shapes.brown_forsythe_p) < 0.05
    assert 0.01 < rejected / SIMULATIONS < LARGEST_FRACTION


def test_wider_spread_is_found() -> None:
    generator = np.random.default_rng(10)
    shapes = compare_distributions(accuracies(generator, 94, 100), accuracies(generator, 94, 100, sd=2 * SD))
    assert shapes.brown_forsythe_p < 0.001
    assert shapes.sd_ratio_interval[0] > 1.5


@pytest.mark.parametrize(
    ("a", "b", "kolmogorov_smirnov_p", "mann_whitney_p"),
    [
        # Two of six ways to deal four runs have all of one sample below the other.
        pytest.param([1, 2], [3, 4], 1 / 3, 1 / 3, id="two of each"),
        pytest.param([1, 2, 3], [4, 5, 6], 2 / 20, 2 / 20, id="three of each"),
        pytest.param([1, 1, 1], [1, 1, 1], 1, 1, id="equal values"),
        pytest.param([1, 1, 1], [2, 2, 2], 2 / 20, 2 / 20, id="ties"),
        pytest.param([1, 2], [1, 2], 1, 1, id="equal samples"),
    ],
)
def test_permutations_of_few_runs_are_all_of_them(
    a: list[float], b: list[float], kolmogorov_smirnov_p: float, mann_whitney_p: float
) -> None:
    shapes = compare_distributions(94 + 0.1 * np.array(a), 94 + 0.1 * np.array(b))
    assert shapes.kolmogorov_smirnov_p == pytest.approx(kolmogorov_smirnov_p)
    assert shapes.mann_whitney_p == pytest.approx(mann_whitney_p)


def test_permutations_of_many_runs_are_random() -> None:
    generator = np.random.default_rng(0)
    a, b = accuracies(generator, 94, 30), accuracies(generator, 94.05, 30)
    shapes = compare_distributions(a, b)
    # This project's own 9,999 permutations, before scipy dealt them; the standard errors are 0.001 and 0.0006.
    assert shapes.kolmogorov_smirnov_p == pytest.approx(0.0107, abs=0.005)
    assert shapes.mann_whitney_p == pytest.approx(0.0040, abs=0.003)
    assert shapes.sd_ratio_interval == pytest.approx((0.8245177, 1.6470581), rel=1e-6)


def test_a_permutation_p_value_counts_the_observed_split() -> None:
    values = np.arange(200.0)[:, None]
    assert permutation_p(values, 100, largest_magnitude, resamples=999) == 1 / 1000


def test_brown_forsythe_of_two_values_says_nothing() -> None:
    assert compare_distributions(np.array([1.0, 2.0]), np.array([1.0, 9.0])).brown_forsythe_p == 1
    assert compare_distributions(np.full(5, 94.1), np.full(5, 94.1)).brown_forsythe_p == 1


def test_brown_forsythe_of_values_equally_far_from_their_median_says_nothing() -> None:
    two = np.array([94.1, 94.1, 94.2, 94.2])
    for other in (two + 0.2, 93 + 2 * (two - 94)):
        assert compare_distributions(two, other).brown_forsythe_p == 1
    shapes = compare_distributions(two, np.array([94.0, 94.1, 94.3, 94.6]))
    assert shapes.brown_forsythe_p == pytest.approx(stats.levene(two, [94.0, 94.1, 94.3, 94.6], center="median").pvalue)


def test_the_ratio_s_bootstrap_draws_the_same_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(13)
    a, b = accuracies(generator, 94, 50), accuracies(generator, 94, 40)
    whole = compare_distributions(a, b).sd_ratio_interval
    monkeypatch.setattr(distributions, "LARGEST_DRAW", 7 * 50)
    assert compare_distributions(a, b).sd_ratio_interval == pytest.approx(whole, rel=1e-12)
