"""Several processes, on one machine or many, that train one network: how they meet, agree, and end together.

All of them run the same command and compute the same numbers. Process 0 is the coordinator, too, and the only one that
writes files. A process that dies is missed by its heartbeats: JAX then ends the others with an error.
"""

import hashlib
import itertools
import json
import os
import platform
import re
import sys
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import jax
import numpy as np

from airjax.utils.platform import DeviceError, default_platform

HEARTBEAT = 30  # seconds without a heartbeat after which a process counts as dead
MEETING = 300  # seconds in which all processes have to start
PARTING = 60  # seconds in which all processes have to end once one is done
MESSAGE = 1 << 30  # bytes that a process hands to the others at a time


class Meeting(NamedTuple):
    """Where and as which process this one meets the others."""

    coordinator: str  # host:port of process 0; "auto": as the cluster's environment says
    processes: int | None = None  # how many; None with "auto"
    process_id: int | None = None  # from 0; None with "auto"


class OtherProcessError(ValueError):
    """What ended another process, so that this one has to end, too."""


def check_meeting(meeting: Meeting) -> None:
    """Raise DeviceError for a meeting that cannot take place, naming the flag."""
    address, count, number = meeting
    if address == "auto":
        if count is not None or number is not None:
            raise DeviceError("coordinator auto finds out the processes by itself: leave out processes and process-id")
        return
    if not re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[^:\s]+):\d{1,5}", address):
        raise DeviceError(f"coordinator is {address!r}, but it must be host:port of process 0, or auto")
    if count is None or number is None:
        raise DeviceError("coordinator host:port needs processes, their number, and process-id, which of them this is")
    if count < 1 or not 0 <= number < count:
        raise DeviceError(f"process-id is {number}, but {count} processes are numbered from 0 to {count - 1}")


def meet(meeting: Meeting) -> None:
    """Wait for the other processes; from then on JAX sees the devices of all. JAX must not have started.

    With "auto", SLURM, Open MPI, Kubernetes and Cloud TPUs say who they are, as `jax.distributed.initialize` reads it.
    Raises DeviceError where that says nothing, and where the others are not there in time.
    """
    check_meeting(meeting)
    auto = meeting.coordinator == "auto"
    try:
        jax.distributed.initialize(
            None if auto else meeting.coordinator,
            meeting.processes,
            meeting.process_id,
            cluster_detection_method=None if auto else "deactivate",
            initialization_timeout=MEETING,
            heartbeat_timeout_seconds=HEARTBEAT,
            shutdown_timeout_seconds=PARTING,
        )
    except (RuntimeError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        remedy = "name coordinator, processes and process-id" if auto else "check the address; have all started?"
        raise DeviceError(f"the processes do not meet at {meeting.coordinator} ({reason}); {remedy}") from error
    default_platform()


def end_alone(error: BaseException, status: int = 1) -> NoReturn:
    """End this process at once, saying why, and the others with it, which cannot go on without it.

    JAX's own way to leave waits for them. The error may be JAX's about another process that has died.
    """
    traceback.print_exception(error)
    reason = str(error).strip() or type(error).__name__
    print(f"error: process {jax.process_index()} ends ({reason}), and so do the others", file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def several() -> bool:
    """Return whether this process is one of several."""
    return jax.distributed.is_initialized() and jax.process_count() > 1  # in this order: only then JAX has to start


def is_first() -> bool:
    """Return whether this is the process that writes files: number 0, or the only one."""
    return not several() or jax.process_index() == 0


def largest_of(number: int) -> int:
    """Return the largest of all processes' numbers. Every process has to call it."""
    return number if not several() else int(np.max(_gather(np.asarray(number, np.int32))))


def agree_to_stop(should_stop: Callable[[], bool], every: int = 1) -> Callable[[], bool]:
    """Return a function that every process calls after the same step, and that says whether any is to stop.

    Several processes ask each other in every so many calls, because that waits for the device; in others it is False.
    """
    if not several():
        return should_stop
    calls = itertools.count(1)
    return lambda: next(calls) % every == 0 and bool(largest_of(int(should_stop())))


def require_same(what: str, value: Any, failed: bool = False) -> None:
    """Compare a value, for JSON, among all processes, of which some may have failed before.

    Raises OtherProcessError, in every process that has not failed, where one has, or has another value than process 0.
    """
    if not several():
        return
    digest = hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).digest()[:16]
    mine = np.frombuffer(bytes(16) if failed else digest, np.uint8)
    all_digests = _gather(mine)
    lost = [number for number, one in enumerate(all_digests) if not one.any()]
    if failed:
        return
    if lost:
        raise OtherProcessError(f"process {lost[0]} cannot train; what it printed says why")
    others = [number for number, one in enumerate(all_digests) if not np.array_equal(one, all_digests[0])]
    if others:
        raise OtherProcessError(f"process {others[0]} has {what} that differ from those of process 0")


def sharing_cores() -> int:
    """Return how many processes of this training, this one among them, run on the same cores of the same machine.

    Every process has to call this. Processes that a cluster has bound to cores of their own share none.
    """
    if not several():
        return 1
    place = json.dumps([platform.node(), sorted(usable_cores())])
    mine = np.frombuffer(hashlib.sha256(place.encode()).digest()[:16], np.uint8)
    return int((_gather(mine) == mine).all(axis=1).sum())


def usable_cores() -> set[int]:
    """Return the numbers of the cores that this process may run on."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def first_does(task: Callable[[], Any]) -> Any:
    """Let process 0 alone call a function, and return its result, for JSON, in every process.

    What it raises is raised in process 0, and in the others an OSError of the same number where it is one, else
    OtherProcessError. Every process has to call this.
    """
    if not several():
        return task()
    said, raised = {}, None
    if is_first():
        try:
            said = {"result": task()}
        except OSError as error:
            said, raised = {"os": [error.errno, error.strerror, str(error.filename)]}, error
        except Exception as error:
            said, raised = {"error": str(error)}, error
    said = json.loads(_from_first(json.dumps(said).encode()))
    if raised is not None:
        raise raised
    if "os" in said:
        raise OSError(*said["os"])
    if "error" in said:
        raise OtherProcessError(said["error"])
    return said["result"]


def arrays_from_first(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Return process 0's arrays, of the same shapes and dtypes as this process's, to the bit."""
    content = _from_first(b"".join(one.tobytes() for one in arrays))
    starts = [0, *itertools.accumulate(one.nbytes for one in arrays)]
    parts = [content[start:stop] for start, stop in itertools.pairwise(starts)]
    return [np.frombuffer(part, one.dtype).reshape(one.shape) for part, one in zip(parts, arrays, strict=True)]


def _gather(array: np.ndarray) -> np.ndarray:
    # What every process has, with a leading axis over the processes. Imported here, as it takes a while.
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(array))


def _from_first(content: bytes) -> bytes:
    # As bytes, because a sum of numbers over the processes would lose the sign of zeros.
    from jax.experimental import multihost_utils

    # 64-bit numbers would be rounded to 32 bits.
    whole, rest = multihost_utils.broadcast_one_to_all(np.array(divmod(len(content), MESSAGE), np.int32))
    size, parts = int(whole) * MESSAGE + int(rest), []
    for start in range(0, size, MESSAGE):
        part = np.zeros(min(MESSAGE, size - start), np.uint8)
        if is_first():
            part[:] = np.frombuffer(content, np.uint8, len(part), start)
        parts.append(multihost_utils.broadcast_one_to_all(part).tobytes())
    return b"".join(parts)
