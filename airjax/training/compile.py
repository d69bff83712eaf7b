"""Compile pure functions ahead of time, with the options that a platform needs."""

from collections.abc import Callable
from typing import Any

import jax

from airjax.data.cache import cache_folder
from airjax.training.environment import cpu_kind
from airjax.training.memory import release_freed
from airjax.utils.platform import default_platform

# The CPU compiler's default fusion library slows its own convolutions down (docs/performance.md, "What was tried"), and
# is the subject of wrong-result reports.
COMPILER_OPTIONS: dict[str, dict[str, str | bool]] = {"cpu": {"xla_cpu_experimental_ynn_fusion_type": ""}}


# For what runs once, which takes longer to compile than to run; the results are the same bits.
ONCE_OPTIONS: dict[str, dict[str, str | bool]] = {"cpu": {"xla_backend_optimization_level": "1"}}


def keep_compiled() -> None:
    """Keep what this process compiles on disk for later ones: in the cache folder, unless JAX has one already.

    Each kind of processor has a folder of its own. A damaged program is compiled again, and a folder that cannot be
    written is not used, each with a warning.
    """
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "compiled" / cpu_kind()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def compile_lowered(
    lowered: jax.stages.Lowered, platform: str | None = None, *, once: bool = False
) -> jax.stages.Compiled:
    """Compile a lowered function with a platform's options, this process's if None; once: for what runs once."""
    platform = platform or default_platform()
    options = COMPILER_OPTIONS.get(platform, {}) | (ONCE_OPTIONS.get(platform, {}) if once else {})
    compiled = lowered.compile(compiler_options=options)
    release_freed()
    return compiled


def compile_function(function: Callable[..., Any], *shapes: Any) -> jax.stages.Compiled:
    """Compile a pure function for arguments of these shapes, with this platform's options."""
    return compile_lowered(jax.jit(function).lower(*shapes))


def compilations_at_once(platform: str) -> int | None:
    """Return how many programs may compile at the same time; None: as many as there are.

    Only one where the compiler chooses kernels by their time: otherwise each would measure while another one's kernels
    run. One after the other, the second program finds the choices of the first.
    """
    return None if platform == "cpu" else 1
