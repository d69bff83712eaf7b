"""Whether a GPU's compiler is installed, which needs no GPU."""

from importlib.util import find_spec

PLUGINS = ("jax_plugins.xla_cuda12", "jax_plugins.xla_cuda13")
NO_GPU_COMPILER = "JAX's CUDA plugin is not installed (.ci/run does it)"


def has_gpu_compiler() -> bool:
    try:
        return any(find_spec(name) is not None for name in PLUGINS)
    except ModuleNotFoundError:
        return False
