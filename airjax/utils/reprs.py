"""Named tuples of arrays in one line: what an array is rather than what it holds."""

import dataclasses
import math
from typing import Any

MOST_ITEMS = 4  # of a list or a dict that is shown in full


def one_line(value: Any) -> str:
    """Write a named tuple as Name(field=...) for __repr__: `Trained(accuracy=0.9416, logits=float32[10000,10])`."""
    fields = ", ".join(f"{name}={_part(part)}" for name, part in zip(value._fields, value, strict=True))
    return f"{type(value).__name__}({fields})"


def _part(value: Any) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype}[{','.join(map(str, value.shape))}]"
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return one_line(value)
    if dataclasses.is_dataclass(value):
        return f"{type(value).__name__}(...)"
    if isinstance(value, dict | list | tuple):
        return _container(value)
    return f"{value:.6g}" if isinstance(value, float) else repr(value)


def _container(value: dict[str, Any] | list[Any] | tuple[Any, ...]) -> str:
    values = list(value.values()) if isinstance(value, dict) else value
    if len(values) <= MOST_ITEMS and all(isinstance(one, str | int | float) for one in values):
        if isinstance(value, dict):
            return "{" + ", ".join(f"{name}: {_part(one)}" for name, one in value.items()) + "}"
        return "[" + ", ".join(map(_part, values)) + "]"
    arrays = _arrays(value)
    if arrays:
        return f"<{len(arrays)} arrays, {sum(math.prod(array.shape) for array in arrays):,} numbers>"
    return f"<{len(values)} items>"


def _arrays(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [array for part in value.values() for array in _arrays(part)]
    if isinstance(value, list | tuple):
        return [array for part in value for array in _arrays(part)]
    return [value] if hasattr(value, "shape") else []
