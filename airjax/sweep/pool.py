"""A sweep's worker processes on this machine, each with a device of its own."""

import contextlib
import ctypes
import multiprocessing
import signal
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from airjax.sweep.devices import Devices, claim_device, find_devices, share_cores
from airjax.sweep.worker import Chunk, Job, Report, start_worker
from airjax.utils.platform import DeviceError

LIFETIME = 500  # chunks after which a worker is replaced: compilation caches grow
DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG


class LocalPool:
    """Worker processes that train chunks. Raises DeviceError where they are more than the accelerators.

    Args:
        workers: how many.
        all_devices: give the only worker all accelerators, for the strategy "sharded".
        devices: what there is to be given; None finds out.
    """

    def __init__(self, workers: int, *, all_devices: bool = False, devices: Devices | None = None) -> None:
        self.workers = workers
        self.platform, self._ordinals = devices or find_devices()
        if self.platform == "cpu":
            self._ordinals = ()  # its cores are shared by any number of processes
        elif all_devices and workers > 1:
            raise DeviceError(f"the strategy sharded takes all devices, but --workers is {workers}; leave it out")
        elif workers > len(self._ordinals):
            raise DeviceError(f"--workers is {workers}, but this machine has {len(self._ordinals)} {self.platform}s")
        elif all_devices:
            self._ordinals = ()
        self._ends = contextlib.ExitStack()

    def start(self, job: Job) -> None:
        """Start the workers."""
        from pebble import ProcessPool

        claims = self._ends.enter_context(tempfile.TemporaryDirectory(prefix="airjax-devices-"))
        self._pool = ProcessPool(
            max_workers=self.workers,
            max_tasks=LIFETIME,
            initializer=_start,
            initargs=(job, Path(claims), self._ordinals, self.workers if self.platform == "cpu" else None),
            # A forked copy of a process that has used JAX may hang.
            context=multiprocessing.get_context("spawn"),
        )
        self._ends.callback(self._pool.join)
        self._ends.callback(self._pool.stop)

    def schedule(self, function: Callable[[Chunk], Report], chunk: Chunk, seconds: float | None) -> "Future[Report]":
        """Have a worker call a function of a chunk, for so many seconds at most.

        The future raises what the function raised, TimeoutError, or pebble.ProcessExpired where the worker died.
        """
        return self._pool.schedule(function, args=[chunk], timeout=seconds)

    def close(self) -> None:
        """End all workers, whatever they are doing."""
        self._ends.close()


def _start(job: Job, claims: Path, ordinals: tuple[int, ...], sharing: int | None) -> None:
    # Ctrl-C reaches every process of a terminal; the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIES_WITH_PARENT, signal.SIGKILL)
    if ordinals:
        claim_device(claims, ordinals)
    if sharing is not None:
        share_cores(sharing)
    start_worker(job)
