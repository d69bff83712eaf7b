"""Compile pure functions ahead of time, with the options that a platform needs."""

import functools
from collections.abc import Callable, Hashable
from typing import Any, Generic, ParamSpec

import jax
from jax.sharding import Mesh

from airjax.data.cache import cache_folder
from airjax.kernels.convolution import Convolution
from airjax.training.data_parallel import jit_on, over_devices
from airjax.training.environment import cpu_kind, settings
from airjax.training.memory import release_freed
from airjax.training.tentative import Options, Tentative
from airjax.utils.platform import default_platform

Arguments = ParamSpec("Arguments")

# What XLA puts into a CUDA graph, a command buffer in its words. Without CONVOLUTION a step is dozens of launches, and
# a loop that has any convolution stays outside. As a compiler option it has to be the whole list: "+CONVOLUTION" is
# refused.
COMMANDS = "FUSION,CUBLAS,CUBLASLT,CUDNN,CUSTOM_CALL,CONDITIONAL,DYNAMIC_SLICE_FUSION,CONVOLUTION"

COMPILER_OPTIONS: dict[str, Options] = {
    # The CPU compiler's default fusion library slows its own convolutions down (docs/performance.md, "What was tried"),
    # and is the subject of wrong-result reports.
    "cpu": {"xla_cpu_experimental_ynn_fusion_type": ""},
    # All steps of a phase as one graph, in which a kernel waits only for those whose results it reads.
    "gpu": {
        "xla_gpu_enable_command_buffer": f"{COMMANDS},WHILE",
        "xla_gpu_command_buffer_scheduling_mode": "CONCURRENT",
    },
}

# Platforms whose options a program can do without, where the compiler, the driver or a library does not take them: not
# every convolution can be captured.
OPTIONAL = ("gpu",)

# For what runs once, which takes longer to compile than to run; the results are the same bits.
ONCE_OPTIONS: dict[str, Options] = {"cpu": {"xla_backend_optimization_level": "1"}}


def keep_compiled() -> None:
    """Keep what this process compiles on disk for later ones: in the cache folder, unless JAX has one already.

    Each kind of processor has a folder of its own. A damaged program is compiled again, and a folder that cannot be
    written is not used, each with a warning.
    """
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "compiled" / cpu_kind()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def compiler_options(platform: str, convolution: Convolution = "native") -> Options:
    """Return the options with which a platform computes fastest, with convolutions in one form."""
    options = COMPILER_OPTIONS.get(platform, {})
    if platform == "gpu" and convolution == "matmul":
        # The compiler of jax 0.10.1 aborts the process over products of patches in a loop that is a graph.
        return options | {"xla_gpu_enable_command_buffer": COMMANDS}
    return options


def plain_options(platform: str, convolution: Convolution = "native") -> Options:
    """Return those of `compiler_options` that a program cannot do without."""
    return {} if platform in OPTIONAL else compiler_options(platform, convolution)


def compile_lowered(
    lowered: jax.stages.Lowered,
    platform: str | None = None,
    convolution: Convolution = "native",
    *,
    once: bool = False,
) -> jax.stages.Compiled:
    """Compile a lowered function with the options that a platform, this process's if None, cannot do without.

    once: for what runs once.
    """
    platform = platform or default_platform()
    options = plain_options(platform, convolution) | (ONCE_OPTIONS.get(platform, {}) if once else {})
    compiled = lowered.compile(compiler_options=options)
    release_freed()
    return compiled


def compile_repeated(
    lowered: jax.stages.Lowered,
    platform: str | None = None,
    convolution: Convolution = "native",
    *,
    mesh: Mesh | None = None,
) -> jax.stages.Compiled | Tentative:
    """Compile what takes a training's time, with all options of `compiler_options`, where they hold: see Tentative.

    The libraries must have launched its kernels before where `tries_options` says so.
    """
    platform = platform or default_platform()
    if not tries_options(platform, mesh):
        return compile_lowered(lowered, platform, convolution)
    compiled = Tentative(lowered, compiler_options(platform, convolution), plain_options(platform, convolution))
    release_freed()
    return compiled


def tries_options(platform: str, mesh: Mesh | None) -> bool:
    """Say whether `compile_repeated` tries options with which a program may fail.

    On a mesh it does not: options that fail in one process alone would leave the processes with different programs.
    """
    return platform in OPTIONAL and mesh is None


def compile_function(
    function: Callable[..., Any], *shapes: Any, convolution: Convolution = "native", mesh: Mesh | None = None
) -> jax.stages.Compiled:
    """Compile a pure function for arguments of these shapes, with this platform's options.

    On a mesh every device calls the function, with the same arguments, and has the same result.
    """
    lowered = jit_on(mesh, over_devices(mesh, function)).lower(*shapes)
    return compile_lowered(lowered, convolution=convolution)


class CompiledOnce(Generic[Arguments]):
    """A function that compiles, whose results are kept for its positional arguments.

    What is compiled is of JAX's settings of that moment: under others that can change numbers it is compiled anew.
    """

    def __init__(self, function: Callable[Arguments, Any], maxsize: int) -> None:
        call_with: Callable[..., Any] = function

        def call(_: Hashable, *arguments: Any) -> Any:
            return call_with(*arguments)

        # typed: True is 1 to a cache, but no level of test-time augmentation.
        self._cached = functools.lru_cache(maxsize=maxsize, typed=True)(call)
        self.cache_clear, self.cache_info = self._cached.cache_clear, self._cached.cache_info

    def __call__(self, *arguments: Arguments.args, **named: Arguments.kwargs) -> Any:
        """Return what is compiled for these arguments and JAX's settings."""
        assert not named, "arguments of what is compiled once are positional"
        return self._cached(tuple(settings().items()), *arguments)


def compiled_once(maxsize: int) -> Callable[[Callable[Arguments, Any]], CompiledOnce[Arguments]]:
    """Make a decorator that keeps so many of a function's latest results (`CompiledOnce`)."""
    return functools.partial(CompiledOnce, maxsize=maxsize)


def compilations_at_once(platform: str) -> int | None:
    """Return how many programs may compile at the same time; None: as many as there are.

    Only one where the compiler chooses kernels by their time: otherwise each would measure while another one's kernels
    run. One after the other, the second program finds the choices of the first.
    """
    return None if platform == "cpu" else 1
