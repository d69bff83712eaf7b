"""Convolutions by oneDNN, the kernel library that PyTorch uses on a CPU, inside jitted programs: float32 and bfloat16.

XLA's own convolutions on a CPU are slower at the shapes of these networks (docs/performance.md, "What was tried"), and
compute bfloat16 by way of float32, where oneDNN has the processor's instructions for it.
The library comes with the package onednn-cpu-gomp (extra `cpu`) and is called through its C interface. What it computes
is deterministic for a number of threads, which is OpenMP's: OMP_NUM_THREADS, or all cores.
"""

import ctypes
import functools
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from airjax.kernels.ffi import Buffer, register
from airjax.kernels.native import Padding

PACKAGE = "onednn-cpu-gomp"
_LIBRARY = "libdnnl.so.3"

# Constants of dnnl_types.h, version 3.
_CPU, _IN_ORDER = 1, 1
_DTYPES, _ANY_LAYOUT = {"bf16": 2, "f32": 3}, 1
_TRAINING, _DIRECT = 64, 1
_KERNEL_LAYOUT, _KERNEL_GRADIENT_LAYOUT = 131, 132
_SOURCE, _DESTINATION, _WEIGHTS = 1, 17, 33
_SOURCE_GRADIENT, _DESTINATION_GRADIENT, _WEIGHTS_GRADIENT = 129, 145, 161
_ALLOCATE = ctypes.c_void_p(-1)
_BFLOAT16_INSTRUCTIONS = 0x80  # the bit of dnnl_cpu_isa_t that AVX-512 with BF16 and everything above it has
STRIDES = (1, 2)  # with which convolutions can be called
_STATUS = {1: "out of memory", 2: "invalid arguments", 3: "not implemented for this processor"}

Shape = tuple[int, ...]


class _Argument(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_int), ("memory", ctypes.c_void_p))


class OneDNNError(RuntimeError):
    """The library refused a call; the message names it."""


