"""The type of every field of an input, checked once against the annotations of its dataclass.

Values that mean the same become equal ones: 2 for a float is 2.0, numpy's numbers are Python's, a list is a tuple.
"""

import contextlib
import dataclasses
import math
import numbers
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin

import numpy as np

Range = tuple[Callable[[Any], bool], str]  # whether a value of the right type lies in it, and how it reads


def check_fields(instance: Any, ranges: Mapping[str, Range] | None = None, prefix: str = "") -> None:
    """Replace every field of a dataclass by its checked value; frozen ones call this in __post_init__.

    Raises ValueError naming the field, its value and what is allowed.
    """
    for field in dataclasses.fields(instance):
        value = getattr(instance, field.name)
        within = (ranges or {}).get(field.name)
        name = prefix + field.name.replace("_", "-")
        object.__setattr__(instance, field.name, check_value(name, value, field.type, within))


def check_value(name: str, value: object, kind: Any, within: Range | None = None) -> Any:
    """Return the value as the annotated type. Raises ValueError naming the field, its value and what is allowed."""
    try:
        converted = _convert(value, kind)
        if converted is None or within is None or within[0](converted):
            return converted
    except (TypeError, OverflowError):
        pass
    allowed = describe_type(kind) + (f" {within[1]}" if within else "")
    raise ValueError(f"{name} is {value!r}, but it must be {allowed}")


def describe_type(kind: Any) -> str:
    """Put an annotation in words: "a whole number", "true or false", "one of none, random"."""
    if _is_union(kind):
        return " or ".join(describe_type(choice) for choice in _choices(kind))
    if dataclasses.is_dataclass(kind):
        return f"a {kind.__name__}"  # pyright: ignore[reportAttributeAccessIssue]
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(get_args(kind))
    if get_origin(kind) is tuple:
        item, *rest = get_args(kind)
        count = "" if rest == [...] else f" {len(get_args(kind))}"
        return f"a list of{count} numbers, each {describe_type(item)}"
    return {bool: "true or false", int: "a whole number", float: "a number", str: "text", NoneType: "None"}[kind]


def allows_none(kind: Any) -> bool:
    """Return whether None is a value of an annotated type."""
    return _is_union(kind) and NoneType in get_args(kind)


def _convert(value: Any, kind: Any) -> Any:
    # Raises TypeError for a value of another type, OverflowError for a number that no float holds.
    if _is_union(kind):
        return _convert_to_one_of(value, _choices(kind))
    if get_origin(kind) is tuple:
        return _convert_items(value, get_args(kind))
    if kind is NoneType or dataclasses.is_dataclass(kind):
        matches = isinstance(value, kind)  # pyright: ignore[reportArgumentType]
    elif get_origin(kind) is Literal:
        matches, kind = isinstance(value, str) and value in get_args(kind), str
    else:
        matches = _is_scalar(value, kind)
    if not matches:
        raise TypeError(kind)
    return kind(value) if kind in (bool, int, float, str) else value


def _is_scalar(value: Any, kind: Any) -> bool:
    if isinstance(value, bool | np.bool_):  # Python's is a whole number to isinstance
        return kind is bool
    if kind is float:
        return isinstance(value, numbers.Real) and math.isfinite(float(value))
    return (kind is int and isinstance(value, numbers.Integral)) or (kind is str and isinstance(value, str))


def _convert_items(value: Any, kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise TypeError(kinds)
    if kinds[1:] == (...,):
        kinds = len(value) * kinds[:1]
    if len(value) != len(kinds):
        raise TypeError(kinds)
    return tuple(_convert(item, kind) for item, kind in zip(value, kinds, strict=True))


def _is_union(kind: Any) -> bool:
    return get_origin(kind) is UnionType


def _choices(kind: Any) -> list[Any]:
    # None first, as messages say it.
    return sorted(get_args(kind), key=lambda choice: choice is not NoneType)


def _convert_to_one_of(value: Any, choices: list[Any]) -> Any:
    for choice in choices[:-1]:
        with contextlib.suppress(TypeError):
            return _convert(value, choice)
    return _convert(value, choices[-1])
