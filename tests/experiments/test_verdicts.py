"""Verdicts follow from an interval, the paper's number and a margin."""

import math

import pytest

from experiments.verdict import judge_direction, judge_exact, judge_value, widen


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ((93.97, 94.03), "agrees"),  # within the margin, and holds the paper's value
        ((94.01, 94.04), "agrees"),  # within the margin, though it leaves the paper's value out
        ((93.95, 94.05), "agrees"),  # the margin itself counts
        ((93.94, 94.02), "not resolved at this n"),
        ((93.0, 95.0), "not resolved at this n"),
        ((94.02, 94.20), "differs"),
        ((92.0, 93.0), "differs"),
        (None, "not resolved at this n"),
    ],
)
def test_a_value_agrees_within_a_margin(interval: tuple[float, float] | None, verdict: str) -> None:
    assert judge_value(interval, 94.0, 0.05) == verdict


@pytest.mark.parametrize("margin", [0.0, -1.0, math.nan])
def test_a_margin_has_to_be_positive(margin: float) -> None:
    with pytest.raises(ValueError, match="the margin is"):
        judge_value((1.0, 2.0), 1.5, margin)


@pytest.mark.parametrize(
    ("interval", "paper", "verdict"),
    [
        ((0.1, 0.5), 0.2, "agrees"),
        ((0.1, 0.5), -0.2, "differs"),
        ((-0.5, -0.1), 0.2, "differs"),
        ((-0.5, -0.1), -0.2, "agrees"),
        ((-0.1, 0.5), 0.2, "not resolved at this n"),
        ((0.0, 0.5), 0.2, "not resolved at this n"),
        ((0.1, math.inf), 0.2, "agrees"),
        (None, 0.2, "not resolved at this n"),
    ],
)
def test_a_direction_agrees_when_the_whole_interval_has_the_papers_sign(
    interval: tuple[float, float] | None, paper: float, verdict: str
) -> None:
    assert judge_direction(interval, paper) == verdict


@pytest.mark.parametrize("paper", [0.0, math.nan])
def test_no_effect_has_no_direction(paper: float) -> None:
    with pytest.raises(ValueError, match="no sign"):
        judge_direction((0.1, 0.2), paper)


def test_an_interval_the_wrong_way_round_is_refused() -> None:
    with pytest.raises(ValueError, match="not in order"):
        judge_value((2.0, 1.0), 1.5, 0.1)
    with pytest.raises(ValueError, match="not in order"):
        judge_direction((2.0, 1.0), 1.5)


def test_exact_numbers_agree_to_within_rounding() -> None:
    assert judge_exact(24, 24) == "agrees"
    assert judge_exact(24.001, 24) == "differs"
    assert judge_exact(24.001, 24, 0.01) == "agrees"


def test_an_interval_is_widened_about_our_number_by_the_papers_chance() -> None:
    assert widen((93.9, 94.2), 94.0, 30, 10) == pytest.approx((93.8, 94.4))  # by the square root of 1 + 3
    assert widen((93.9, 94.2), 94.0, 30, None) == (93.9, 94.2)
    assert widen((0.5, math.inf), 1.0, 30, 10) == (0.0, math.inf)
    assert widen(None, 94.0, 1, 10) is None
