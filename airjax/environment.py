"""Where a result was made: device, versions, commit."""

import functools
import hashlib
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("airjax", "jax", "jaxlib", "flax", "optax", "numpy", "onednn-cpu-gomp")


@functools.cache
def describe() -> dict[str, Any]:
    """Device, versions, form of float32 convolutions and source commit, as a record for results.

    Raises ValueError for an AIRJAX_CONVOLUTION that cannot be served.
    """
    import jax
    import jax.numpy as jnp

    from airjax.layers import default_convolution

    device = jax.devices()[0]
    return {
        "device": cpu_name() if device.platform == "cpu" else device.device_kind,
        "platform": device.platform,
        "num_devices": jax.device_count(),
        "convolution": default_convolution(jnp.float32),
        "versions": versions(),
        "commit": commit(),
    }


def versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str | None]:
    """Versions of Python and of packages; None for one that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def cpu_name() -> str:
    """Model of the processor, and the number of cores that this process may use."""
    import os

    name = _cpu_fact("model name") or platform.processor() or platform.machine()
    return f"{name}, {len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores"


def cpu_kind() -> str:
    """A short name for what this processor can do: programs that are compiled for one kind may not run on another."""
    facts = (platform.machine(), _cpu_fact("model name"), _cpu_fact("flags") or _cpu_fact("Features"))
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:8]


def _cpu_fact(name: str) -> str | None:
    # Of the first core; None where the system does not say.
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(name):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return None


def commit() -> str | None:
    """Commit of the checkout that this file is in, with "+" where it differs; None outside a checkout."""
    folder = Path(__file__).parent.parent
    if not (folder / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "airjax", "parity", "benchmarks/*.py")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None
