"""XLA's foreign functions, version 0 of their C interface, as Python functions of buffers.

XLA calls a compiled handler with one structure that describes operands and results (xla/ffi/api/c_api.h in jaxlib's
headers). Its layout is written out here with ctypes, so that a library's C functions can be called from a jitted
program without a compiler at installation.
"""

import atexit
import ctypes
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

_METADATA = 1  # the extension with which XLA asks a handler for its version, before it calls it
_EXECUTE = 3  # the stage at which buffers hold numbers
_INTERNAL_ERROR = 13
_DTYPES = {11: "f32", 12: "f64", 16: "bf16"}
_API_VERSION = (0, 1)  # the first with this layout; XLA refuses what it cannot serve


class Buffer(NamedTuple):
    """An operand or result, dense and row-major; its memory is XLA's and lives as long as the call."""

    address: int
    shape: tuple[int, ...]
    dtype: str  # by XLA's name, such as "f32"; "" for those not in _DTYPES


class _Buffer(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t),
        ("extension", ctypes.c_void_p),
        ("dtype", ctypes.c_int),
        ("data", ctypes.c_void_p),
        ("rank", ctypes.c_int64),
        ("dims", ctypes.POINTER(ctypes.c_int64)),
    )


class _Buffers(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t),
        ("extension", ctypes.c_void_p),
        ("count", ctypes.c_int64),
        ("types", ctypes.c_void_p),
        ("values", ctypes.POINTER(ctypes.POINTER(_Buffer))),
    )


class _Version(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t),
        ("extension", ctypes.c_void_p),
        ("major", ctypes.c_int),
        ("minor", ctypes.c_int),
    )


class _Metadata(ctypes.Structure):
    _fields_ = (("size", ctypes.c_size_t), ("version", _Version), ("traits", ctypes.c_uint32))


class _Extension(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t),
        ("type", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("metadata", ctypes.POINTER(_Metadata)),
    )


class _ErrorArguments(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t),
        ("extension", ctypes.c_void_p),
        ("message", ctypes.c_char_p),
        ("code", ctypes.c_int),
    )


_CreateError = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.POINTER(_ErrorArguments))


class _Api(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t),
        ("extension", ctypes.c_void_p),
        ("version", _Version),
        ("internal", ctypes.c_void_p),
        ("create_error", _CreateError),
    )


class _Call(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t),
        ("extension", ctypes.POINTER(_Extension)),
        ("api", ctypes.POINTER(_Api)),
        ("context", ctypes.c_void_p),
        ("stage", ctypes.c_int),
        ("operands", _Buffers),
        ("results", _Buffers),
    )


_Handler = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.POINTER(_Call))
_ending = threading.Event()  # the interpreter is about to end
_handlers: dict[str, Any] = {}  # XLA keeps their addresses, so they must live


def register(name: str, function: Callable[..., None]) -> None:
    """Let `jax.ffi.ffi_call(name, ...)` call function(*operands, *results), all Buffers, on a CPU.

    Whatever it raises ends the program that called it, as a jax.errors.JaxRuntimeError with the same message. A name
    is registered once; later calls are ignored, because programs may have the first function's address.
    """
    if name in _handlers:
        return

    def handle(call: Any) -> int | None:
        frame = call.contents
        extension = frame.extension
        if extension and extension.contents.type == _METADATA:
            metadata = extension.contents.metadata.contents
            metadata.version.major, metadata.version.minor = _API_VERSION
            metadata.traits = 0
            return None
        if frame.stage != _EXECUTE:
            return None
        try:
            if _ending.is_set():
                raise InterruptedError("the process ends")
            function(*_read(frame.operands), *_read(frame.results))
        except BaseException as error:  # an exception cannot pass through XLA's frames
            message = f"{name}: {type(error).__name__}: {error}".encode()
            arguments = _ErrorArguments(ctypes.sizeof(_ErrorArguments), None, message, _INTERNAL_ERROR)
            return frame.api.contents.create_error(ctypes.byref(arguments))
        return None

    if not _handlers:
        atexit.register(_wait_for_programs)  # after JAX's own, so it runs before
    handler = _Handler(handle)
    capsule = ctypes.pythonapi.PyCapsule_New
    capsule.restype, capsule.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
    jax.ffi.register_ffi_target(name, capsule(ctypes.cast(handler, ctypes.c_void_p), None, None), platform="cpu")
    _handlers[name] = handler


def _read(buffers: Any) -> list[Buffer]:
    found = (buffers.values[index].contents for index in range(buffers.count))
    return [Buffer(b.data, tuple(b.dims[: b.rank]), _DTYPES.get(b.dtype, "")) for b in found]


def _wait_for_programs() -> None:
    # A program that still runs when the interpreter ends calls a handler that can no longer have Python's lock, and JAX
    # then waits for that program forever. So its next call fails, and the program with it. Programs of one thread run
    # in order: one more ends after all others.
    _ending.set()
    last = jax.jit(lambda: 0)
    with jax.disable_jit(False), jax.default_device(jax.local_devices(backend="cpu")[0]):
        while True:
            try:
                last().block_until_ready()
                return
            except KeyboardInterrupt:  # a second one, of the impatient
                continue
