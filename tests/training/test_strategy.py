from typing import Any

import pytest

from airjax.recipes.published import RECIPES
from airjax.training import strategy
from airjax.training.environment import describe
from airjax.training.members import STRATEGIES
from airjax.training.strategy import choose_strategy


def row(name: str, members: int, rate: float, recipe: str = "mini", device: str | None = None) -> dict[str, Any]:
    device = device or describe()["device"]
    return {"device": device, "recipe": recipe, "strategy": name, "members": members, "networks_per_hour": rate}


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    monkeypatch.setattr(strategy, "_measured", lambda: rows)
    return rows


def test_the_fastest_measured_strategy_is_chosen(measured: list[dict[str, Any]]) -> None:
    measured += [row("sequential", 1, 500), row("vmap", 4, 700), row("vmap", 16, 900), row("map", 4, 100)]
    assert choose_strategy(RECIPES["mini"], 100) == ("vmap", 16)
    assert choose_strategy(RECIPES["mini"], 5) == ("vmap", 4)


def test_one_after_another_unless_a_group_is_worth_it(measured: list[dict[str, Any]]) -> None:
    measured += [row("sequential", 1, 500), row("map", 1, 700), row("map", 4, 540), row("map", 8, 560)]
    assert choose_strategy(RECIPES["mini"], 1) == ("sequential", None)
    measured.remove(row("map", 1, 700))
    assert choose_strategy(RECIPES["mini"], 7) == ("sequential", None)
    assert choose_strategy(RECIPES["mini"], 8) == ("map", 8)


def test_other_devices_do_not_count(measured: list[dict[str, Any]]) -> None:
    measured += [row("vmap", 4, 700, device="something else")]
    assert choose_strategy(RECIPES["mini"], 100) == ("sequential", None)


def test_the_recipe_nearest_in_work_stands_in(measured: list[dict[str, Any]]) -> None:
    measured += [row("vmap", 4, 700), row("sequential", 1, 2, "94"), row("vmap-matmul", 2, 3, "94")]
    assert choose_strategy(RECIPES["95"], 8) == ("vmap-matmul", 2)
    assert choose_strategy(RECIPES["tiny"], 8) == ("vmap", 4)


def test_the_table_that_is_shipped_can_be_read() -> None:
    for entry in strategy._measured():
        assert entry["strategy"] in STRATEGIES
        assert entry["recipe"] in RECIPES
        assert entry["networks_per_hour"] > 0
