"""A JAX that cannot start or cannot compile: one clear error, in the library and on the command line."""

import os
import subprocess
import sys

import pytest

from airjax.utils.platform import DeviceError, default_platform

TRAIN = "import airjax; airjax.train_network('tiny', airjax.load_builtin(300, 100))"


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=False
    )


def test_this_process_computes() -> None:
    assert default_platform() in ("cpu", "gpu", "tpu")


@pytest.mark.parametrize("platform", ["cuda", "tpu", "abacus"])
def test_a_platform_that_is_missing_is_named_with_the_remedy(platform: str) -> None:
    done = run_python("from airjax.utils.platform import default_platform; default_platform()", JAX_PLATFORMS=platform)
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"airjax.utils.platform.DeviceError: JAX cannot start the platform '{platform}' (")
    assert "check JAX_PLATFORMS" in last
    assert "jax[cuda12]" in last


def test_the_library_raises_it_wherever_a_training_begins() -> None:
    done = run_python(TRAIN, JAX_PLATFORMS="abacus")
    assert done.stderr.splitlines()[-1].startswith("airjax.utils.platform.DeviceError: JAX cannot start")


def test_without_jit_there_is_one_error_at_the_start_and_none_at_the_end() -> None:
    done = run_python(TRAIN, JAX_DISABLE_JIT="1")
    assert done.stderr.count("Traceback") == 1
    assert done.stderr.splitlines()[-1].startswith("airjax.utils.platform.DeviceError: JAX_DISABLE_JIT is set")


def test_jit_that_is_disabled_after_programs_ran_leaves_the_end_of_the_process_alone() -> None:
    code = """
import jax
from airjax.kernels.ffi import register
register("nothing", print)
jax.config.update("jax_disable_jit", True)
"""
    done = run_python(code, JAX_PLATFORMS="cpu")
    assert (done.returncode, done.stderr) == (0, "")


FIRST_ASKED_BY_JAX = """
import jax.numpy
from airjax.cli.console import run_main
run_main(lambda: int(jax.numpy.zeros(())))
"""


def test_a_command_says_it_in_a_line_whoever_asks_jax_first() -> None:
    done = run_python(FIRST_ASKED_BY_JAX, JAX_PLATFORMS="cuda")
    assert done.returncode == 2
    assert done.stderr.startswith("error: JAX cannot start the platform 'cuda' (no plugin")
    assert len(done.stderr.splitlines()) == 1


def test_an_error_of_another_kind_keeps_its_traceback() -> None:
    done = run_python("from airjax.cli.console import run_main; run_main(lambda: [][0] or 1)")
    assert done.stderr.splitlines()[-1] == "IndexError: list index out of range"
    code = "from airjax.cli.console import run_main\ndef main(): raise RuntimeError('ours')\nrun_main(main)"
    assert run_python(code).stderr.splitlines()[-1] == "RuntimeError: ours"


@pytest.mark.parametrize("command", [["airjax.doctor"], ["airjax.train", "--recipe", "tiny", "--data", "builtin"]])
def test_commands_say_it_in_a_line(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        env=os.environ | {"JAX_PLATFORMS": "abacus"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: JAX cannot start the platform 'abacus'")
    assert len(done.stderr.splitlines()) == 1
    assert issubclass(DeviceError, ValueError)
