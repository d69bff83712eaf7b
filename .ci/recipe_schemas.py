"""Write the JSON schemas that follow from the code: docs/schemas/recipe.schema.json and plan.schema.json."""

import dataclasses
import json
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin

from airjax.data.labels import LABEL_SETS
from airjax.recipes.places import FieldOf, fields_of
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Recipe
from airjax.recipes.stored import ADDED, KINDS, NAMES
from airjax.recipes.texts import describe_fields
from airjax.sweep.plan import Keep, Subsets

FOLDER = Path(__file__).parents[1] / "docs" / "schemas"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
SCALARS = {bool: "boolean", int: "integer", float: "number", str: "string", NoneType: "null"}
SEEDS = {
    "type": "array",
    "items": {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    "minItems": 1,
    "uniqueItems": True,
}
COUNT = {"type": "integer", "minimum": 1}


def of_type(kind: Any) -> dict[str, Any]:
    """Return the schema of an annotated type's values."""
    if get_origin(kind) is UnionType:
        return {"anyOf": [of_type(choice) for choice in get_args(kind)]}
    if get_origin(kind) is Literal:
        return {"enum": list(get_args(kind))}
    if get_origin(kind) is tuple:
        item, *rest = get_args(kind)
        length = {} if rest == [...] else {"minItems": 1 + len(rest), "maxItems": 1 + len(rest)}
        return {"type": "array", "items": of_type(item), **length}
    return {"$ref": f"#/$defs/{NAMES[kind]}"} if dataclasses.is_dataclass(kind) else {"type": SCALARS[kind]}


def closed(properties: dict[str, Any], optional: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Return the schema of objects with these entries and no others."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def of_part(part: type[Any]) -> dict[str, Any]:
    """Return the schema of a recipe or a part as files have it: a part names its kind."""
    kind = {"kind": {"const": NAMES[part]}} if part in NAMES else {}
    return closed(kind | {one.name: of_type(one.type) for one in dataclasses.fields(part)}, ADDED)


def recipe_schema() -> dict[str, Any]:
    """Return the schema of a recipe as files have it: of parts, or flat, as version 0.1 wrote it."""
    first = {name: of_type(place.type) for name, place in fields_of(RECIPES["94"]).items() if name not in ADDED}
    return {
        "$schema": DIALECT,
        "$id": "recipe.schema.json",
        "title": "A recipe, as files have it",
        "anyOf": [{"$ref": "#/$defs/recipe"}, {"$ref": "#/$defs/recipe-0.1"}],
        "$defs": {"recipe": of_part(Recipe), "recipe-0.1": closed(first)}
        | {name: of_part(kind) for name, kind in KINDS.items()},
    }


def settable() -> dict[str, dict[str, Any]]:
    """Return the schema of every field that a plan may set, by its own name. TOML has no None: "none" stands for it."""
    kinds: dict[str, list[Any]] = {}
    texts: dict[str, str] = {}
    for recipe in RECIPES.values():
        texts |= describe_fields(recipe)
        for name, place in fields_of(recipe).items():
            for schema in choices_of(place):
                if schema not in kinds.setdefault(name, []):
                    kinds[name].append(schema)
    return {
        name: {"description": texts[name]} | (found[0] if len(found) == 1 else {"anyOf": found})
        for name, found in kinds.items()
    }


def choices_of(place: FieldOf) -> list[dict[str, Any]]:
    """Return the schemas of the values that a field may have in a plan."""
    choices = get_args(place.type) if get_origin(place.type) is UnionType else (place.type,)
    return [{"const": "none"} if choice is NoneType else of_type(choice) for choice in choices]


def plan_schema() -> dict[str, Any]:
    """Return the schema of a sweep's plan, a TOML file."""
    fields = settable()
    lists = {
        name: {"type": "array", "items": {"$ref": f"#/$defs/set/properties/{name}"}, "minItems": 1} for name in fields
    }
    names = {"type": "string", "minLength": 1}
    return {
        "$schema": DIALECT,
        "$id": "plan.schema.json",
        "title": "A sweep's plan: settings, seeds and subsets",
        "type": "object",
        "properties": {
            "recipe": {"description": "What all networks have in common.", "enum": [*RECIPES, 94, 95, 96]},
            "data": {
                "description": "Names of data sets, or paths of your own.",
                "anyOf": [names, {"type": "array", "items": names, "minItems": 1}],
            },
            "seeds": {"description": "How many, from 0, or a list.", "anyOf": [COUNT, SEEDS]},
            "validation": {"description": "Training examples that take the place of the test split.", **COUNT},
            "image_size": {"description": "Pixels to which images of your own are scaled.", **COUNT},
            "labels": {"description": "Other labels of CIFAR-10's images.", "enum": list(LABEL_SETS)},
            "set": {"$ref": "#/$defs/set"},
            "grid": {
                "description": "Every combination is a setting.",
                "type": "object",
                "properties": lists,
                "additionalProperties": False,
            },
            "cases": {
                "description": "Each is a setting.",
                "type": "array",
                "items": {"$ref": "#/$defs/set"},
                "minItems": 1,
            },
            "subsets": of_options(Subsets, "Each network sees some of the training examples."),
            "keep": of_options(Keep, "What is kept besides the class of every test image."),
        },
        "required": ["recipe", "seeds"],
        "additionalProperties": False,
        "not": {"required": ["grid", "cases"]},
        "$defs": {"set": {"type": "object", "properties": fields, "additionalProperties": False}},
    }


def of_options(kind: type[Any], description: str) -> dict[str, Any]:
    """Return the schema of a plan's table; entries with a default may be missing."""
    fields = dataclasses.fields(kind)
    optional = frozenset(one.name for one in fields if one.default is not dataclasses.MISSING)
    return {"description": description} | closed({one.name: of_type(one.type) for one in fields}, optional)


def written() -> dict[str, str]:
    """Return the text of each file, by its name."""
    return {
        schema["$id"]: json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        for schema in (recipe_schema(), plan_schema())
    }


if __name__ == "__main__":
    for name, text in written().items():
        (FOLDER / name).write_text(text)
