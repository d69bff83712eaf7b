"""Reads the official python pickles without executing them: numpy arrays and plain containers only.

A pickle is a program of calls. Those of an array build stand-ins here, which become arrays once the program has ended:
it never holds one of numpy's own types, which can be called so that they take bytes for addresses.
"""

import io
import math
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from airjax.data.dataset import DataError

_NUMBERS = re.compile(r"[iu][1248]|f[248]|b1")
_ORDERS = ("<", ">", "=", "|")
_NDARRAY = "the type of arrays"  # nothing that can be called


class Admitted:
    """A function that a pickle may call, and cannot change."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        """Call it."""
        return self._function(*arguments)

    def __setstate__(self, state: object) -> None:
        """Raise UnpicklingError."""
        raise pickle.UnpicklingError("it wants to change what it calls")


class Array:
    """A stand-in for an array; value is what it becomes."""

    __slots__ = ("value",)

    def __init__(self, value: np.ndarray | None = None) -> None:
        self.value = value

    def __setstate__(self, state: Any) -> None:
        """Take what numpy's arrays take: (version, shape, type, whether by columns, bytes or a list of objects)."""
        _, shape, kind, by_columns, content = state
        if self.value is not None or not isinstance(kind, _Kind):
            raise pickle.UnpicklingError("an array is not made as numpy makes it")
        shape = tuple(_whole(side) for side in shape)
        order = "F" if by_columns else "C"
        if kind.code == "O8":
            if not isinstance(content, list) or len(content) != math.prod(shape):
                raise pickle.UnpicklingError(f"an array of {shape} objects has others")
            self.value = np.empty(len(content), object)
            for place, one in enumerate(content):
                self.value[place] = _plain(one, {})
        elif isinstance(content, bytes):
            self.value = np.frombuffer(content, kind.dtype).copy()
        else:
            raise pickle.UnpicklingError("the numbers of an array are no bytes")
        self.value = self.value.reshape(shape, order=order)


class _Kind:
    # A stand-in for a dtype.
    __slots__ = ("code", "order")

    def __init__(self, code: str) -> None:
        self.code, self.order = code, "="

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(f"{self.order}{self.code}")

    def __setstate__(self, state: Any) -> None:
        # (version, byte order, and what fields, subarrays and texts have)
        order = _text(state[1])
        if order not in _ORDERS or any(state[place] for place in (2, 3, 4)):
            raise pickle.UnpicklingError("an array has a type that is no number")
        self.order = order


def _make_kind(code: Any, *_: object) -> _Kind:
    text = _text(code)
    if text != "O8" and not _NUMBERS.fullmatch(text):
        raise pickle.UnpicklingError(f"an array has the type {text!r}, which is no number")
    return _Kind(text)


def _make_array(kind: Any, *_: object) -> Array:
    if kind is not _NDARRAY:
        raise pickle.UnpicklingError("an array is not made as numpy makes it")
    return Array()


def _encode(text: str, encoding: str) -> bytes:
    # Protocol 2 writes bytes as text plus a call of codecs.encode.
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r}")
    return text.encode(encoding)


def _text(value: Any) -> str:
    return value.decode("ascii") if isinstance(value, bytes) else str(value)


def _whole(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise pickle.UnpicklingError(f"an array has a side of {value!r}")
    return value


# Everything that a pickled array needs, under its names of numpy 1 and 2. Nothing else can be looked up.
_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): Admitted(_make_array),
    ("numpy._core.multiarray", "_reconstruct"): Admitted(_make_array),
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): Admitted(_make_kind),
    ("_codecs", "encode"): Admitted(_encode),
}


class PlainUnpickler(pickle.Unpickler):
    """Looks up nothing but what plain arrays need."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        """Return what a pickle names. Raises UnpicklingError for all but the parts of plain arrays."""
        try:
            return _ADMITTED[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"it wants to call {module_name}.{global_name}") from None

    def load(self) -> Any:
        """Run the pickle, and return what it makes, with arrays in the place of their stand-ins."""
        return _plain(super().load(), {})


def _plain(value: Any, known: dict[int, Any]) -> Any:
    # known: what containers became, by their identity. One that stands in many places is not walked once for each.
    if isinstance(value, Array):
        if value.value is None:
            raise pickle.UnpicklingError("an array has no numbers")
        return value.value
    if isinstance(value, dict | list | tuple):
        if id(value) not in known:
            if isinstance(value, dict):
                known[id(value)] = {key: _plain(one, known) for key, one in value.items()}
            else:
                known[id(value)] = type(value)(_plain(one, known) for one in value)
        return known[id(value)]
    if value is not None and not isinstance(value, bool | int | float | str | bytes | np.ndarray):
        raise pickle.UnpicklingError(f"it holds a {type(value).__name__}")
    return value


def load_plain_pickle(content: bytes, name: str, kind: str) -> Any:
    """Load the object in a pickle that holds only numpy arrays, numbers, text and containers.

    kind says in messages what it should be. Raises DataError, before anything is called, for a pickle that asks for
    anything else, and for a damaged one.
    """
    try:
        return PlainUnpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a damaged pickle raises nearly anything
        raise DataError(f"{name}: refused, not a plain {kind}: {error}. Fetch it again") from error
