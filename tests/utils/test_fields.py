"""Every field of an input has one type; the types are those of the annotations."""

import dataclasses
from typing import Any, get_args

import numpy as np
import pytest

from airjax.recipes.crops import Crops
from airjax.recipes.places import fields_of
from airjax.recipes.published import RECIPES
from airjax.utils.fields import check_value, describe_type

CROPS = {field.name for field in dataclasses.fields(Crops)}
ON_TREES = "imagenet-resnet18-16"  # whose crops and resolution do not go with the optional parts of the others
FIELDS = [(recipe, name) for recipe in ("94", "94-muon", "resnet18") for name in fields_of(RECIPES[recipe])]
FIELDS = [(recipe, name) for recipe, name in FIELDS if name not in CROPS] + [(ON_TREES, name) for name in sorted(CROPS)]
WRONG: dict[Any, list[Any]] = {
    bool: ["false", "no", "off", 0, 1, 1.0, None, [True]],
    int: ["2", True, 2.0, None, np.float64(2), float("nan"), [2]],
    tuple[int, ...]: [24, "24", (24.5,), (True,), None],
    float: ["0.5", True, False, None, float("nan"), float("inf"), 10**400, 1j, [0.5], np.bool_(True)],
}


def wrong_values(kind: Any) -> list[Any]:
    """Values that no field of that annotation takes."""
    if kind in WRONG:
        return WRONG[kind]
    if str(kind) == "float | None":
        return [value for value in WRONG[float] if value is not None] + ["none"]
    if kind == tuple[float, ...]:
        return [0.5, "0.5", (True,), None]
    return ["other", 0, True, None, [get_args(kind)[0]]]


@pytest.mark.parametrize(("recipe", "name"), FIELDS)
def test_a_field_of_the_recipe_refuses_other_types_and_names_itself_the_value_and_what_is_allowed(
    recipe: str, name: str
) -> None:
    whole = RECIPES[recipe]
    if recipe != ON_TREES:
        whole = whole.override(lookahead=True, proxy=True, curriculum=True, tail=True)
    kind = fields_of(whole)[name].type
    for value in wrong_values(kind):
        with pytest.raises(ValueError, match="it must be") as caught:
            whole.override(**{name: value})
        start = f"{name.replace('_', '-')} is {value!r}, but it must be {describe_type(kind)}"
        assert str(caught.value).startswith(start)


def test_numbers_that_mean_the_same_are_the_same_recipe() -> None:
    written = RECIPES["mini"].override(
        epochs=2,
        batch_size=np.int64(50),
        momentum=np.float64(0.5),
        lookahead=np.bool_(False),
        widths=[8] * 3,
    )
    plain = RECIPES["mini"].override(epochs=2.0, batch_size=50, momentum=0.5, lookahead=False, widths=(8, 8, 8))
    assert written == plain
    assert hash(written) == hash(plain)
    for name, value in written.flat().items():
        assert type(value) is type(plain.value_of(name)), name
    assert type(written.epochs) is float


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        ("no", bool, "x is 'no', but it must be true or false"),
        (2.0, int, "x is 2.0, but it must be a whole number"),
        ("a", float, "x is 'a', but it must be a number"),
        ("a", float | None, "x is 'a', but it must be None or a number"),
        (8, tuple[int, ...], "x is 8, but it must be a list of numbers, each a whole number"),
        (8, tuple[int, int], "x is 8, but it must be a list of 2 numbers, each a whole number"),
    ],
)
def test_messages_say_what_is_allowed(value: Any, kind: Any, message: str) -> None:
    with pytest.raises(ValueError, match="it must be") as caught:
        check_value("x", value, kind)
    assert str(caught.value) == message
