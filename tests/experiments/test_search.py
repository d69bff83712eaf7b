"""The search for epochs to a target, on accuracies whose curve is known."""

import math

import numpy as np
import pytest

from experiments.ladder.analyse import SEARCHES
from experiments.search import bracket, find_crossing, isotonic, next_lengths

TRIALS = 1500


def line(epochs: float, at: float = 10.0, slope: float = 20.0) -> float:
    """An accuracy that passes 50% at a number of epochs."""
    return 50 + slope * math.log(epochs / at)


def test_values_that_fall_are_pooled_by_their_weights() -> None:
    assert isotonic([1.0, 4.0, 2.0, 5.0], [1, 1, 3, 1]) == pytest.approx([1.0, 2.5, 2.5, 5.0])


@pytest.mark.parametrize(
    ("target", "epochs"), [(30.0, 4.0), (50.0, 8.0), (40.0, math.sqrt(32)), (20.0, 2.0), (71.0, 32.0)]
)
def test_a_bracket_is_interpolated_in_the_logarithm_of_the_epochs(target: float, epochs: float) -> None:
    points = {4.0: np.array([29.0, 31.0]), 8.0: np.array([50.0]), 16.0: np.array([70.0])}
    assert bracket(points, target) == pytest.approx(epochs)


def test_lengths_are_multiples_of_a_step_and_none_is_there_twice() -> None:
    assert next_lengths(7.03, (0.8, 1.0, 1.25)) == (5.6, 7.05, 8.8)
    assert next_lengths(0.06, (0.1, 1.0, 2.0)) == (0.05, 0.1)


def test_a_crossing_is_where_the_line_passes_the_target() -> None:
    points = {epochs: np.array([line(epochs) - 1, line(epochs) + 1]) for epochs in (8.0, 10.0, 12.0)}
    found = find_crossing(points, 50.0)
    assert found.epochs == pytest.approx(10.0)
    assert found.networks == 6


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    covered, widths = 0, []
    for trial in range(TRIALS):
        points = {epochs: line(epochs) + 1.5 * generator.normal(size=14) for epochs in (8.0, 10.0, 12.0)}
        low, high = np.percentile(find_crossing(points, 50.0, trial, 500).resampled, (2.5, 97.5))
        covered += low <= 10.0 <= high
        widths.append(math.log(high / low))
    assert 0.92 <= covered / TRIALS <= 0.98  # of 95%
    # 42 networks: a standard error of 1.5 / sqrt(42) points, of a slope of 20 points.
    assert np.mean(widths) == pytest.approx(2 * 1.96 * 1.5 / math.sqrt(42) / 20, rel=0.1)


def test_the_whole_search_finds_the_epochs_of_a_curve_like_minis() -> None:
    generator = np.random.default_rng(0)
    plan = SEARCHES["cpu"]

    def train(lengths: tuple[float, ...], networks: int) -> dict[float, np.ndarray]:
        # After 4, 8, 16 and 32 epochs 42.6, 55.7, 62.9 and 67.0%: nearly the pilot's.
        return {e: 72 - 29.4 * (4 / e) ** 0.85 + 1.5 * generator.normal(size=networks) for e in lengths}

    truth = 4 * (29.4 / (72 - plan.target)) ** (1 / 0.85)
    found, covered = [], 0
    for trial in range(TRIALS):
        estimate = bracket(train(plan.coarse, plan.coarse_networks), plan.target)
        close: dict[float, np.ndarray] = {}
        for one in plan.rounds:
            for epochs, values in train(next_lengths(estimate, one.factors), one.networks).items():
                close[epochs] = np.concatenate([close.get(epochs, np.zeros(0)), values])
            estimate = find_crossing(close, plan.target, resamples=1).epochs or estimate
        crossing = find_crossing(close, plan.target, trial, 500)
        assert crossing.epochs is not None
        found.append(crossing.epochs)
        low, high = np.percentile(crossing.resampled, (2.5, 97.5))
        covered += low <= truth <= high
    assert np.mean(found) == pytest.approx(truth, rel=0.01)
    assert np.std(found) < 0.025 * truth
    assert covered / TRIALS > 0.9  # of 95%: the line through a curve is off by a part of the interval


def test_accuracies_that_do_not_rise_have_no_crossing() -> None:
    points = {epochs: np.full(3, 50 - epochs) for epochs in (8.0, 10.0, 12.0)}
    found = find_crossing(points, 50.0)
    assert found.epochs is None
    assert np.isnan(found.resampled).all()


def test_a_target_far_beyond_what_was_trained_has_no_crossing() -> None:
    points = {epochs: np.array([line(epochs), line(epochs)]) for epochs in (8.0, 10.0, 12.0)}
    assert find_crossing(points, line(23.0)).epochs == pytest.approx(23.0)  # less than twice the longest
    assert find_crossing(points, line(25.0)).epochs is None


def test_one_length_is_no_line() -> None:
    with pytest.raises(ValueError, match="2 lengths"):
        find_crossing({8.0: np.ones(3)}, 50.0)
    with pytest.raises(ValueError, match="no spread"):
        find_crossing({8.0: np.ones(1), 9.0: np.ones(1)}, 50.0)
