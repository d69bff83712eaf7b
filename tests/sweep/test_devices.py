import subprocess
import sys
from pathlib import Path

import pytest

from airjax.sweep.devices import find_devices
from airjax.utils.platform import DeviceError

CLAIM = """
import sys
from pathlib import Path
import jax
from airjax.sweep.devices import claim_device
claim_device(Path(sys.argv[1]), (4, 6))
print(jax.config.read("jax_cuda_visible_devices"), flush=True)
sys.stdin.read()
"""


def test_devices_are_counted_by_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=3")
    assert find_devices() == ("cpu", (0, 1, 2))  # this process's own JAX has started without the flag
    monkeypatch.setenv("JAX_PLATFORMS", "abacus")
    with pytest.raises(DeviceError, match=r"JAX cannot start the platform 'abacus'.*check JAX_PLATFORMS"):
        find_devices()


def test_each_process_has_a_device_of_its_own_and_leaves_it_when_killed(tmp_path: Path) -> None:
    def claim() -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-c", CLAIM, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def seen(process: "subprocess.Popen[str]") -> str:
        assert process.stdout is not None
        return process.stdout.readline().strip()

    with claim() as first, claim() as second:
        ordinals = {seen(first): first, seen(second): second}
        assert set(ordinals) == {"4", "6"}
        with claim() as third:
            ordinals["6"].kill()
            assert seen(third) == "6"
            third.kill()
        ordinals["4"].kill()
