"""A sweep's worker processes on this machine, each with a device of its own."""

import contextlib
import multiprocessing
import signal
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from airjax.sweep.devices import Devices, claim_device, find_devices, share_cores
from airjax.sweep.worker import Chunk, Job, Report, start_worker
from airjax.utils.children import end_with_parent
from airjax.utils.platform import DeviceError

LIFETIME = 500  # chunks after which a worker is replaced: compilation caches grow
GRACE = 10.0  # seconds that a worker has for the steps under way and a snapshot, where it takes any


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
        self._limits: dict[Future[Report], float] = {}  # seconds that each may take
        self._began: dict[Future[Report], float] = {}  # when a worker was first seen to work on it

    def start(self, job: Job) -> None:
        """Start the workers."""
        from pebble import CONSTS, ProcessPool

        if job.checkpoint_every is not None:
            CONSTS.term_timeout = GRACE
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
        """Have a worker call a function of a chunk, for so many seconds at most (`stop_late`).

        The future raises what the function raised, CancelledError where it took longer, or pebble.ProcessExpired where
        the worker died. Raises BrokenProcessPool, as the future may, where no worker can be started.
        """
        try:
            future = self._pool.schedule(function, args=[chunk])
        except RuntimeError as error:
            raise BrokenProcessPool(str(error)) from error
        if seconds is not None:
            self._limits[future] = seconds
        return future

    def stop_late(self) -> None:
        """Cancel what has taken too long, with its worker: to be called now and then.

        pebble's own limit is by a clock that may be set.
        """
        now = time.monotonic()
        for future in [future for future in self._limits if future.running()]:
            began = self._began.setdefault(future, now)
            if now - began > self._limits[future]:
                future.cancel()
        for future in [future for future in self._limits if future.done()]:
            del self._limits[future]
            self._began.pop(future, None)

    def close(self) -> None:
        """End all workers, whatever they are doing."""
        self._ends.close()


def _start(job: Job, claims: Path, ordinals: tuple[int, ...], sharing: int | None) -> None:
    # Ctrl-C reaches every process of a terminal; the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    if ordinals:
        claim_device(claims, ordinals)
    if sharing is not None:
        share_cores(sharing)
    start_worker(job)
