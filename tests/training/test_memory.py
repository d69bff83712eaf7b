import platform
import resource
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from airjax.training.compile import compile_function
from airjax.training.memory import available_bytes, is_out_of_memory, predicted_bytes, release_freed


def test_prediction_counts_arguments_and_results() -> None:
    shape = jax.ShapeDtypeStruct((1000, 1000), jnp.float32)
    small = compile_function(lambda x: x + 1, jax.ShapeDtypeStruct((10,), jnp.float32))
    large = compile_function(lambda x: x + 1, shape)
    assert predicted_bytes([small, large]) >= 8_000_000
    assert predicted_bytes([small]) < 1000
    assert predicted_bytes([]) == 0


def test_something_is_available() -> None:
    available = available_bytes()
    assert available is None or 1_000_000 < available < 10**14


def test_memory_that_holds_files_counts_as_free(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemFree: 10 kB\nMemAvailable: 2000 kB\n")
    if jax.default_backend() == "cpu":
        assert available_bytes(tmp_path / "meminfo") == int(0.85 * 2_048_000) // jax.local_device_count()


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc, which keeps small pieces")
def test_freed_memory_goes_back_to_the_system() -> None:
    pieces = [bytearray(b"x" * 65_536) for _ in range(2000)]
    kept = pieces[::100]
    del pieces
    before = resident_bytes()
    release_freed()
    assert resident_bytes() < before - 50_000_000
    assert all(piece[-1] == ord("x") for piece in kept)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: no"), True),
        (jax.errors.JaxRuntimeError("INTERNAL: no"), False),
        (ValueError("RESOURCE_EXHAUSTED"), False),
    ],
)
def test_only_a_device_runs_out_of_memory(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected
