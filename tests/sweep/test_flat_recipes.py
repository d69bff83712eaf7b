from typing import Any

import pytest

from airjax.recipes.published import RECIPES
from airjax.sweep.store import flatten_fields

OLD = {"epochs": 2.0, "flip": "alternating", "lookahead": True, "widths": [8, 8, 8]}


@pytest.mark.parametrize(
    ("recipe", "flat"),
    [
        (OLD, OLD),
        (
            {"epochs": 2.0, "augmentation": {"kind": "augmentation", "flip": "random"}, "averaging": None},
            {"epochs": 2.0, "augmentation": "augmentation", "flip": "random", "averaging": None},
        ),
        (
            {"network": {"kind": "airbench", "whitening": {"kind": "whitening", "whiten_examples": 100}}},
            {"network": "airbench", "whitening": "whitening", "whiten_examples": 100},
        ),
    ],
)
def test_fields_of_parts_stand_beside_those_of_the_recipe(recipe: dict[str, Any], flat: dict[str, Any]) -> None:
    assert flatten_fields(recipe) == flat


def test_a_published_recipe_has_what_reports_ask_for() -> None:
    assert {"epochs", "flip", "train_examples"} <= set(RECIPES["tiny"].flat())
