"""Where the fields of a recipe are: in itself, in its parts, and in parts of these, each found by its own name.

A part has one of several kinds (`AirbenchNet | ResNet18`), or is left out (`Lookahead | None`). Names are unique among
parts that a recipe can have together; kinds that exclude each other may share them.
"""

import functools
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass, replace
from typing import Any, NamedTuple, get_args

from airjax.recipes.crops import Crops
from airjax.recipes.curriculum import Curriculum, Tail
from airjax.recipes.network import Whitening
from airjax.recipes.optimizer import Lookahead
from airjax.recipes.selection import ProxySelection
from airjax.recipes.stored import NAMES


class FieldOf(NamedTuple):
    """Where a field of a recipe is, and what its value may be."""

    path: tuple[str, ...]  # of the part that has it; () is the recipe itself
    type: Any  # as annotated
    default: Any
    traced: bool = False  # a number that compiled programs take as an argument


class Switch(NamedTuple):
    """A field that says whether a part is there."""

    path: tuple[str, ...]
    part: type[Any]
    default: bool = True


SWITCHES = {
    "whiten": Switch(("network", "whitening"), Whitening),
    "lookahead": Switch(("averaging",), Lookahead),
    "proxy": Switch(("selection",), ProxySelection, default=False),
    "curriculum": Switch(("resolution",), Curriculum, default=False),
    "tail": Switch(("ending",), Tail, default=False),
    "crops": Switch(("cropping",), Crops, default=False),
}
SET_BY_DATA = "inputs"  # a part that follows from the data, and that nobody sets


def fields_of(recipe: Any) -> dict[str, FieldOf]:
    """Return the fields of a recipe by their own names, those of parts that are left out included."""
    return _fields_of_kinds(type(recipe), _kinds(recipe))


def part_classes(recipe: Any) -> list[type[Any]]:
    """List the classes of a recipe's parts, those in other parts and those that are left out included."""
    found: list[type[Any]] = []
    for kind in _kinds(recipe):
        found += [kind, *(part for one in fields(kind) for part in _choices(one.type))]
    return found


def kinds_with(recipe_class: type[Any], name: str) -> dict[str, list[str]]:
    """Return which kinds of which part have a field of that name; nothing for a name that there is not."""
    found: dict[str, list[str]] = {}
    for one in fields(recipe_class):
        for kind in _choices(one.type):
            if one.name != SET_BY_DATA and name in _named(kind, (one.name,)):
                found.setdefault(one.name, []).append(NAMES[kind])
    return found


def part_of(recipe: Any, path: tuple[str, ...]) -> Any:
    """Return the part at a path; None where it is left out."""
    for name in path:
        recipe = None if recipe is None else getattr(recipe, name)
    return recipe


def replaced(part: Any, path: tuple[str, ...], values: dict[str, Any]) -> Any:
    """Return a recipe with other values in the part at a path."""
    if not path:
        return replace(part, **values)
    return replace(part, **{path[0]: replaced(getattr(part, path[0]), path[1:], values)})


def _kinds(recipe: Any) -> tuple[type[Any], ...]:
    # The class of every part; of one that is left out, the only one that it could have.
    parts = [(one.type, getattr(recipe, one.name)) for one in fields(recipe) if _choices(one.type)]
    return tuple(_choices(annotation)[0] if part is None else type(part) for annotation, part in parts)


@functools.cache
def _fields_of_kinds(recipe_class: type[Any], kinds: tuple[type[Any], ...]) -> dict[str, FieldOf]:
    remaining, switches, found = iter(kinds), {}, {}
    for one in fields(recipe_class):
        if not _choices(one.type):
            found[one.name] = _place(one, ())
            continue
        kind = next(remaining)
        switches |= _switch((one.name,))
        if one.name != SET_BY_DATA:
            inner = _named(kind, (one.name,))
            switches |= {name: place for name, place in inner.items() if name in SWITCHES}
            found |= {name: place for name, place in inner.items() if name not in SWITCHES}
    return {name: switches[name] for name in SWITCHES if name in switches} | found


def _named(kind: type[Any], path: tuple[str, ...]) -> dict[str, FieldOf]:
    # The fields of a part at a path, of the parts in it, and their switches.
    found = {}
    for one in fields(kind):
        inner = _choices(one.type)
        if not inner:
            found[one.name] = _place(one, path)
            continue
        found |= _switch((*path, one.name))
        for part in inner:
            found |= _named(part, (*path, one.name))
    return found


def _place(one: Any, path: tuple[str, ...]) -> FieldOf:
    assert one.default is not MISSING
    return FieldOf(path, one.type, one.default, bool(one.metadata.get("traced")))


def _switch(path: tuple[str, ...]) -> dict[str, FieldOf]:
    return {name: FieldOf(path[:-1], bool, switch.default) for name, switch in SWITCHES.items() if switch.path == path}


def _choices(annotation: Any) -> list[type[Any]]:
    # The kinds that a part may have; none for what is not a part.
    return [kind for kind in get_args(annotation) or (annotation,) if isinstance(kind, type) and is_dataclass(kind)]


def iterate_parts(recipe: Any) -> Iterator[tuple[str, Any]]:
    """Yield the name and the value of every part of a recipe, None for one that is left out."""
    yield from ((one.name, getattr(recipe, one.name)) for one in fields(recipe) if _choices(one.type))
