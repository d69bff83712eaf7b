"""Scripts in processes of their own, with several virtual devices or beside other processes of the same training."""

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def environment_of(devices: int) -> dict[str, str]:
    """Return the environment of a process that sees so many CPU devices, and nothing of this process's settings."""
    flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}", "JAX_PLATFORMS": "cpu"}
    kept = {name: os.environ[name] for name in ("PATH", "AIRJAX_CACHE", "HOME") if name in os.environ}
    return kept | flags | {"PYTHONPATH": f"{ROOT}"}


def run_on_devices(devices: int, script: str) -> str:
    """Run a script with so many CPU devices, warnings as errors; returns what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env=environment_of(devices),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def free_port() -> int:
    """Return a port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
