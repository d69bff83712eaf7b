"""How much memory a compiled program takes, how much there is, and what becomes of it when it is free."""

import ctypes
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax

# What mallopt takes (malloc.h), and the variables that say the same before the start.
_ARENA_MAX, _MMAP_MAX, _TRIM_THRESHOLD = -8, -4, -1
_SETTINGS = {_ARENA_MAX: 1, _MMAP_MAX: 0, _TRIM_THRESHOLD: -1}
_PREFIXES = ("MALLOC_", "GLIBC_TUNABLES")
MEMINFO = Path("/proc/meminfo")
SHARE = 0.85  # of what is free that one program may take: allocators lose some to fragments


def keep_freed_memory() -> bool:
    """Have this process keep the memory of arrays that it frees, for the next ones; False where it cannot be told to.

    The C library would hand it back, and the system clear its pages again, at every step (docs/performance.md). For
    command lines, before they start JAX, whose threads must share one heap: those of their own are too small for its
    arrays. Whoever has set one of the C library's own variables is obeyed.
    """
    if platform.libc_ver()[0] != "glibc" or any(name.startswith(_PREFIXES) for name in os.environ):
        return False
    taken = {name: ctypes.CDLL(None).mallopt(name, value) for name, value in _SETTINGS.items()}
    return all(taken.values())


def release_freed_memory() -> None:
    """Hand back to the system what is free at this moment, such as a compiler's memory after its work."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def predicted_bytes(programs: Iterable[Any]) -> int:
    """Memory in bytes of the largest of some compiled programs: its arguments, its results, what it works in.

    On several devices this is the memory of one of them. 0 where the backend does not say.
    """
    return max((_bytes_of(program.memory_analysis()) for program in programs), default=0)


def available_bytes() -> int | None:
    """Memory in bytes that a new program may take on the first local device; None where nobody knows."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        free = _host_bytes()
        # A CPU's virtual devices share one memory.
        return None if free is None else int(SHARE * free) // jax.local_device_count()
    stats = device.memory_stats() or {}
    if "bytes_limit" not in stats:
        return None
    return int(SHARE * (stats["bytes_limit"] - stats.get("bytes_in_use", 0)))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device had too little memory for what was asked of it."""
    text = str(error)
    return isinstance(error, jax.errors.JaxRuntimeError) and ("RESOURCE_EXHAUSTED" in text or "Out of memory" in text)


def _host_bytes() -> int | None:
    try:
        # What the system can free at once counts: most of what is not free are files that it has read.
        for line in MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except OSError:  # not Linux
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def _bytes_of(analysis: Any) -> int:
    if analysis is None:
        return 0
    sizes = (analysis.argument_size_in_bytes, analysis.output_size_in_bytes, analysis.temp_size_in_bytes)
    return sum(sizes) - analysis.alias_size_in_bytes  # a donated argument's memory holds a result
