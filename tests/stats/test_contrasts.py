from typing import Any

import numpy as np
import pytest
from scipy import stats

from airjax.stats.contrasts import compare_settings, find_speedups

pytest.importorskip("statsmodels", reason="statsmodels is not installed (pip install '.[report]')")


def samples(*means: float) -> list[np.ndarray]:
    return [mean + np.array([-1.0, 0.0, 1.0]) for mean in means]


@pytest.mark.parametrize(
    ("count", "pairs"),
    [(3, [(0, 1), (0, 2), (1, 2)]), (5, [(0, 1), (0, 2), (0, 3), (0, 4)])],
)
def test_few_settings_are_compared_in_pairs_and_many_with_the_first(count: int, pairs: list[tuple[int, int]]) -> None:
    found = compare_settings(samples(*range(count)), [0] * count)
    assert [(contrast.first, contrast.second) for contrast in found] == pairs


def test_settings_on_other_images_or_of_one_network_are_not_compared() -> None:
    found = compare_settings([*samples(1, 2, 3, 4), np.array([5.0])], [0, 1, 0, 1, 0])
    assert [(contrast.first, contrast.second) for contrast in found] == [(0, 2), (1, 3)]


def test_differences_and_adjusted_p_values() -> None:
    a, b, c = samples(50, 52, 60)
    found = compare_settings([a, b, c], [0, 0, 0])
    assert [contrast.welch.difference for contrast in found] == pytest.approx([2, 10, 8])
    p = [stats.ttest_ind(y, x, equal_var=False).pvalue for x, y in ((a, b), (a, c), (b, c))]
    assert [contrast.welch.p for contrast in found] == pytest.approx(p)
    # Holm: the smallest times three, the next times two, the largest as it is.
    assert [contrast.p for contrast in found] == pytest.approx([p[0], 3 * p[1], 2 * p[2]])


def test_networks_still_to_be_trained() -> None:
    found = compare_settings(samples(50, 51, 51, 60), [0, 0, 0, 0])
    by_pair = {(contrast.first, contrast.second): contrast for contrast in found}
    # 2 (sd (z97.5 + z90) / difference)^2 = 21.01, which the t distribution raises by a run.
    assert (by_pair[0, 1].runs_needed, by_pair[0, 1].runs_missing) == (23, 20)
    assert (by_pair[1, 2].runs_needed, by_pair[1, 2].runs_missing) == (None, None)
    assert by_pair[0, 3].runs_missing == 0


def test_settings_without_spread_are_not_told_apart() -> None:
    a, b = np.full(3, 94.1), np.full(3, 94.2)
    (contrast,) = compare_settings([a, b], [0, 0])
    assert (contrast.p, contrast.runs_needed, contrast.runs_missing) == (1.0, 2, 0)


def ladder(errors: tuple[float, ...], flip: str, **rest: float) -> tuple[list[dict[str, Any]], list[Any]]:
    epochs = (10.0, 20.0, 40.0, 80.0)[: len(errors)]
    return [{"epochs": e, "flip": flip} | rest for e in epochs], list(errors)


# Jordan 2024, Table 6: no cutout, no TTA.
RANDOM, ALTERNATING = (6.9012, 6.2554, 5.9867, 5.8831), (6.7202, 6.1348, 5.9271, 5.8372)


def test_speedups_of_the_paper_among_other_settings() -> None:
    others = ladder(RANDOM, "random", cutout=1)
    parts = ladder(RANDOM, "random"), ladder(ALTERNATING, "alternating"), others
    recipes, errors = ([one for part in parts for one in part[column]] for column in (0, 1))
    (found,) = find_speedups(recipes, errors)
    assert [step.epochs for step in found] == [10, 20, 40, 80]
    assert [100 * step.speedup for step in found] == pytest.approx((15.0, 27.1, 38.2, 101.1), rel=0.005)
    assert (found[0].random_error, found[0].alternating_error) == (6.9012, 6.7202)


@pytest.mark.parametrize("errors", [RANDOM[:3], RANDOM[::-1]])
def test_ladders_without_a_curve_are_left_out(errors: tuple[float, ...]) -> None:
    recipes, values = (a + b for a, b in zip(ladder(errors, "random"), ladder(ALTERNATING, "alternating"), strict=True))
    assert find_speedups(recipes, values) == []
