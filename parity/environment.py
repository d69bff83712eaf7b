"""Where a comparison is made: device, versions of both frameworks, commit."""

from typing import Any, Literal

from airjax.environment import commit, cpu_name, versions

Device = Literal["cpu", "cuda"]
PACKAGES = ("airjax", "jax", "jaxlib", "flax", "optax", "torch", "airbench", "numpy", "scipy")


def describe(device: Device) -> dict[str, Any]:
    """The environment as a record. It starts neither JAX nor a CUDA context of it: a GPU's memory is for the trainings.

    Raises ValueError if there is no such device.
    """
    return {
        "device": cpu_name() if device == "cpu" else _gpu_name(),
        "versions": versions(PACKAGES),
        "commit": commit(),
    }


def default_device() -> Device:
    """A GPU if torch sees one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def start_jax(device: Device) -> None:
    """Make JAX compute on a device. Raises ValueError if it does not see it."""
    import jax

    if device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    elif jax.default_backend() != "gpu":
        raise ValueError("JAX sees no GPU; install jax[cuda12] or jax[cuda13], or pass --device cpu")


def _gpu_name() -> str:
    import torch

    if not torch.cuda.is_available():
        raise ValueError("torch sees no CUDA device; pass --device cpu")
    return torch.cuda.get_device_properties(0).name
