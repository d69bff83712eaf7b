"""Read arrays from files of torch.save and numpy.save without torch and without executing what they hold."""

import io
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from airjax.data.dataset import DataError
from airjax.data.unpickle import Admitted, Array, PlainUnpickler

LIMIT = 1 << 26  # bytes of a member that is unpacked
NUMPY = b"\x93NUMPY"
KIND = "file of labels"
HEADS = 3  # pickles before the object in torch's older format: a magic number, the version and the system
_STORAGES = {
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
}


class _TensorUnpickler(PlainUnpickler):
    """Admits tensors of whole numbers, too, as arrays [n]."""

    def __init__(self, content: bytes, read_storage: Callable[[str], bytes]) -> None:
        super().__init__(io.BytesIO(content), encoding="bytes")
        self.read_storage = read_storage

    def find_class(self, module_name: str, global_name: str) -> Any:
        if module_name == "torch" and global_name in _STORAGES:
            return _STORAGES[global_name]
        if (module_name, global_name) == ("torch._utils", "_rebuild_tensor_v2"):
            return Admitted(_rebuild)
        if (module_name, global_name) == ("collections", "OrderedDict"):
            return Admitted(dict)
        return super().find_class(module_name, global_name)

    def persistent_load(self, pid: Any) -> Array:
        _, dtype, key, _, count = pid
        if dtype not in _STORAGES.values():
            raise ValueError(f"a tensor of {dtype!r}")
        return Array(np.frombuffer(self.read_storage(key), dtype, count))


def _rebuild(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> Array:
    if not isinstance(storage, Array) or storage.value is None:
        raise ValueError("a tensor without numbers")
    if len(size) != 1 or stride != (1,) or not 0 <= offset <= offset + size[0] <= len(storage.value):
        raise ValueError(f"a tensor of size {size} and stride {stride}")
    return Array(storage.value[offset : offset + size[0]])


def read_table(content: bytes, name: str) -> dict[str, np.ndarray]:
    """Read arrays [n] by name, as torch.save or numpy.save wrote a dict of them.

    Raises DataError, which names the file, for a damaged one, one of another kind, and one that asks for a call.
    """
    try:
        if content[:2] == b"PK":
            table = _read_zip(content)
        elif content.startswith(NUMPY):
            table = _read_objects(content).item()
        else:
            table = _read_older(content)
        return {key: np.asarray(value) for key, value in dict(table).items()}
    except Exception as error:  # a damaged pickle raises nearly anything
        raise DataError(f"{name}: refused, no plain {KIND}, or damaged: {error}. Fetch it again") from error


def read_array(content: bytes, name: str) -> np.ndarray:
    """Read an array as numpy.save wrote it. Raises DataError, which names the file, as `read_table` does."""
    try:
        return np.load(io.BytesIO(content), allow_pickle=False)
    except Exception as error:
        raise DataError(f"{name}: refused, no plain .npy, or damaged: {error}. Fetch it again") from error


def _read_zip(content: bytes) -> Any:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        (pickled,) = [member for member in archive.namelist() if member.rsplit("/", 1)[-1] == "data.pkl"]
        folder = pickled.removesuffix("data.pkl")

        def read(member: str) -> bytes:
            if archive.getinfo(member).file_size > LIMIT:
                raise ValueError(f"{member} has more than {LIMIT >> 20} MiB")
            return archive.read(member)

        return _TensorUnpickler(read(pickled), lambda key: read(f"{folder}data/{key}")).load()


def _read_older(content: bytes) -> Any:
    # Arrays of numpy are in the pickle itself; tensors, which come after it, are in newer files only.
    def no_storage(key: str) -> bytes:
        raise ValueError(f"tensor {key} in torch's older format; save it again by a newer torch")

    stream = io.BytesIO(content)
    for _ in range(HEADS):
        PlainUnpickler(stream, encoding="bytes").load()
    return _TensorUnpickler(stream.read(), no_storage).load()


def _read_objects(content: bytes) -> np.ndarray:
    # What numpy.save makes of a dict: a header, then a pickled array of one object.
    stream = io.BytesIO(content)
    major, _ = np.lib.format.read_magic(stream)
    read_header = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(stream)
    if shape != () or not dtype.hasobject:
        raise ValueError(f"it holds {dtype} {shape}, not a table of arrays")
    return PlainUnpickler(stream, encoding="bytes").load()
