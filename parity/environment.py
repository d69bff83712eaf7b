"""Where a comparison is made, and on what: device, versions of both frameworks, commit, data set."""

import os
from typing import Any, Literal

from airjax.data.dataset import SYNTHETIC, Dataset
from airjax.training.environment import commit, cpu_name, versions

Device = Literal["cpu", "cuda"]
MADE_UP = (SYNTHETIC, "noise")  # data sets without an order that could be another
PACKAGES = ("airjax", "jax", "jaxlib", "flax", "optax", "torch", "airbench", "numpy", "scipy")


def describe(device: Device) -> dict[str, Any]:
    """Return the environment as a record. It starts neither JAX nor a CUDA context of it: a GPU's memory is for the
    trainings.

    Raises ValueError if there is no such device.
    """
    return {
        "device": cpu_name() if device == "cpu" else _gpu_name(),
        "versions": versions(PACKAGES),
        "commit": commit(),
    }


def describe_data(data: Dataset) -> dict[str, str]:
    """Return what a record says of a data set: its name, and whether its content is official, where that applies."""
    return {"data": data.name} | ({} if data.name in MADE_UP else {"content": data.content})


def default_device() -> Device:
    """Return a GPU if torch sees one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def start_jax(device: Device) -> None:
    """Make JAX compute on a device. Raises ValueError if it does not see it."""
    import jax

    if device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    elif jax.default_backend() != "gpu":
        raise ValueError("JAX sees no GPU; install jax[cuda12] or jax[cuda13], or pass --device cpu")


def cores() -> int:
    """Return how many cores the process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use_cores(count: int) -> None:
    """Compute on this many of the process's cores, before JAX starts: its threads are as many.

    Raises ValueError where there are fewer, or where processes cannot be kept to some of the cores.
    """
    if count < 1:
        raise ValueError(f"--threads is {count}; it must be at least 1")
    if count > cores():
        raise ValueError(f"--threads is {count}; this process has {cores()} cores")
    if count == cores():
        return
    if not hasattr(os, "sched_setaffinity"):
        raise ValueError("this system cannot keep a process to some of its cores; leave --threads out")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def _gpu_name() -> str:
    import torch

    if not torch.cuda.is_available():
        raise ValueError("torch sees no CUDA device; pass --device cpu")
    return torch.cuda.get_device_properties(0).name
