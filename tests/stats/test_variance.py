import numpy as np
import pytest

from airjax.stats.variance import (
    HALVES,
    calibration_error,
    count_votes,
    disagreement,
    ensemble_accuracy,
    half_votes,
    reliability,
    run_interval,
    run_variance,
    vote_disagreement,
    vote_interval,
)

RUNS, EXAMPLES = 400, 2000


def test_independent_errors_are_all_chance_of_the_test_set() -> None:
    generator = np.random.default_rng(0)
    rates = generator.uniform(0.7, 1.0, EXAMPLES)
    found = run_variance(generator.random((RUNS, EXAMPLES)) < rates)
    assert found.test_set == pytest.approx((rates * (1 - rates)).sum() / EXAMPLES**2, rel=0.2)
    assert abs(found.distribution) < 3 * found.standard_error


def test_what_a_run_has_for_all_examples_is_found() -> None:
    generator = np.random.default_rng(1)
    quality = generator.normal(0.8, 0.02, (RUNS, 1))
    found = run_variance(generator.random((RUNS, EXAMPLES)) < quality)
    assert found.distribution_sd == pytest.approx(quality.std(ddof=1), rel=0.1)
    assert found.test_set > found.distribution


def test_the_estimate_is_unbiased_and_may_be_negative() -> None:
    generator = np.random.default_rng(2)
    found = [run_variance(generator.random((10, 50)) < 0.8) for _ in range(2000)]
    values = np.array([variance.distribution for variance in found])
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(len(values))
    assert (values < 0).any()
    assert all(variance.distribution_sd >= 0 for variance in found)


@pytest.mark.parametrize("runs", [3, 10, 100])
def test_the_interval_of_the_distribution_s_variance_covers_it(runs: int) -> None:
    generator = np.random.default_rng(runs)
    covered = 0
    for _ in range(500):
        quality = generator.normal(0.8, 0.02, (runs, 1))
        low, high = run_variance(generator.random((runs, 400)) < quality).distribution_interval
        covered += low <= 0.02**2 <= high
    assert covered == pytest.approx(475, abs=20)


def test_variance_by_hand() -> None:
    # Means 1, 1/2: variance 1/8. Examples: 0 and 1/2. N = 2: 2 (1/8 - (1/2) / 4) = 0.
    found = run_variance(np.array([[True, True], [True, False]]))
    assert found.test_set == pytest.approx(1 / 8)
    assert found.distribution == pytest.approx(0)


def votes(generator: np.random.Generator, law: np.ndarray, runs: int) -> np.ndarray:
    """[runs,N]: every run draws the class of every example from law [N,K]."""
    return (generator.random((runs, len(law), 1)) > law.cumsum(1)[:, :-1]).sum(2)


@pytest.mark.parametrize("num_bins", [None, 10, 15, 100])
def test_labels_drawn_like_the_votes_are_calibrated(num_bins: int | None) -> None:
    generator = np.random.default_rng(3)
    law = generator.dirichlet(np.full(10, 0.3), 4000)
    predictions, labels = votes(generator, law, 200), votes(generator, law, 1)[0]
    calibrated = calibration_error(predictions, labels, num_bins)
    overconfident = calibration_error(np.tile(law.argmax(1), (200, 1)), labels, num_bins)
    # Some votes differ from their law by chance, and narrow bins average less of it away.
    assert calibrated < (0.06 if num_bins in (10, 15) else 0.13)
    assert overconfident > 1


def test_calibration_by_hand() -> None:
    # Two runs, two examples, two classes. Votes: (1, 0) and (1/2, 1/2); labels 1 and 0.
    predictions, labels = np.array([[0, 0], [0, 1]]), np.array([1, 0])
    # Bins [0, 1/2) and [1/2, 1]: 0 votes, 1 right; votes 1 + 1/2 + 1/2, 1 right. (1 + 1) / 2.
    assert calibration_error(predictions, labels, 2, classes=2) == pytest.approx(1.0)
    # By count each share has a bin of its own: |1 - 0|, |1 - 1|, |0 - 1|.
    assert calibration_error(predictions, labels, None, classes=2) == pytest.approx(1.0)


