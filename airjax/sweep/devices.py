"""Which accelerators a machine has, and one of them for each worker process."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax

from airjax.utils.platform import DeviceError

QUESTION = """
import sys
import jax
from airjax.utils.platform import DeviceError, default_platform
try:
    print(default_platform(), *(device.local_hardware_id for device in jax.local_devices()))
except DeviceError as error:
    sys.exit(f"{error}")
"""


class Devices(NamedTuple):
    """What JAX runs on."""

    platform: str  # "cpu", "gpu" or "tpu"
    ordinals: tuple[int, ...]  # the devices' numbers, as JAX's options name them


def find_devices() -> Devices:
    """Return what JAX would run on in this process, which is left without a device. Raises DeviceError.

    A process that asks JAX itself takes most of a GPU's memory and keeps it. So a child asks, and ends.
    """
    environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    done = subprocess.run(
        [sys.executable, "-c", QUESTION], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise DeviceError((done.stderr.strip() or "a process that starts JAX ends without a message").splitlines()[-1])
    platform, *ordinals = done.stdout.splitlines()[-1].split()
    return Devices(platform, tuple(map(int, ordinals)))


def share_cores(workers: int) -> None:
    """Give this process, in which neither JAX nor OpenMP has begun, its part of the threads of so many workers.

    Threads that wait for each other on busy cores lose more than they give. OMP_NUM_THREADS and PJRT_NPROC (XLA's) are
    left alone where they are set.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for name in ("OMP_NUM_THREADS", "PJRT_NPROC"):
        os.environ.setdefault(name, str(max(1, cores // workers)))


def claim_device(folder: Path, ordinals: tuple[int, ...]) -> int:
    """Take a device that no other process with this folder has, waiting for one; JAX, not yet started, sees no other.

    The claim is a lock on a file. The kernel frees it when the process ends, however that ends.
    """
    import fcntl

    while True:
        for ordinal in ordinals:
            handle = os.open(folder / str(ordinal), os.O_CREAT | os.O_RDWR, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
            else:
                jax.config.update("jax_cuda_visible_devices", str(ordinal))
                jax.config.update("jax_rocm_visible_devices", str(ordinal))
                return ordinal
        time.sleep(0.05)  # a worker that follows another may be earlier than the other's end
