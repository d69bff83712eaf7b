import math

import numpy as np
import pytest
from scipy import stats

from airjax.stats.equivalence import compare_means, holm, mean_difference, paired_difference

pytest.importorskip("statsmodels", reason="statsmodels is not installed (pip install '.[report]')")

SD = 0.14  # percentage points, about that of 94
SIMULATIONS = 1000
# The largest share that 1,000 simulations of an error rate of 5% show with probability 99.9%.
LARGEST_SHARE = 0.05 + 3.1 * math.sqrt(0.05 * 0.95 / SIMULATIONS)


def accuracies(generator: np.random.Generator, mean: float, count: int, sd: float = SD) -> np.ndarray:
    """Accuracies of networks on 10,000 test images: a lattice of 0.01 points, with many ties."""
    return generator.normal(mean, sd, count).round(2)


def test_a_difference_as_large_as_the_margin_is_rarely_called_equivalent() -> None:
    generator = np.random.default_rng(1)
    pairs = [(accuracies(generator, 94, 100), accuracies(generator, 94.05, 100)) for _ in range(SIMULATIONS)]
    assert 0.01 < np.mean([compare_means(a, b, 0.05).verdict == "equivalent" for a, b in pairs]) < LARGEST_SHARE


def test_pairs_are_tested_as_scipy_does() -> None:
    generator = np.random.default_rng(4)
    plain = accuracies(generator, 94, 30, sd=0.5)
    better = plain + accuracies(generator, 0.1, 30, sd=0.05)
    found, theirs = paired_difference(plain, better, whole=100.0), stats.ttest_rel(better, plain)
    assert (found.p, found.degrees_of_freedom) == (pytest.approx(theirs.pvalue), 29)
    assert found.interval95 == pytest.approx(tuple(theirs.confidence_interval()))
    assert found.difference == pytest.approx(found.interval95[0] / 2 + found.interval95[1] / 2)
    low, high = mean_difference(plain, better).interval95
    assert high - low > 5 * (found.interval95[1] - found.interval95[0])


def test_pairs_that_all_differ_by_as_much_say_nothing_of_chance() -> None:
    found = paired_difference(np.array([94.0, 95.0]), np.array([94.5, 95.5]))
    assert (found.difference, found.interval95, found.p) == (0.5, (0.5, 0.5), 1.0)
    for a, b in (([94.0], [95.0]), ([94.0, 94.1], [94.0]), ([94.0, math.nan], [94.0, 94.1])):
        with pytest.raises(ValueError, match="two finite values of at least 2 networks"):
            paired_difference(np.array(a), np.array(b))


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


# What this project computed by its own formulas, before they were those of statsmodels.
@pytest.mark.parametrize(
    ("a", "b", "error", "freedom", "interval95", "interval90", "difference_p", "equivalence_p"),
    [
        pytest.param(
            [94.0, 94.1], [94.05, 94.3], 0.13462912, 1.31201248, (-0.86931656, 1.11931656), (-0.45202256, 0.70202256),
            0.49188527, 0.67125933, id="two of each",
        ),
        pytest.param(
            [94.1] * 5, [94.0, 94.2, 94.3], 0.08819171, 2.0, (-0.31279163, 0.44612497), (-0.19085186, 0.32418519),
            0.52859548, 0.56622662, id="one without spread",
        ),
        pytest.param(
            [94.0, 94.0, 94.1, 94.1], [94.0, 94.1, 94.1, 94.1], 0.03818813, 5.88, (-0.06890720, 0.11890720),
            (-0.04947852, 0.09947852), 0.53744034, 0.26872017, id="ties",
        ),
    ],
)  # fmt: skip
def test_welchs_tests_of_small_samples(
    a: list[float],
    b: list[float],
    error: float,
    freedom: float,
    interval95: tuple[float, float],
    interval90: tuple[float, float],
    difference_p: float,
    equivalence_p: float,
) -> None:
    means = compare_means(np.array(a), np.array(b), 0.05)
    assert means.difference == pytest.approx(np.mean(b) - np.mean(a))
    assert (means.standard_error, means.degrees_of_freedom) == pytest.approx((error, freedom), rel=1e-6)
    assert means.interval95 == pytest.approx(interval95, rel=1e-6)
    assert means.interval90 == pytest.approx(interval90, rel=1e-6)
    assert (means.difference_p, means.equivalence_p) == pytest.approx((difference_p, equivalence_p), rel=1e-6)
    assert mean_difference(np.array(b), np.array(a)).difference == -means.difference


def test_welchs_test_is_that_of_scipy() -> None:
    generator = np.random.default_rng(5)
    a, b = accuracies(generator, 94, 40), accuracies(generator, 94.03, 60, sd=0.2)
    welch, theirs = mean_difference(a, b), stats.ttest_ind(b, a, equal_var=False)
    assert (welch.p, welch.degrees_of_freedom) == pytest.approx((theirs.pvalue, theirs.df), rel=1e-9)
    assert welch.interval95 == pytest.approx(tuple(theirs.confidence_interval(0.95)), rel=1e-9)


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


# The mean of three times 94.1 is rounded, so that a formula finds a spread of 1e-14, and a p-value of 1e-26.
@pytest.mark.parametrize(("a", "b"), [(10.0, 10.0), (94.1, 94.1), (94.1, 94.2)])
def test_runs_without_spread_decide_nothing(a: float, b: float) -> None:
    means = compare_means(np.full(3, a), np.full(3, b), 0.05)
    assert (means.verdict, means.standard_error, means.equivalence_p, means.difference_p) == ("open", 0.0, 1.0, 1.0)
    assert means.difference == pytest.approx(b - a)
    assert means.interval95 == means.interval90 == (means.difference, means.difference)


@pytest.mark.parametrize("values", [[94.0], [94.0, math.nan], []])
def test_samples_without_a_deviation_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="first sample needs at least 2 values"):
        compare_means(np.array(values), np.array([94.0, 94.1]), 0.05)


@pytest.mark.parametrize("margin", [0.0, -1.0, math.nan, math.inf])
def test_a_margin_has_to_be_positive(margin: float) -> None:
    with pytest.raises(ValueError, match="margin is"):
        compare_means(np.array([94.0, 94.1]), np.array([94.0, 94.1]), margin)


@pytest.mark.parametrize(
    ("values", "adjusted"),
    [
        ([0.01, 0.04, 0.03, 0.9], [0.04, 0.09, 0.09, 0.9]),
        ([0.02, 0.02, 0.02], [0.06, 0.06, 0.06]),
        ([1.0, 1.0], [1.0, 1.0]),
        ([0.0, 0.5], [0.0, 0.5]),
        ([0.3], [0.3]),
        ([], []),
    ],
)
def test_holm_is_the_step_down_by_hand(values: list[float], adjusted: list[float]) -> None:
    found = holm({str(number): p for number, p in enumerate(values)})
    assert list(found) == [str(number) for number in range(len(values))]
    assert list(found.values()) == pytest.approx(adjusted)


def test_an_interval_of_a_difference_of_shares_stays_where_such_differences_are() -> None:
    a, b = np.array([5.0, 30.0]), np.array([60.0, 99.0])
    assert mean_difference(a, b, whole=100.0).interval95[1] == 100.0
    assert mean_difference(a, b).interval95[1] > 100.0
    assert compare_means(b, a, 0.5, whole=100.0).interval95[0] == -100.0