class Library:
    """The loaded library, and the convolutions that were prepared for shapes so far."""

    def __init__(self, path: str) -> None:
        self._functions = _load(path)
        self._functions.dnnl_primitive_desc_query_md.restype = ctypes.c_void_p
        self._get_threads, self._set_threads = self._functions.omp_get_max_threads, self._functions.omp_set_num_threads
        self._engine, self._stream = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("dnnl_engine_create", ctypes.byref(self._engine), ctypes.c_int(_CPU), ctypes.c_size_t(0))
        self._call("dnnl_stream_create", ctypes.byref(self._stream), self._engine, ctypes.c_uint(_IN_ORDER))
        # One convolution at a time: each has all cores, and a prepared one has memory of its own.
        self._lock = threading.Lock()
        self._prepared: dict[tuple[str, int, str, Shape, Shape, Shape], Callable[[int, int, int], None]] = {}
        self.multiplies_bfloat16 = bool(self._functions.dnnl_get_effective_cpu_isa() & _BFLOAT16_INSTRUCTIONS)

    def run(self, task: str, x: Buffer, kernel: Buffer, y: Buffer, stride: int = 1) -> None:
        """Write y of "convolution", x of "input_gradient" or kernel of "kernel_gradient" from the other two."""
        kind = (task, stride, x.dtype, x.shape, kernel.shape, y.shape)
        with self._lock:
            if kind not in self._prepared:
                self._prepared[kind] = self._prepare(*kind)
            self._prepared[kind](x.address, kernel.address, y.address)

    def _prepare(
        self, task: str, stride: int, dtype: str, x: Shape, kernel: Shape, y: Shape
    ) -> Callable[[int, int, int], None]:
        # A padding of 3x3 kernels begins before the first row; none is wider than one row. With a stride, the last rows
        # may be left over, padding or not.
        totals = [max(0, (y[axis] - 1) * stride + kernel[axis - 1] - x[axis]) for axis in (1, 2)]
        first = [min(1, total) for total in totals]
        last = [total - before for total, before in zip(totals, first, strict=True)]
        geometry = [_numbers(stride, stride), _numbers(0, 0), _numbers(*first), _numbers(*last)]
        (n, h, w, c), (rows, columns, inputs, outputs), (_, p, q, _) = x, kernel, y
        images = self._layout(dtype, (n, c, h, w), (h * w * c, 1, w * c, c))
        maps = self._layout(dtype, (n, outputs, p, q), (p * q * outputs, 1, q * outputs, outputs))
        sizes = (outputs, inputs, rows, columns)
        hwio = self._layout(dtype, sizes, (1, outputs, columns * inputs * outputs, inputs * outputs))
        blocked = self._layout(dtype, sizes, None)  # the library's choice

        description = self._describe("forward", _TRAINING, _DIRECT, images, blocked, None, maps, *geometry)
        if task == "input_gradient":
            description = self._describe("backward_data", _DIRECT, images, blocked, maps, *geometry, description)
        elif task == "kernel_gradient":
            description = self._describe(
                "backward_weights", _DIRECT, images, blocked, None, maps, *geometry, description
            )
        asked = _KERNEL_GRADIENT_LAYOUT if task == "kernel_gradient" else _KERNEL_LAYOUT
        blocked = ctypes.c_void_p(self._functions.dnnl_primitive_desc_query_md(description, asked, 0))
        convolve = self._primitive(description)
        layouts = (blocked, hwio) if task == "kernel_gradient" else (hwio, blocked)
        with self._one_thread():
            rearrangement = self._rearrangement(*layouts)
        source, destination, own = self._memory(images), self._memory(maps), self._memory(blocked, _ALLOCATE)
        weights = self._memory(hwio)

        def rearrange(operands: dict[int, ctypes.c_void_p]) -> None:
            with self._one_thread():
                self._execute(rearrangement, operands)

        def run(x_address: int, kernel_address: int, y_address: int) -> None:
            self._place(source, x_address)
            self._place(weights, kernel_address)
            self._place(destination, y_address)
            if task == "convolution":
                rearrange({_SOURCE: weights, _DESTINATION: own})
                self._execute(convolve, {_SOURCE: source, _WEIGHTS: own, _DESTINATION: destination})
            elif task == "input_gradient":
                rearrange({_SOURCE: weights, _DESTINATION: own})
                operands = {_SOURCE_GRADIENT: source, _WEIGHTS: own, _DESTINATION_GRADIENT: destination}
                self._execute(convolve, operands)
            else:
                operands = {_SOURCE: source, _WEIGHTS_GRADIENT: own, _DESTINATION_GRADIENT: destination}
                self._execute(convolve, operands)
                rearrange({_SOURCE: own, _DESTINATION: weights})

        return run

    @contextmanager
    def _one_thread(self) -> Iterator[None]:
        # For rearranging a kernel, which takes less time than waking up another thread.
        threads = self._get_threads()
        self._set_threads(1)
        try:
            yield
        finally:
            self._set_threads(threads)

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._functions, name)(*arguments)
        if status:
            raise OneDNNError(f"{name} of {PACKAGE} failed: {_STATUS.get(status, f'status {status}')}")

    def _layout(self, dtype: str, sizes: Shape, strides: Shape | None) -> ctypes.c_void_p:
        layout, rank, numbers = ctypes.c_void_p(), ctypes.c_int(len(sizes)), _numbers(*sizes)
        given = (ctypes.byref(layout), rank, numbers, ctypes.c_int(_DTYPES[dtype]))
        if strides is None:
            self._call("dnnl_memory_desc_create_with_tag", *given, ctypes.c_int(_ANY_LAYOUT))
        else:
            self._call("dnnl_memory_desc_create_with_strides", *given, _numbers(*strides))
        return layout

    def _describe(self, direction: str, *arguments: Any) -> ctypes.c_void_p:
        # Arguments in the order of the C function: kinds, layouts, geometry and, going backward, the forward one.
        description = ctypes.c_void_p()
        values = [ctypes.c_int(value) if isinstance(value, int) else value for value in arguments]
        name = f"dnnl_convolution_{direction}_primitive_desc_create"
        self._call(name, ctypes.byref(description), self._engine, *values, None)
        return description

    def _rearrangement(self, source: ctypes.c_void_p, destination: ctypes.c_void_p) -> ctypes.c_void_p:
        description = ctypes.c_void_p()
        layouts = (source, self._engine, destination, self._engine)
        self._call("dnnl_reorder_primitive_desc_create", ctypes.byref(description), *layouts, None)
        return self._primitive(description)

    def _primitive(self, description: ctypes.c_void_p) -> ctypes.c_void_p:
        primitive = ctypes.c_void_p()
        self._call("dnnl_primitive_create", ctypes.byref(primitive), description)
        return primitive

    def _memory(self, layout: ctypes.c_void_p, address: ctypes.c_void_p | None = None) -> ctypes.c_void_p:
        memory = ctypes.c_void_p()
        self._call("dnnl_memory_create", ctypes.byref(memory), layout, self._engine, address)
        return memory

    def _place(self, memory: ctypes.c_void_p, address: int) -> None:
        self._call("dnnl_memory_set_data_handle", memory, ctypes.c_void_p(address))

    def _execute(self, primitive: ctypes.c_void_p, operands: dict[int, ctypes.c_void_p]) -> None:
        arguments = (_Argument * len(operands))(*(_Argument(kind, memory) for kind, memory in operands.items()))
        self._call("dnnl_primitive_execute", primitive, self._stream, ctypes.c_int(len(operands)), arguments)


