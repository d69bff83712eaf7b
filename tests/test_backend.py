"""A JAX that cannot start or cannot compile: one clear error, in the library and on the command line."""

import os
import subprocess
import sys

import pytest

from airjax.backend import DeviceError, default_platform

TRAIN = "import airjax; airjax.train_network('tiny', airjax.load_builtin(300, 100))"


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=False
    )


def test_this_process_computes() -> None:
    assert default_platform() in ("cpu", "gpu", "tpu")


@pytest.mark.parametrize("platform", ["cuda", "tpu", "abacus"])
def test_a_platform_that_is_missing_is_named_with_the_remedy(platform: str) -> None:
    done = run_python("from airjax.backend import default_platform; default_platform()", JAX_PLATFORMS=platform)
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"airjax.backend.DeviceError: JAX cannot start the platform '{platform}' (")
    assert "check JAX_PLATFORMS" in last
    assert "jax[cuda12]" in last


def test_the_library_raises_it_wherever_a_training_begins() -> None:
    done = run_python(TRAIN, JAX_PLATFORMS="abacus")
    assert done.stderr.splitlines()[-1].startswith("airjax.backend.DeviceError: JAX cannot start")


def test_without_jit_there_is_one_error_at_the_start_and_none_at_the_end() -> None:
    done = run_python(TRAIN, JAX_DISABLE_JIT="1")
    assert done.stderr.count("Traceback") == 1
    assert done.stderr.splitlines()[-1].startswith("airjax.backend.DeviceError: JAX_DISABLE_JIT is set")


def test_jit_that_is_disabled_after_programs_ran_leaves_the_end_of_the_process_alone() -> None:
    code = """
import jax
from airjax.ffi import register
register("nothing", print)
jax.config.update("jax_disable_jit", True)
"""
    done = run_python(code, JAX_PLATFORMS="cpu")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_doctor_says_it_in_a_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "airjax.doctor"],
        env=os.environ | {"JAX_PLATFORMS": "abacus"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: JAX cannot start the platform 'abacus'")
    assert len(done.stderr.splitlines()) == 1
    assert issubclass(DeviceError, ValueError)
