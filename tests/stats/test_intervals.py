import sys

import numpy as np
import pytest
from scipy import stats as scipy_stats

from airjax.stats.equivalence import mean_difference
from airjax.stats.intervals import mean_interval, sample_sd, sd_interval, standard_error, target_verdict
from airjax.utils.extras import MissingExtraError


def test_interval_is_students() -> None:
    values = [0.94, 0.941, 0.939, 0.9405, 0.9402]
    expected = scipy_stats.t.interval(0.95, 4, np.mean(values), scipy_stats.sem(values))
    assert mean_interval(values, whole=1.0) == pytest.approx(expected)
    assert mean_interval([0.94], whole=1.0) is None


def test_equal_values_have_no_spread_although_their_mean_is_rounded() -> None:
    assert np.std([94.1, 94.1, 94.1], ddof=1) > 0
    assert (sample_sd([94.1, 94.1, 94.1]), standard_error([94.1, 94.1, 94.1])) == (0, 0)
    assert sample_sd([94.1, 94.2]) == pytest.approx(0.0707107, rel=1e-5)


@pytest.mark.parametrize("count", [2, 3, 10, 100])
def test_the_interval_of_a_standard_deviation_covers_it(count: int) -> None:
    values = np.random.default_rng(count).normal(94, 0.14, (2000, count))
    low, high = np.array([sd_interval(one) for one in values]).T
    assert 0.935 < np.mean((low < 0.14) & (high > 0.14)) < 0.965
    assert np.mean(low >= 0.14) == pytest.approx(0.025, abs=0.012)
    freedom = count - 1
    assert low[0] == pytest.approx(values[0].std(ddof=1) * np.sqrt(freedom / scipy_stats.chi2.ppf(0.975, freedom)))


def test_equal_values_have_no_standard_deviation_and_an_interval_of_nothing() -> None:
    assert sd_interval([94.1, 94.1, 94.1]) == (0, 0)


def test_only_tests_of_differences_need_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("statsmodels", "statsmodels.stats.weightstats"):
        monkeypatch.setitem(sys.modules, module, None)  # as where it is not installed
    with pytest.raises(MissingExtraError, match=r"Welch's test needs statsmodels.*pip install 'airjax\[report\]'"):
        mean_difference(np.array([94.0, 94.1]), np.array([94.1, 94.3]))
    assert target_verdict([0.941, 0.9412], 0.93) == "confirmed"


def test_an_interval_of_fractions_stays_where_fractions_are() -> None:
    assert mean_interval([0.05, 0.11], whole=1.0) == (0.0, pytest.approx(0.08 + 12.7062 * 0.03, abs=1e-4))
    assert mean_interval([5.0, 11.0], whole=100.0) == (0.0, pytest.approx(8 + 12.7062 * 3, abs=1e-2))
    assert mean_interval([99.0, 100.0], whole=100.0) == (pytest.approx(99.5 - 12.7062 / 2, abs=1e-2), 100.0)


@pytest.mark.parametrize(
    ("accuracies", "known_sd", "verdict"),
    [
        ([], None, "not evaluated"),
        ([0.9410, 0.9412, 0.9409, 0.9411], None, "confirmed"),
        ([0.9410, 0.9392, 0.9415, 0.9396], None, "mean"),
        ([0.9400, 0.9395, 0.9404, 0.9396], None, "within noise"),
        ([0.9390, 0.9391, 0.9389, 0.9390], None, "no"),
        ([0.9405], 0.0013, "mean"),
        ([0.9390], 0.0013, "within noise"),
        ([0.9370], 0.0013, "no"),
        ([0.9399], None, "no"),
        # As accurate as each other by chance: what one run says, of two.
        ([0.9410, 0.9410], None, "mean"),
        ([0.9390, 0.9390], 0.0013, "within noise"),
        ([0.9384, 0.9384], 0.0013, "no"),
        ([0.9399, 0.9399], None, "no"),
    ],
)
def test_verdict_is_no_stronger_than_the_data(accuracies: list[float], known_sd: float | None, verdict: str) -> None:
    assert target_verdict(accuracies, 0.94, known_sd) == verdict


def test_confirmed_is_wrong_at_most_one_time_in_twenty() -> None:
    rng = np.random.default_rng(0)
    # The mean exactly at the target: every "confirmed" is a false alarm.
    confirmed = [target_verdict(list(0.94 + 0.0013 * rng.normal(size=10)), 0.94) == "confirmed" for _ in range(2000)]
    assert 0.035 < np.mean(confirmed) < 0.065
