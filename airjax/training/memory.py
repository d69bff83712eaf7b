"""How much memory a compiled program takes, how much there is, and giving back what is not needed."""

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax

MEMINFO = Path("/proc/meminfo")
SHARE = 0.85  # of what is free that one program may take: allocators lose some to fragments


def predicted_bytes(programs: Iterable[Any]) -> int:
    """Memory in bytes of the largest of some compiled programs: its arguments, its results, what it works in.

    On several devices this is the memory of one of them. 0 where the backend does not say.
    """
    return max((_bytes_of(program.memory_analysis()) for program in programs), default=0)


def available_bytes(meminfo: Path = MEMINFO) -> int | None:
    """Memory in bytes that a new program may take on the first local device; None where nobody knows.

    meminfo is where Linux says how much a CPU's programs may take.
    """
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        free = _host_bytes(meminfo)
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


def release_freed() -> None:
    """Hand memory that this process has freed back to the system, where the C library can.

    A compiler leaves hundreds of megabytes, in small pieces that the C library would keep.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # not glibc; not a system that can look into its own process
        return
    trim(ctypes.c_size_t(0))


def _host_bytes(meminfo: Path) -> int | None:
    try:
        # What the system can free at once counts: most of what is not free are files that it has read.
        for line in meminfo.read_text().splitlines():
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
