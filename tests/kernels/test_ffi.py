import ctypes
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from airjax.kernels import ffi


def read(buffer: ffi.Buffer) -> np.ndarray:
    count = int(np.prod(buffer.shape))
    return np.ctypeslib.as_array((ctypes.c_float * count).from_address(buffer.address)).reshape(buffer.shape)


def subtract(a: ffi.Buffer, b: ffi.Buffer, out: ffi.Buffer) -> None:
    read(out)[...] = read(a) - read(b)


def fail(a: ffi.Buffer, out: ffi.Buffer) -> None:
    raise ValueError(f"no {a.shape}")


pytestmark = pytest.mark.skipif(jax.default_backend() != "cpu", reason="foreign functions in Python are for CPUs")


def call(name: str, *operands: jax.Array) -> jax.Array:
    return jax.ffi.ffi_call(name, jax.ShapeDtypeStruct(operands[0].shape, jnp.float32))(*operands)


def test_a_function_sees_its_operands_and_fills_its_result() -> None:
    ffi.register("test_subtract", subtract)
    a, b = jnp.arange(6.0).reshape(2, 3), jnp.full((2, 3), 2.0)
    np.testing.assert_array_equal(jax.jit(lambda a, b: call("test_subtract", a, b) * 2)(a, b), (a - b) * 2)


def test_it_can_be_called_from_a_loop() -> None:
    ffi.register("test_subtract", subtract)
    ten_times = jax.jit(lambda a, b: jax.lax.fori_loop(0, 10, lambda _, x: call("test_subtract", x, b), a))
    np.testing.assert_array_equal(ten_times(jnp.zeros(3), jnp.ones(3)), -10 * np.ones(3))


def test_an_exception_ends_the_program_with_its_message() -> None:
    ffi.register("test_fail", fail)
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"test_fail: ValueError: no \(4,\)"):
        jax.block_until_ready(jax.jit(lambda a: call("test_fail", a))(jnp.zeros(4)))
    np.testing.assert_array_equal(jnp.zeros(4) + 1, 1)  # the process goes on


def test_a_second_function_of_a_name_is_ignored() -> None:
    ffi.register("test_subtract", subtract)
    ffi.register("test_subtract", fail)
    np.testing.assert_array_equal(jax.jit(lambda a: call("test_subtract", a, a))(jnp.ones(2)), 0)


PENDING = """
import time, jax, jax.numpy as jnp
from airjax.kernels import ffi
ffi.register("slow", lambda x, y: time.sleep(0.2))
x = jnp.ones((300, 300))
call = jax.ffi.ffi_call("slow", jax.ShapeDtypeStruct(x.shape, x.dtype))
program = jax.jit(lambda x: jax.lax.fori_loop(0, 5000, lambda _, y: call(y @ y), x)).lower(x).compile()
program(x)
print("the end")
"""


def test_a_process_ends_soon_though_a_program_still_runs() -> None:
    ended = subprocess.run([sys.executable, "-c", PENDING], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "the end\n"
