import numpy as np
import pytest

from airjax.stats.agreement import compare_examples


def correctness(generator: np.random.Generator, rates: np.ndarray, runs: int) -> np.ndarray:
    """[runs,N] bool: every run gets example i right with probability rates[i]."""
    return generator.random((runs, len(rates))) < rates


def test_one_setting_agrees_with_itself_as_its_halves_do() -> None:
    generator = np.random.default_rng(0)
    rates = generator.uniform(0.2, 1.0, 1000)
    found = compare_examples(correctness(generator, rates, 60), correctness(generator, rates, 60))
    assert found.examples == 1000
    assert found.across == pytest.approx(found.within, rel=0.05)
    # Two shares of 30 runs each: the variance of a difference is 2 p (1 - p) / 30.
    assert found.within == pytest.approx(np.sqrt(np.mean(2 * rates * (1 - rates) / 30)), rel=0.05)
    assert found.across_correlation == pytest.approx(found.within_correlation, abs=0.02)
    assert found.p > 0.01


def test_other_examples_being_hard_is_found_at_equal_accuracy() -> None:
    generator = np.random.default_rng(1)
    rates = generator.uniform(0.2, 0.8, 1000)
    change = np.where(np.arange(1000) % 2 == 0, 0.05, -0.05)
    found = compare_examples(correctness(generator, rates, 60), correctness(generator, rates + change, 60))
    assert found.across > found.within
    assert found.p < 0.001


def test_error_rate_is_kept() -> None:
    generator = np.random.default_rng(2)
    rates = generator.uniform(0.3, 0.9, 50)
    p_values = [
        compare_examples(
            correctness(generator, rates, 10),
            correctness(generator, rates, 10),
            resamples=199,
            splits=1,  # of the yardstick, which the p-value does not use
        ).p
        for _ in range(300)
    ]
    assert 0.01 < np.mean(np.array(p_values) <= 0.05) < 0.05 + 3.1 * np.sqrt(0.05 * 0.95 / 300)


def test_runs_that_all_agree_are_compared_too() -> None:
    right = np.ones((6, 20), bool)
    found = compare_examples(right, right)
    assert (found.across, found.within, found.p) == (0.0, 0.0, 1.0)
    assert found.across_correlation == 1.0


@pytest.mark.parametrize("shape", [(3, 20), (6, 19)])
def test_too_few_runs_or_other_examples_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="need 4 runs of each over the same examples"):
        compare_examples(np.ones((6, 20), bool), np.ones(shape, bool))
