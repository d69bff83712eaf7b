"""Recipes as plain values for JSON, and what earlier versions wrote."""

from dataclasses import fields, is_dataclass
from typing import Any

from airjax.recipes.augmentation import Augmentation, Tta
from airjax.recipes.inputs import Inputs
from airjax.recipes.network import AirbenchNet, Whitening
from airjax.recipes.optimizer import CrossEntropy, Lookahead, Nesterov, Triangle
from airjax.recipes.recipe import FIELDS, Recipe

# The kind that a part is stored under. Names of kinds and fields are for good: files keep them.
KINDS: dict[str, type[Any]] = {
    "airbench": AirbenchNet,
    "whitening": Whitening,
    "nesterov": Nesterov,
    "triangle": Triangle,
    "lookahead": Lookahead,
    "cross-entropy": CrossEntropy,
    "augmentation": Augmentation,
    "tta": Tta,
    "inputs": Inputs,
}
NAMES = {kind: name for name, kind in KINDS.items()}

# Fields that came later have the value that the versions before them had.
ADDED = {"tta_mirror": True, "inputs": Inputs()}


def to_plain(part: Any) -> dict[str, Any]:
    """Return a part's fields as plain values, with the kind of every part but the recipe itself."""
    tag = {} if isinstance(part, Recipe) else {"kind": NAMES[type(part)]}
    return tag | {one.name: _plain(getattr(part, one.name)) for one in fields(part)}


def from_plain(values: Any) -> Recipe:
    """Return the recipe of plain values, as this version or version 0.1 writes them; ValueError for anything else."""
    if not isinstance(values, dict):
        raise ValueError(f"a recipe must be a table of its fields, but it is {values!r}")
    if "network" in values:
        return _read(Recipe, values)
    return _lift(values)


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return to_plain(value)
    return list(value) if isinstance(value, tuple) else value


def _read(kind: type[Any], values: dict[str, Any]) -> Any:
    values = {name: value for name, value in values.items() if kind is Recipe or name != "kind"}
    _require({one.name for one in fields(kind)}, set(values))
    return kind(**{name: _read_value(name, value) for name, value in values.items()})


def _read_value(name: str, value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    kind = value.get("kind")
    if kind not in KINDS:
        raise ValueError(f"{name} is of the kind {kind!r}, but the kinds are {', '.join(KINDS)}")
    return _read(KINDS[kind], value)


def _lift(values: dict[str, Any]) -> Recipe:
    # Version 0.1: one flat table. Fields of a part that it switches off say nothing.
    _require(set(FIELDS), set(values))
    return Recipe().override(**values)


def _require(known: set[str], given: set[str]) -> None:
    for problem, names in (("unknown", given - known), ("missing", known - given - set(ADDED))):
        if names:
            raise ValueError(f"{problem} recipe field {', '.join(sorted(names))}; was it written by another version?")
