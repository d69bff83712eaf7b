"""Lines of a table: values are compared at the paper's scale alone, effects by their sign at a CPU's."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from airjax.utils.records import dump_json
from experiments.rows import bootstrap_p, difference_row, effect_row, exact_row, percentiles, row_from, value_row

CLOSE = np.array([93.99, 94.0, 94.01])


def test_a_mean_accuracy_is_compared_at_the_papers_scale_alone() -> None:
    row = value_row("94", CLOSE, 94.0, "paper")
    # Student's interval of three values: 4.3027 x 0.01 / sqrt(3) about the mean.
    assert row.ours == pytest.approx(94.0)
    assert row.interval == pytest.approx((93.97516, 94.02484), abs=1e-5)
    assert (row.n, row.paper, row.verdict) == (3, 94.0, "agrees")
    assert value_row("mini", CLOSE, 94.0, "cpu").verdict == "not comparable at this scale"
    assert value_row("mini", CLOSE, None, "paper").verdict == "not comparable at this scale"
    assert value_row("one", CLOSE[:1], 94.0, "paper").verdict == "not resolved at this n"


def test_a_difference_is_compared_by_value_or_by_sign() -> None:
    first, second = CLOSE, CLOSE + 0.3
    row = difference_row("cell", first, second, 0.1, "cpu")
    assert row.ours == pytest.approx(0.3)
    assert row.p is not None
    assert row.p < 0.001
    assert row.verdict == "agrees"  # both are above zero
    assert difference_row("cell", first, second, -0.1, "cpu").verdict == "differs"
    assert difference_row("cell", first, second, 0.1, "paper").verdict == "differs"  # by 0.2 points
    assert difference_row("cell", first, second, 0.3, "paper").verdict == "agrees"
    assert difference_row("cell", first, second[:1], 0.3, "cpu").verdict == "not resolved at this n"


def test_an_effects_interval_and_p_are_those_of_its_bootstrap() -> None:
    resampled = np.arange(-10.0, 990.0)  # of 1,000 values 10 are below zero, and one is zero
    assert percentiles(resampled) == pytest.approx((14.975, 964.025))
    assert bootstrap_p(resampled) == pytest.approx(2 * (1 + 11) / 1001)
    row = effect_row("cell", 400.0, resampled, 7, 5.0, "cpu", 1.0)
    assert (row.verdict, row.n, row.interval) == ("agrees", 7, percentiles(resampled))


def test_all_resamples_at_the_largest_effect_are_evidence() -> None:
    row = effect_row("cell", 1000.0, np.full(9, 1000.0), 7, 5.0, "cpu", 1.0, "%", largest=1000.0)
    assert (row.verdict, row.interval, row.p) == ("agrees", (1000, 1000), pytest.approx(0.2))
    assert row.note == "1,000% stands for any larger effect, and for no end"
    assert effect_row("cell", 9.0, np.full(9, 9.0), 7, 5.0, "cpu", 1.0, largest=1000.0).interval is None
    assert effect_row("cell", 9.0, np.arange(9.0), 7, 5.0, "cpu", 1.0, "%", largest=1000.0).note == ""
    unknown = effect_row("cell", math.nan, np.arange(1.0, 9.0), 7, 5.0, "cpu", 1.0)
    assert (unknown.interval, unknown.verdict) == (None, "not resolved at this n")


def test_a_sign_that_is_chance_in_the_paper_is_none_to_agree_with() -> None:
    first, second = CLOSE, CLOSE + 0.3
    for paper in (0.01, -0.01):
        row = difference_row("cell", first, second, paper, "cpu", claimed=False)
        assert row.verdict == "not resolved in the paper"
        assert row.p == difference_row("cell", first, second, paper, "cpu").p
    spread = 0.001 * np.array([-1.0, 0.0, 1.0, 0.0])
    assert difference_row("cell", 94 + spread, 94 - 0.01 + spread, 0.01, "paper", claimed=False).verdict == "agrees"
    assert effect_row("cell", 5.0, np.arange(1.0, 9.0), 7, 0.1, "cpu", 1.0, claimed=False).verdict == (
        "not resolved in the paper"
    )


def test_the_same_networks_twice_are_compared_in_pairs() -> None:
    generator = np.random.default_rng(0)
    first = generator.normal(94, 0.5, 20)
    second = first + generator.normal(0.1, 0.02, 20)
    row = difference_row("cell", first, second, 1.0, "cpu", paired=True)
    theirs = stats.ttest_rel(second, first)
    assert (row.interval, row.p) == (pytest.approx(tuple(theirs.confidence_interval())), pytest.approx(theirs.pvalue))
    assert row.verdict == "agrees"
    assert difference_row("cell", first, second, 1.0, "cpu").verdict == "not resolved at this n"
    assert difference_row("cell", first, first + 0.5, 1.0, "cpu", paired=True).verdict == "not resolved at this n"


def test_a_bootstrap_that_often_fails_has_no_interval() -> None:
    resampled = np.arange(100.0)
    resampled[:5] = np.nan
    assert percentiles(resampled) is not None
    resampled[5] = np.nan
    assert percentiles(resampled) is None
    assert bootstrap_p(resampled) is None
    assert effect_row("cell", 1.0, resampled, 2, 5.0, "cpu", 1.0).verdict == "not resolved at this n"


def test_an_effect_smaller_than_the_margin_agrees_by_its_sign_too() -> None:
    spread = 0.01 * np.array([-1.0, 0.0, 1.0, 0.0])
    none = difference_row("cell", 94 + spread, 94 + spread, 0.03, "paper")
    assert none.interval is not None
    assert none.interval[0] < 0 < none.interval[1] < 0.03  # no effect, and all of it within 0.05 of the paper's
    assert none.verdict == "not resolved at this n"
    assert difference_row("cell", 94 + spread, 94.03 + spread, 0.03, "paper").verdict == "agrees"
    assert difference_row("cell", 94 + spread, 93.98 + spread, 0.02, "paper").verdict == "differs"
    assert difference_row("cell", 94 + spread, 94.03 + spread, 0.3, "paper").verdict == "differs"  # by its value


def test_the_papers_networks_have_chance_too() -> None:
    exact = value_row("94", CLOSE, 93.97, "paper")  # at the edge of the interval
    assert exact._replace(verdict="agrees") == value_row("94", CLOSE, 93.97, "paper", margin=0.1)
    assert exact.verdict == "differs"
    known = value_row("94", CLOSE, 93.97, "paper", paper_n=3)
    assert known == exact._replace(verdict="not resolved at this n")  # what is printed is the same
    spread = 0.01 * np.array([-1.0, 0.0, 1.0, 0.0])
    pair = 94 + spread, 94.1 + spread
    assert difference_row("cell", *pair, 0.115, "paper", 0.03).verdict == "agrees"
    assert difference_row("cell", *pair, 0.115, "paper", 0.03, 4).verdict == "not resolved at this n"
    assert difference_row("cell", 94 + spread, 94.015 + spread, 0.1, "cpu").verdict == "agrees"
    # The sign of ours is not the paper's chance.
    assert difference_row("cell", 94 + spread, 94.015 + spread, 0.1, "cpu", paper_n=1).verdict == "agrees"
    resampled = np.linspace(0.9, 1.1, 101)
    assert effect_row("cell", 1.0, resampled, 8, 1.0, "paper", 0.1).verdict == "agrees"
    assert effect_row("cell", 1.0, resampled, 8, 1.0, "paper", 0.1, paper_n=8).verdict == "not resolved at this n"


@pytest.mark.parametrize("scale", ["cpu", "paper"])
def test_networks_without_spread_resolve_nothing(scale: str) -> None:
    same = np.full(3, 94.0)
    assert value_row("94", same, 94.0, "paper").verdict == "not resolved at this n"
    for first, second in ((same, same + 0.3), (same, CLOSE + 0.3), (CLOSE, same + 0.3), (same[:1], same + 0.3)):
        for paper in (0.3, -0.3, None):
            assert difference_row("cell", first, second, paper, scale).verdict == "not resolved at this n"
    for resampled, n in ((np.full(100, 5.0), 7), (np.arange(1.0, 101.0), 1)):
        for paper in (5.0, -5.0, None):
            row = effect_row("cell", 5.0, resampled, n, paper, scale, 200.0)
            assert (row.verdict, row.interval, row.p) == ("not resolved at this n", None, None)


def test_rows_survive_a_results_file() -> None:
    effect = effect_row("cell", 400.0, np.arange(1.0, 9.0), 7, 5.0, "cpu", 1.0, "%", 1)
    # JSON has no infinity.
    unlimited = effect._replace(interval=(1.0, math.inf))
    for row in (effect, unlimited, exact_row("filters", 24, 24), value_row("one", CLOSE[:1], 94.0, "paper")):
        assert row_from(json.loads(dump_json(row._asdict()))) == row
