import numpy as np
import pytest
from scipy import stats as scipy_stats

from airjax.stats import mean_interval, target_verdict


def test_interval_is_students() -> None:
    values = [0.94, 0.941, 0.939, 0.9405, 0.9402]
    expected = scipy_stats.t.interval(0.95, 4, np.mean(values), scipy_stats.sem(values))
    assert mean_interval(values) == pytest.approx(expected)
    assert mean_interval([0.94]) is None


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
    ],
)
def test_verdict_is_no_stronger_than_the_data(accuracies: list[float], known_sd: float | None, verdict: str) -> None:
    assert target_verdict(accuracies, 0.94, known_sd) == verdict


def test_confirmed_is_wrong_at_most_one_time_in_twenty() -> None:
    rng = np.random.default_rng(0)
    # The mean exactly at the target: every "confirmed" is a false alarm.
    confirmed = [target_verdict(list(0.94 + 0.0013 * rng.normal(size=10)), 0.94) == "confirmed" for _ in range(2000)]
    assert 0.035 < np.mean(confirmed) < 0.065