def test_disagreement_by_hand() -> None:
    # Example 0: all agree. Example 1: of three pairs two differ.
    assert disagreement(np.array([[1, 1], [1, 1], [1, 2]])) == pytest.approx(1 / 3)


def test_reliability_by_hand() -> None:
    # Three runs, two examples, three classes: votes of 2, 1, 0 and 0, 3, 0; labels 0 and 1.
    predictions, labels = np.array([[0, 1], [0, 1], [1, 1]]), np.array([0, 1])
    counts = count_votes(predictions, classes=3)
    np.testing.assert_array_equal(counts, [[2, 1, 0], [0, 3, 0]])
    found = reliability(counts, labels, 2)
    np.testing.assert_array_equal(found.pairs, [4, 2])
    np.testing.assert_allclose(found.votes, [1 / 3, 5 / 3])
    np.testing.assert_array_equal(found.right, [0, 2])
    assert found.error == pytest.approx((1 / 3 + 1 / 3) / 2)


def test_halves_are_votes_of_half_the_runs_without_repetition() -> None:
    predictions = np.random.default_rng(6).integers(0, 10, (7, 23)).astype(np.uint8)
    halves = half_votes(predictions)
    assert halves.shape == (HALVES, 23, 10)
    np.testing.assert_array_equal(halves.sum(2), 3)
    assert (halves <= count_votes(predictions)).all()
    assert len(np.unique(halves, axis=0)) > 20
    np.testing.assert_array_equal(half_votes(predictions, columns=5), halves)


@pytest.mark.parametrize("runs", [20, 41])
def test_intervals_of_votes_cover_the_truth_about_as_often_as_they_say(runs: int) -> None:
    # What differs between the runs is how often each sees class 1: that of all images, rather than of one.
    generator = np.random.default_rng(7)
    rates = generator.beta(4, 4, 100_000)
    truth = 2 * rates.mean() * (1 - rates.mean())
    covered = 0
    for seed in range(100):
        drawn = generator.choice(rates, (runs, 1))
        predictions = (generator.random((runs, 400)) < drawn).astype(np.uint8)
        halves = half_votes(predictions, 2, seed)
        low, high = vote_interval(vote_disagreement, count_votes(predictions, 2), halves, 1.0)
        covered += low <= truth <= high
    assert covered >= 85


def test_an_ensemble_is_better_than_its_members() -> None:
    generator = np.random.default_rng(4)
    labels = generator.integers(0, 10, 500)
    logits = generator.normal(size=(20, 500, 10)) + 1.5 * (labels[:, None] == np.arange(10))
    single = np.mean([ensemble_accuracy(one[None], labels) for one in logits])
    assert ensemble_accuracy(logits, labels) > single + 0.2


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    generator = np.random.default_rng(5)
    covered = 0
    for seed in range(100):
        low, high = run_interval(lambda c: float(c.mean()), generator.random((50, 20)) < 0.7, seed)
        covered += low <= 0.7 <= high
    assert covered >= 85


@pytest.mark.parametrize("shape", [(1, 10), (10, 1), (10,)])
def test_too_little_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least 2 runs"):
        run_variance(np.ones(shape, bool))


def test_a_class_that_is_not_told_of_is_an_error() -> None:
    predictions = np.array([[12, 3], [12, 4]])
    labels = np.array([12, 3])
    for count in (count_votes, half_votes):
        with pytest.raises(ValueError, match=r"a prediction is class 12 of 0 to 9: say how many classes there are"):
            count(predictions)
    with pytest.raises(ValueError, match="a prediction is class 12"):
        calibration_error(predictions, labels)
    with pytest.raises(ValueError, match="a label is class 12"):
        reliability(count_votes(predictions % 10), labels)
    assert 0 <= calibration_error(predictions, labels, classes=13) <= 2
    assert (half_votes(predictions, 13).sum(2) == 1).all()


def test_an_interval_of_votes_ends_where_the_statistic_does() -> None:
    halves = np.array([[[2, 0], [2, 0]], [[1, 1], [1, 1]]])
    votes = np.array([[3, 1], [1, 3]])
    assert vote_interval(vote_disagreement, votes, halves, 1.0) == (0.0, 1.0)