def onednn_available(dtype: DTypeLike = jnp.float32) -> bool:
    """Return whether the library is installed, loads, and computes in dtype with this processor's own instructions."""
    library = _loaded()
    if library is None:
        return False
    return jnp.dtype(dtype) == jnp.float32 or (jnp.dtype(dtype) == jnp.bfloat16 and library.multiplies_bfloat16)


@functools.cache
def _loaded() -> Library | None:
    # Loads the library and registers it with XLA; None where it is unavailable.
    path = library_path()
    if path is None:
        return None
    try:
        library = Library(path)
    except (OSError, AttributeError, OneDNNError) as error:  # for another system, or without the OpenMP library
        warnings.warn(
            f"{PACKAGE} is installed but does not load ({error}), so that XLA convolves, which takes longer; where "
            "libgomp.so.1 is missing, install it (Debian: libgomp1)",
            stacklevel=2,
        )
        return None
    for stride in STRIDES:
        _register(library, stride)
    return library


def _register(library: Library, stride: int) -> None:
    run = library.run
    register(_name("convolution", stride), lambda x, kernel, y: run("convolution", x, kernel, y, stride))
    register(_name("input_gradient", stride), lambda kernel, y, x: run("input_gradient", x, kernel, y, stride))
    register(_name("kernel_gradient", stride), lambda x, y, kernel: run("kernel_gradient", x, kernel, y, stride))


def _name(task: str, stride: int) -> str:
    return f"airjax_{task}" if stride == 1 else f"airjax_{task}_{stride}"


def library_path() -> str | None:
    """Return the path of the installed package's library; None where it is not installed."""
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        return None
    return next((str(file.locate()) for file in files if file.name == _LIBRARY), None)


def onednn_pads(padding: Padding) -> bool:
    """Return whether `onednn_conv` takes this padding: at most one on each side, and none after without one before."""
    return all(sides in ((0, 0), (1, 0), (1, 1)) for sides in padding)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def onednn_conv(
    x: Float[Array, "n h w i"], kernel: Float[Array, "rows cols i o"], padding: Padding, stride: int = 1
) -> Float[Array, "n _ _ o"]:
    """Convolve; padding is ((top, bottom), (left, right)), and the stride that of both axes, 1 or 2.

    Both arrays are float32 or both bfloat16, which is summed in float32 and rounded at the end. Raises ValueError where
    the library is unavailable, for arrays of two dtypes, another stride, and padding that `onednn_pads` refuses.
    """
    if stride not in STRIDES:
        raise ValueError(f"oneDNN's convolutions are called with stride 1 or 2, not {stride}; convolve natively")
    if x.dtype != kernel.dtype:
        raise ValueError(f"oneDNN convolves arrays of one dtype, not {x.dtype} with {kernel.dtype}; cast one of them")
    if not onednn_pads(padding):
        raise ValueError(f"oneDNN's convolutions are not called with padding {padding}; pad the image before")
    rows, columns = ((x.shape[axis + 1] + sum(padding[axis]) - kernel.shape[axis]) // stride + 1 for axis in (0, 1))
    return _ffi(_name("convolution", stride), (x.shape[0], rows, columns, kernel.shape[3]), x, kernel)


def _forward(x: Array, kernel: Array, padding: Padding, stride: int) -> tuple[Array, tuple[Array, Array]]:
    return onednn_conv(x, kernel, padding, stride), (x, kernel)


def _backward(padding: Padding, stride: int, saved: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    x, kernel = saved
    by_input = _ffi(_name("input_gradient", stride), x.shape, kernel, cotangent)
    return by_input, _ffi(_name("kernel_gradient", stride), kernel.shape, x, cotangent)


onednn_conv.defvjp(_forward, _backward)


def _ffi(name: str, shape: Shape, *operands: Array) -> Array:
    dtype = operands[0].dtype
    if not onednn_available(dtype):
        raise ValueError(
            f"oneDNN is not installed, does not load, or does not compute {dtype} here; pip install 'airjax[cpu]', or "
            "convolve natively"
        )
    # Under vmap it is called for one member after the other.
    return jax.ffi.ffi_call(name, jax.ShapeDtypeStruct(shape, dtype), vmap_method="sequential")(*operands)


def _numbers(*values: int) -> Any:
    return (ctypes.c_int64 * 12)(*values)  # the library's own length


def _load(path: str) -> ctypes.CDLL:
    # libgomp reads its settings when it is loaded. Threads that wait busily would keep the cores from XLA's, so they
    # sleep unless the user has said otherwise.
    settings = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    quiet = not any(name in os.environ for name in settings)
    if quiet:
        os.environ["GOMP_SPINCOUNT"] = "0"
    try:
        return ctypes.CDLL(path)
    finally:
        if quiet:
            del os.environ["GOMP_SPINCOUNT"]
