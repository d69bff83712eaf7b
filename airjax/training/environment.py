"""Where a result was made: device, versions, settings, commit."""

import functools
import hashlib
import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from airjax.utils.platform import default_platform

SOURCES = ("airjax", "parity", "benchmarks/*.py", "experiments/*.py", "experiments/*.toml")  # what results depend on
PACKAGES = ("airjax", "jax", "jaxlib", "flax", "optax", "numpy", "onednn-cpu-gomp")

# What can change numbers that a seed leads to; the random numbers depend on no setting (airjax.utils.seeds).
JAX_SETTINGS = (
    "jax_allow_f16_reductions",
    "jax_compiler_enable_remat_pass",
    "jax_default_matmul_precision",
    "jax_disable_most_optimizations",
    "jax_enable_x64",
    "jax_exec_time_optimization_effort",
    "jax_explicit_x64_dtypes",
    "jax_memory_fitting_effort",
    "jax_memory_fitting_level",
    "jax_numpy_dtype_promotion",
    "jax_optimization_level",
    "jax_use_direct_linearize",
)
# Numbers of threads are left out: a sweep's workers have fewer than a single process, and only sums' order differs.
VARIABLES = (
    *("XLA_FLAGS", "LIBTPU_INIT_ARGS", "NVIDIA_TF32_OVERRIDE"),
    *("ONEDNN_DEFAULT_FPMATH_MODE", "ONEDNN_MAX_CPU_ISA", "DNNL_DEFAULT_FPMATH_MODE", "DNNL_MAX_CPU_ISA"),
)


def describe() -> dict[str, Any]:
    """Return device, versions, form of float32 convolutions, settings and source commit, as a record for results.

    Raises ValueError for an AIRJAX_CONVOLUTION that cannot be served, and DeviceError where JAX cannot start.
    """
    import jax
    import jax.numpy as jnp

    from airjax.kernels.convolution import default_convolution

    convolution = default_convolution(jnp.float32, default_platform())
    return {
        "device": device_name(),
        "platform": jax.devices()[0].platform,
        "num_devices": jax.device_count(),
        "convolution": convolution,
        "settings": settings(),
        "versions": versions(),
        "commit": commit(),
    }


def device_name() -> str:
    """Return the model of the device, and on a CPU the number of cores that this process may use."""
    import jax

    device = jax.devices()[0]
    return cpu_name() if device.platform == "cpu" else device.device_kind


def settings() -> dict[str, Any]:
    """Return JAX's settings that can change numbers, and those environment variables that are set."""
    import jax

    values = {name: getattr(jax.config, name, None) for name in JAX_SETTINGS}  # None: not in this version
    found = {name: value if isinstance(value, bool | float | None) else str(value) for name, value in values.items()}
    return found | {name: os.environ[name] for name in VARIABLES if name in os.environ}


def fingerprint_of(description: dict[str, Any]) -> str:
    """Return a digest of a description without its commit: equal digests are expected to compute equal numbers."""
    relevant = {name: value for name, value in description.items() if name != "commit"}
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()[:12]


def versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str | None]:
    """Return the versions of Python and of packages; None for one that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def cpu_name() -> str:
    """Return the model of the processor, and the number of cores that this process may use."""
    name = _cpu_fact("model name") or platform.processor() or platform.machine()
    return f"{name}, {len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores"


def cpu_kind() -> str:
    """Return a short name for what this processor can do: programs compiled for one kind may not run on another."""
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


@functools.cache
def commit() -> str | None:
    """Return the commit of the checkout that this package is in, with "+" where what results depend on differs.

    Outside a checkout, such as in a copy of one, it is the variable AIRJAX_COMMIT; None where that is unset.
    """
    folder = Path(__file__).parents[2]  # beside the package
    if not (folder / ".git").exists():
        return os.environ.get("AIRJAX_COMMIT") or None

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", *SOURCES)
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None
