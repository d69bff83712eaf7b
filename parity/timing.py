"""What is timed, in either framework: the work of one process, in blocks that it does when it is told to."""

import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from airjax.data.dataset import Dataset
from airjax.recipes.recipe import Recipe
from airjax.training.run import segments
from parity.environment import Device

TimedTask = Literal["step", "run", "evaluate", "augment"]
ImplementationName = Literal[
    "airjax", "eager", "compiled", "autocast", "autocast-compiled", "airbench", "airbench-compiled"
]
# In which the released package trains. On a CPU torch has no eigenvectors, for whitening, in half precision.
PACKAGE_PRECISIONS: dict[Device, tuple[str, ...]] = {
    "cpu": ("auto", "float32", "float64"),
    "cuda": ("auto", "float16"),
}
AUTOCAST: tuple[ImplementationName, ...] = ("autocast", "autocast-compiled")

MATMUL_SIZE: dict[Device, int] = {"cpu": 2048, "cuda": 8192}  # rows and columns of the largest rate's product
COPY_BYTES: dict[Device, int] = {"cpu": 2**28, "cuda": 2**30}  # far more than the caches hold

# Calls that are timed at once: on a GPU one call is so short that its start and the wait for it would count.
RATE_BURST: dict[Device, int] = {"cpu": 1, "cuda": 10}
RATE_REPEATS = 20  # of each, of which the fastest counts


class TimedWork(NamedTuple):
    """What a process is to do, again and again."""

    task: TimedTask
    implementation: ImplementationName
    recipe: Recipe
    data: Dataset
    device: Device
    steps: int  # of each phase in a block of "step"


class Prepared(NamedTuple):
    """Work that is ready to be timed."""

    compile_seconds: float  # that it took to compile; 0 where nothing is compiled
    block: Callable[[int], dict[str, float]]  # number of the block -> seconds of each part
    traffic_bytes: float | None = None  # moved for one result, by the compiler's count; None: not known


def fastest_call(
    device: Device, seconds_of: Callable[[Callable[[], Any]], float], function: Callable[[], Any]
) -> float:
    """Return the seconds of a function: the least of RATE_REPEATS bursts of calls, each timed by seconds_of."""

    def burst() -> Any:
        for _ in range(RATE_BURST[device] - 1):
            function()
        return function()

    return min(seconds_of(burst) for _ in range(RATE_REPEATS)) / RATE_BURST[device]


class Facts(NamedTuple):
    """What a process tells about itself after its last block."""

    compile_seconds: float
    peak_bytes: int  # largest memory so far: of the device, or on a CPU of the process
    traffic_bytes: float | None  # as in Prepared
    matmul_rate: float  # FLOP/s of a large matrix product, in bfloat16 on a GPU and where the work is in it, or float32
    copy_rate: float  # bytes per second read and written by a large elementwise operation
    precision: str  # of the work
    convolution: str | None = None  # what convolves in airjax; None of PyTorch
    settings: dict[str, Any] | None = None  # of airjax's process, as `airjax.training.environment.settings` has them


def require_precision(work: TimedWork) -> None:
    """Raise ValueError where an implementation would compute in another precision than the one that is asked for."""
    asked = work.recipe.precision
    if work.implementation.startswith("airbench") and asked not in PACKAGE_PRECISIONS[work.device]:
        how = "in float16 on a GPU, as it is shipped," if work.device == "cuda" else "in float32 on a CPU,"
        raise ValueError(
            f"{work.implementation} trains {how} but precision is {asked}; leave it at auto, or compare with our own "
            "PyTorch reference"
        )
    # On a GPU auto is bfloat16 of airjax. Augmentation has no network that autocast would compute.
    in_bfloat16 = asked == "bfloat16" or (asked == "auto" and work.device == "cuda") or work.task == "augment"
    if work.implementation in AUTOCAST and not in_bfloat16:
        asked = "float32" if asked == "auto" else asked
        raise ValueError(
            f"{work.implementation} computes in bfloat16, but airjax beside it in {asked}; add --precision bfloat16, "
            "or leave it out of --against"
        )


def rate_in_bfloat16(device: Device, precision: str) -> bool:
    """Return whether the matrix rate beside some work is one of bfloat16; else it is of float32."""
    return device == "cuda" or precision == "bfloat16"


class TimedPhase(NamedTuple):
    """Steps of one kind at the beginning of a phase of the training."""

    name: str
    first: int  # 0-based step
    steps: int
    fraction: float  # of the training's steps that are of this kind
    frozen: tuple[str, ...] = ()  # groups of parameters that do not train
    image_size: int | None = None  # pixels; None: the data's own


def timed_phases(recipe: Recipe, steps: int) -> list[TimedPhase]:
    """Return the phases of a training, by what trains and by the images' size; at most steps of each."""
    found, first = [], 0
    for segment in segments(recipe, by_epoch=False):
        name = "bias frozen" if segment.frozen else "bias trains"
        if segment.image_size is not None:
            name += f", {segment.image_size} pixels"
        fraction, how = segment.num_steps / recipe.total_steps, (segment.frozen, segment.image_size)
        found.append(TimedPhase(name, first, min(steps, segment.num_steps), fraction, *how))
        first += segment.num_steps
    return found


def host_peak_bytes() -> int:
    """Largest resident memory of this process so far."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            # Unlike getrusage's figure, this one leaves out the process that started this one.
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if os.uname().sysname == "Darwin" else 1024)
