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
        low, high = np.percentile(find_crossing(points, 50.0, None, trial, 500).resampled, (2.5, 97.5))
        covered += low <= 10.0 <= high
        widths.append(math.log(high / low))
    assert 0.92 <= covered / TRIALS <= 0.98  # of 95%
    # 42 networks: a standard error of 1.5 / sqrt(42) points, of a slope of 20 points.
    assert np.mean(widths) == pytest.approx(2 * 1.96 * 1.5 / math.sqrt(42) / 20, rel=0.1)


def alike(generator: np.random.Generator, lengths: int, seeds: int) -> np.ndarray:
    """Deviations [lengths, seeds] of 1.5 points, of which four fifths of the variance are a seed's own."""
    own, other = generator.normal(size=seeds), generator.normal(size=(lengths, seeds))
    return 1.5 * (math.sqrt(0.8) * own + math.sqrt(0.2) * other)


def test_networks_of_one_seed_count_as_what_they_are() -> None:
    generator = np.random.default_rng(0)
    seeds = {epochs: np.arange(14) for epochs in (8.0, 10.0, 12.0)}
    covered = {"by seeds": 0, "each for itself": 0}
    for trial in range(TRIALS):
        points = {epochs: line(epochs) + own for epochs, own in zip(seeds, alike(generator, 3, 14), strict=True)}
        for name, known in (("by seeds", seeds), ("each for itself", None)):
            low, high = np.percentile(find_crossing(points, 50.0, known, trial, 300).resampled, (2.5, 97.5))
            covered[name] += low <= 10.0 <= high
    assert 0.91 <= covered["by seeds"] / TRIALS <= 0.98  # of 95%
    assert covered["each for itself"] / TRIALS < 0.85


def test_two_methods_of_the_same_seeds_have_these_resampled_together() -> None:
    generator = np.random.default_rng(0)
    lengths = (8.0, 10.0, 12.0)
    rounds = alike(generator, 3, 4), alike(generator, 3, 10)
    seeds = {epochs: np.r_[np.arange(1000, 1004), np.arange(2000, 2010)] for epochs in lengths}
    own = {epochs: np.r_[rounds[0][place], rounds[1][place]] for place, epochs in enumerate(lengths)}
    first, second = (
        find_crossing({epochs: line(epochs, at) + own[epochs] for epochs in lengths}, 50.0, seeds) for at in (10.0, 9.0)
    )
    ratio = first.resampled / second.resampled
    # What is theirs together moves both alike; of two that are independent it would be 1.4 times as much.
    assert np.std(ratio) < 0.5 * np.std(first.resampled / 9)
    # In another order, and with rounds at lengths of their own, they are the same seeds.
    turned = find_crossing(
        {epochs: (line(epochs) + own[epochs])[::-1] for epochs in lengths},
        50.0,
        {epochs: seeds[epochs][::-1] for epochs in lengths},
    )
    np.testing.assert_allclose(turned.resampled, first.resampled)


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
        crossing = find_crossing(close, plan.target, None, trial, 500)
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
