"""The type of every field of an input, checked once against the annotations of its dataclass.

Values that mean the same become equal ones: 2 for a float is 2.0, numpy's numbers are Python's, a list is a tuple.
"""

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
    """The value as the annotated type. Raises ValueError naming the field, its value and what is allowed."""
    try:
        converted = _convert(value, kind)
        if converted is None or within is None or within[0](converted):
            return converted
    except (TypeError, OverflowError):
        pass
    allowed = describe_type(kind) + (f" {within[1]}" if within else "")
    raise ValueError(f"{name} is {value!r}, but it must be {allowed}")


def describe_type(kind: Any) -> str:
    """An annotation in words: "a whole number", "true or false", "one of none, random"."""
    if _is_union(kind):
        return "None or " + describe_type(_without_none(kind))
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(get_args(kind))
    if get_origin(kind) is tuple:
        item, *rest = get_args(kind)
        count = "" if rest == [...] else f" {len(get_args(kind))}"
        return f"a list of{count} numbers, each {describe_type(item)}"
    return {bool: "true or false", int: "a whole number", float: "a number"}[kind]


def allows_none(kind: Any) -> bool:
    """Whether None is a value of an annotated type."""
    return _is_union(kind) and NoneType in get_args(kind)


def _convert(value: Any, kind: Any) -> Any:
    # Raises TypeError for a value of another type, OverflowError for a number that no float holds.
    if _is_union(kind):
        return None if value is None else _convert(value, _without_none(kind))
    if get_origin(kind) is Literal and isinstance(value, str) and value in get_args(kind):
        return str(value)
    if get_origin(kind) is tuple and isinstance(value, list | tuple):
        inner = get_args(kind)
        inner = len(value) * inner[:1] if inner[1:] == (...,) else inner
        if len(value) == len(inner):
            return tuple(_convert(item, one) for item, one in zip(value, inner, strict=True))
    truth = isinstance(value, bool | np.bool_)  # Python's is a whole number to isinstance
    if kind is bool and truth:
        return bool(value)
    if kind is int and isinstance(value, numbers.Integral) and not truth:
        return int(value)
    if kind is float and isinstance(value, numbers.Real) and not truth and math.isfinite(float(value)):
        return float(value)
    raise TypeError(kind)


def _is_union(kind: Any) -> bool:
    return get_origin(kind) is UnionType


def _without_none(kind: Any) -> Any:
    (inner,) = (choice for choice in get_args(kind) if choice is not NoneType)
    return inner
