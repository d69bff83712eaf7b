"""What the fields of recipes mean, in the words of their parts' source."""

import ast
import functools
import inspect
import textwrap
from typing import Any

from airjax.recipes.places import SWITCHES, fields_of, part_classes
from airjax.recipes.recipe import Recipe


@functools.cache
def describe_fields(recipe: Recipe) -> dict[str, str]:
    """Return the text under every field of a recipe, by the field's own name; of a switch, that of its part."""
    texts: dict[str, str] = {}
    for kind in (Recipe, *part_classes(recipe)):
        texts |= _texts_of(kind)
    switches = {name: inspect.getdoc(switch.part) or "" for name, switch in SWITCHES.items()}
    return {name: " ".join((switches | texts)[name].split()) for name in fields_of(recipe)}


def _texts_of(kind: type[Any]) -> dict[str, str]:
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(definition, ast.ClassDef)
    texts = {}
    for field, text in zip(definition.body, definition.body[1:], strict=False):
        named = isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        written = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
        if named and written:
            texts[field.target.id] = str(text.value.value)  # pyright: ignore[reportAttributeAccessIssue]
    return texts
