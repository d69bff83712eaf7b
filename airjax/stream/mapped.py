"""Arrays in one file that is mapped into memory, not read: a safetensors file, so that other programs read it, too."""

import json
import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from airjax.data.content import digest
from airjax.data.dataset import DataError
from airjax.data.place import named_in_errors

# safetensors' names of dtypes.
DTYPES = {"U8": np.dtype(np.uint8), "I32": np.dtype(np.int32), "I64": np.dtype(np.int64)}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
LARGEST_HEADER = 1 << 26  # bytes


def header_of(
    arrays: Mapping[str, tuple[np.dtype, tuple[int, ...]]], metadata: Mapping[str, str], size: int | None = None
) -> bytes:
    """Return the head of a file of arrays that follow each other in that order; size: bytes to fill up to, in all."""
    table: dict[str, Any] = {"__metadata__": dict(metadata)}
    offset = 0
    for name, (dtype, shape) in arrays.items():
        end = offset + dtype.itemsize * math.prod(shape)
        table[name] = {"dtype": NAMES[dtype], "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(table).encode()
    room = (-len(text)) % 8 if size is None else size - 8 - len(text)
    if room < 0:
        raise ValueError(f"the header takes {len(text)} bytes, but there is room for {size} only")
    return struct.pack("<Q", len(text) + room) + text + b" " * room


def map_arrays(file: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Map the arrays of a file into memory, read-only, and return them with its metadata.

    Raises DataError, naming the file, where it is missing, cut short, or not of this form.
    """
    # Opened once: another process may put a new file in its place.
    with named_in_errors(file), file.open("rb") as stream:
        total = os.fstat(stream.fileno()).st_size
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else LARGEST_HEADER + 1
        text = stream.read(length) if length <= LARGEST_HEADER else b""
        try:
            table = json.loads(text)
            metadata = {str(key): str(value) for key, value in table.pop("__metadata__").items()}
            arrays = {name: _map(stream, entry, 8 + length, total) for name, entry in table.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{file} is damaged, or not a file of arrays ({error}); remove it, to have it made again"
            ) from error
    return arrays, metadata


def _map(stream: BinaryIO, entry: dict[str, Any], base: int, total: int) -> np.ndarray:
    dtype, shape = DTYPES[entry["dtype"]], tuple(entry["shape"])
    start, end = entry["data_offsets"]
    if end - start != dtype.itemsize * math.prod(shape) or base + end > total:
        raise ValueError(f"it has {total:,} bytes, but should have {base + end:,}")
    if not math.prod(shape):
        return np.zeros(shape, dtype)
    # Without the class memmap, whose instances are slow to index.
    return np.asarray(np.memmap(stream, dtype, "r", base + start, shape))


def arrays_digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of arrays in the order of their names."""
    return digest([arrays[name] for name in sorted(arrays)])
