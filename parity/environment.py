"""Where a comparison is made, and on what: device, versions of both frameworks, commit, data set."""

import os
from collections.abc import Callable
from typing import Any, Literal

from airjax.data.dataset import SYNTHETIC, Dataset
from airjax.recipes.recipe import Recipe
from airjax.training.environment import commit, cpu_name, settings, versions
from airjax.training.environment import describe as describe_airjax
from parity.gpu import gpu_name
from parity.worker import Worker

Device = Literal["cpu", "cuda"]
MADE_UP = (SYNTHETIC, "noise")  # data sets without an order that could be another
PACKAGES = ("airjax", "jax", "jaxlib", "flax", "optax", "torch", "airbench", "numpy", "scipy", "onednn-cpu-gomp")


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


def describe_computation(recipe: Recipe) -> dict[str, Any]:
    """Return what convolves in a recipe's trainings by airjax in this process, and its settings. Starts JAX."""
    from airjax.training.backend import backend_of

    return {"convolution": backend_of(recipe).convolution, "settings": settings()}


def describe_apart() -> dict[str, Any]:
    """Return airjax's description of where results are made, by a process of its own.

    This one then has no JAX that would hold memory of a GPU, or threads, while others are measured. Raises WorkerError.
    """
    with Worker("description", _describer, None) as process:
        return process.ask(None, "the device")


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


def _describer(_: None) -> Callable[[None], dict[str, Any]]:
    return lambda _: describe_airjax()


def _gpu_name() -> str:
    import torch

    # torch knows which of several GPUs are visible to it; the driver knows one where torch is without CUDA.
    name = torch.cuda.get_device_properties(0).name if torch.cuda.is_available() else gpu_name()
    if name is None:
        raise ValueError("neither torch nor the driver sees a GPU; pass --device cpu")
    return name
