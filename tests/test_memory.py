import os
import platform
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from airjax.driver import compile_function
from airjax.memory import available_bytes, is_out_of_memory, predicted_bytes


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


def test_memory_that_holds_files_counts_as_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemFree: 10 kB\nMemAvailable: 2000 kB\n")
    monkeypatch.setattr("airjax.memory.MEMINFO", tmp_path / "meminfo")
    if jax.default_backend() == "cpu":
        assert available_bytes() == int(0.85 * 2_048_000) // jax.local_device_count()


KEEP = """
import numpy as np
from pathlib import Path
from airjax.memory import keep_freed_memory, release_freed_memory
kept = keep_freed_memory()
for _ in range(2):
    array = np.ones(2**25)  # 256 MiB
    del array
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 // 2**20
before = resident()
release_freed_memory()
print(kept, before, resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
@pytest.mark.parametrize("set_by_user", [False, True])
def test_a_process_keeps_what_it_frees_unless_the_user_says_otherwise(set_by_user: bool) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    if set_by_user:
        environment["MALLOC_TRIM_THRESHOLD_"] = "131072"
    done = subprocess.run([sys.executable, "-c", KEEP], env=environment, capture_output=True, text=True, check=True)
    kept, before, after = done.stdout.split()
    assert kept == str(not set_by_user)
    assert (int(before) > 256) == (not set_by_user)
    assert int(after) < 256


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
