"""Pickles of arrays are read, and those that only look like it are refused before numpy sees them."""

import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from airjax.data import unpickle
from airjax.data.dataset import DataError
from airjax.data.unpickle import load_plain_pickle

OBJECTS = np.empty((), object)
OBJECTS[()] = {"clean": np.arange(3)}


class Calls:
    """Pickled as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any, state: Any = None) -> None:
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.reduced


def load(content: bytes) -> Any:
    return load_plain_pickle(content, "file", "batch")


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(5, dtype=">i4"),
        np.array([True, False]),
        np.ones((), np.float16),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_come_back_as_they_were(array: np.ndarray, protocol: int) -> None:
    found = load(pickle.dumps({"data": array, "labels": [1, (2, b"x")]}, protocol=protocol))
    assert found["labels"] == [1, (2, b"x")]
    np.testing.assert_array_equal(found["data"], array)
    assert found["data"].dtype == array.dtype
    assert found["data"].flags.writeable


def test_a_table_of_arrays_comes_back_as_it_was() -> None:
    found = load(pickle.dumps(OBJECTS, protocol=2))
    assert found.shape == ()
    np.testing.assert_array_equal(found.item()["clean"], [0, 1, 2])


# In a process of its own: numpy takes the bytes for the address of an object, and ends the process.
ADDRESS = """
import pickle, sys
import numpy as np
from airjax.data.dataset import DataError
from airjax.data.unpickle import load_plain_pickle

class Evil:
    def __reduce__(self):
        return np.ndarray, ((1,), np.dtype("O"), b"A" * 8)

try:
    repr(load_plain_pickle(pickle.dumps([Evil()], protocol=2), "file", "batch")[0])
except DataError as error:
    print(error)
"""


def test_bytes_are_never_taken_for_an_object() -> None:
    done = subprocess.run([sys.executable, "-c", ADDRESS], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("file: refused, not a plain batch: 'str' object is not callable")


def built(*state: Any) -> bytes:
    """A pickle of an array with this state: `_reconstruct`, then BUILD."""
    make = np.arange(1).__reduce__()[0]
    return pickle.dumps(Calls(make, np.ndarray, (0,), b"b", state=(1, *state)), protocol=2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(np.array(["text"]), protocol=2), "an array has the type 'U4', which is no number"),
        (pickle.dumps(np.zeros(2, "u1,i4"), protocol=2), "an array has the type 'V5', which is no number"),
        (pickle.dumps(np.datetime64("2026-11-28") + np.arange(2), protocol=2), "an array has the type 'M8'"),
        (built((2,), np.dtype("u1"), False, b"123"), "cannot reshape array of size 3 into shape"),
        (built((2,), np.dtype("u1"), False, [1, 2]), "the numbers of an array are no bytes"),
        (built((-2,), np.dtype("u1"), False, b"12"), "an array has a side of -2"),
        (built((2,), np.dtype("O"), False, [1]), r"an array of \(2,\) objects has others"),
        (built((2,), "u1", False, b"12"), "an array is not made as numpy makes it"),
        (pickle.dumps(Calls(np.arange(1).__reduce__()[0], np.ndarray, (0,), b"b"), protocol=2), "has no numbers"),
        (pickle.dumps(Calls(np.dtype, "u1"), protocol=2), "it holds a _Kind"),
        (pickle.dumps({1, 2}, protocol=4), "it holds a set"),
    ],
)
def test_what_is_no_plain_array_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=f"file: refused, not a plain batch: .*{message}"):
        load(content)


def test_what_a_pickle_calls_cannot_be_changed() -> None:
    # The function itself, then BUILD with a state that would set its attributes.
    content = b"\x80\x02cnumpy\ndtype\n(N}X\x0c\x00\x00\x00__defaults__)stb."
    with pytest.raises(DataError, match="it wants to change what it calls"):
        load(content)
    assert unpickle._make_kind.__defaults__ is None


def test_a_container_in_many_places_is_walked_once() -> None:
    deep: list[Any] = []
    for _ in range(200):
        deep = [deep, deep]
    found = load(pickle.dumps(deep, protocol=2))
    assert found[0] is found[1]
    around: list[Any] = []
    around.append(around)
    with pytest.raises(DataError, match="recursion"):
        load(pickle.dumps(around, protocol=2))
