"""Reads the official python pickles without executing them: numpy arrays and plain containers only."""

import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy._core.multiarray import _reconstruct  # pyright: ignore[reportPrivateUsage]

from airjax.data.dataset import DataError


def _encode(text: str, encoding: str) -> bytes:
    # Protocol 2 writes bytes as text plus a call of codecs.encode.
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r}")
    return text.encode(encoding)


# Everything that a pickled array needs, under its names of numpy 1 and 2. Nothing else can be looked up.
_ADMITTED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode,
}


class PlainUnpickler(pickle.Unpickler):
    """Looks up nothing but what plain arrays need."""

    def find_class(self, module_name: str, global_name: str) -> Callable[..., Any]:
        """Return what a pickle names. Raises UnpicklingError for all but the parts of plain arrays."""
        try:
            return _ADMITTED[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"it wants to call {module_name}.{global_name}") from None


def load_plain_pickle(content: bytes, name: str, kind: str) -> Any:
    """Load the object in a pickle that holds only numpy arrays, numbers, text and containers.

    kind says in messages what it should be. Raises DataError, before anything is called, for a pickle that asks for
    anything else, and for a damaged one.
    """
    try:
        return PlainUnpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a damaged pickle raises nearly anything
        raise DataError(f"{name}: refused, not a plain {kind}: {error}. Fetch it again") from error
