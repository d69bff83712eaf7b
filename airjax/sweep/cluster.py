"""A sweep's workers on the machines of a Ray cluster, with the methods of `airjax.sweep.pool.LocalPool`.

Ray (https://docs.ray.io) starts a worker, one of its actors, on a node with a free device, and says when one is lost.
That comes back as the same exceptions as from a local process; or as NodeLostError, which is no network's fault.

Ray's own ActorPool is a fixed list of actors: it returns one that has died to the idle ones, limits no call's time, and
cannot tell a lost node from a dead process. So who works on what is kept here (`ClusterPool._turn`), in one thread.
"""

import contextlib
import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, NamedTuple

from airjax.sweep.devices import find_devices
from airjax.sweep.pool import LIFETIME
from airjax.sweep.worker import Chunk, Job, Report, start_worker

PATIENCE = 300.0  # seconds without a single worker after which a sweep ends
TURN = 0.2  # seconds between two looks at time limits and at what is new
SETTINGS = ("AIRJAX_", "JAX_", "XLA_", "TF_CPP_")  # environment variables that workers get from where a sweep starts


class ClusterError(ValueError):
    """A cluster that cannot be used, or not any longer; the message names the remedy."""


class NodeLostError(RuntimeError):
    """The machine was lost that a chunk was on."""


class _Task(NamedTuple):
    future: "Future[Report]"
    function: Callable[[Chunk], Report]
    chunk: Chunk
    seconds: float | None


@dataclass
class _Hand:
    # A worker that has said where it is.
    actor: Any
    node: str
    host: str
    chunks: int = 0


class _Busy(NamedTuple):
    hand: _Hand
    task: _Task
    deadline: float | None


class ClusterPool:
    """Workers on a Ray cluster that train chunks. Raises ClusterError where the cluster cannot be used.

    Args:
        address: "auto" or host:port, as `ray.init` takes it; this machine must be a node of the cluster.
        workers: how many; None is one for each GPU, or one for each node of a cluster without GPUs. Those that find no
            free device wait for one, so more than there are now take up nodes that join later.
    """

    def __init__(self, address: str, workers: int | None) -> None:
        self._address = address
        with contextlib.ExitStack() as ends:
            self._ray = _connect(address)
            ends.callback(self._ray.shutdown)
            gpus = int(self._ray.cluster_resources().get("GPU", 0))
            with_cores = [node for node in self._ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
            self.workers = workers or gpus or len(with_cores)
            self._needs = {"num_gpus": 1, "num_cpus": 0} if gpus else {"num_gpus": 0, "num_cpus": 1}
            if not self.workers:
                raise ClusterError(f"the cluster at {address} has neither GPUs nor CPU cores; add nodes to it")
            self.platform = self._ask_platform()
            self._ends = ends.pop_all()
        self._queue: deque[_Task] = deque()
        self._starting: dict[Any, Any] = {}  # reference to where it is -> actor
        self._idle: list[_Hand] = []
        self._busy: dict[Any, _Busy] = {}  # reference to the report -> who makes it
        self._ended = threading.Event()
        self._error: Exception | None = None

    def start(self, job: Job) -> None:
        """Start the workers."""
        self._job = job
        self._had_workers = time.monotonic()
        thread = threading.Thread(target=self._work, name="airjax-cluster", daemon=True)
        thread.start()
        self._ends.callback(self._end_workers)
        self._ends.callback(thread.join)
        self._ends.callback(self._ended.set)

    def schedule(self, function: Callable[[Chunk], Report], chunk: Chunk, seconds: float | None) -> "Future[Report]":
        """Have a worker call a function of a chunk, for so many seconds at most.

        The future raises what the function raised, CancelledError where it took longer, pebble.ProcessExpired where the
        worker died, NodeLostError where its machine did, or ClusterError where no machine is left.
        """
        task = _Task(Future(), function, chunk, seconds)
        self._queue.append(task)
        if self._error is not None:
            raise self._error
        return task.future

    def stop_late(self) -> None:
        """Cancel what has taken too long: nothing to do here, the cluster's own thread does it."""

    def close(self) -> None:
        """End all workers, whatever they are doing, and leave the cluster."""
        self._ends.close()

    def _ask_platform(self) -> str:
        errors = self._ray.exceptions
        ask = self._ray.remote(**self._needs, max_calls=1)(find_devices)
        try:
            platform = self._ray.get(ask.remote(), timeout=PATIENCE).platform
        except errors.GetTimeoutError as error:
            raise ClusterError(
                f"the cluster at {self._address} had no free node for {PATIENCE:g} seconds; see ray status"
            ) from error
        except errors.RayTaskError as error:
            raise ClusterError(f"a node of {self._address} cannot run airjax: {error.cause}") from error
        except errors.RayError as error:
            raise ClusterError(f"the cluster at {self._address} does not answer: {error}") from error
        if self._needs["num_gpus"] and platform == "cpu":
            raise ClusterError(f"the cluster at {self._address} has GPUs, but its jax sees none; install jax[cuda12]")
        return platform

    def _hands(self) -> list[_Hand]:
        return [*self._idle, *(busy.hand for busy in self._busy.values())]

    def _work(self) -> None:
        try:
            while not self._ended.is_set():
                self._turn()
        except Exception as error:
            # Whoever waits for a chunk has to hear of it.
            self._error = error
            for task in [*(busy.task for busy in self._busy.values()), *self._queue]:
                task.future.set_exception(error)

    def _turn(self) -> None:
        for _ in range(self.workers - len(self._starting) - len(self._hands())):
            actor = self._ray.remote(_Actor).options(**self._needs, scheduling_strategy="SPREAD").remote()
            self._starting[actor.start.remote(self._job)] = actor
        while self._idle and self._queue:
            hand, task = self._idle.pop(), self._queue.popleft()
            deadline = None if task.seconds is None else time.monotonic() + task.seconds
            self._busy[hand.actor.call.remote(task.function, task.chunk)] = _Busy(hand, task, deadline)
        references = [*self._starting, *self._busy]
        self._ray.wait(references, timeout=TURN)
        for reference in self._ray.wait(references, num_returns=len(references), timeout=0)[0]:
            if reference in self._starting:
                self._welcome(reference, self._starting.pop(reference))
            else:
                self._settle(reference)
        self._stop_late()
        if self._hands():
            self._had_workers = time.monotonic()
        elif time.monotonic() - self._had_workers > PATIENCE:
            raise ClusterError(f"the cluster at {self._address} has had no worker for {PATIENCE:g} seconds")

    def _welcome(self, reference: Any, actor: Any) -> None:
        errors = self._ray.exceptions
        try:
            node, host = self._ray.get(reference)
        except errors.RayError as error:
            self._check_own_node(error)
            if isinstance(error, errors.RayTaskError):
                raise ClusterError(f"a node of {self._address} cannot run airjax: {error.cause}") from error
            # Else another is started, for as long as patience lasts.
        else:
            self._idle.append(_Hand(actor, node, host))

    def _settle(self, reference: Any) -> None:
        errors = self._ray.exceptions
        hand, task, _ = self._busy[reference]
        hand.chunks += 1
        works = hand.chunks < LIFETIME
        result: Report | Exception
        try:
            result = self._ray.get(reference)
        except errors.RayTaskError as error:
            result = error.cause
        except errors.RayError as error:
            works, result = False, self._reason(hand, error)
        del self._busy[reference]
        if works:
            self._idle.append(hand)
        else:
            self._ray.kill(hand.actor)
        if isinstance(result, Exception):
            task.future.set_exception(result)
        else:
            task.future.set_result(result)

    def _reason(self, hand: _Hand, error: Exception) -> Exception:
        from pebble import ProcessExpired

        alive = self._check_own_node(error)
        # Ray hears of a process's death from its node; of a node's only by its silence.
        if isinstance(error, self._ray.exceptions.ActorUnavailableError) or not alive.get(hand.node):
            return NodeLostError(f"{hand.host} was lost")
        return ProcessExpired(f"abnormal termination on {hand.host}")

    def _check_own_node(self, error: Exception) -> dict[str, bool]:
        alive = {node["NodeID"]: node["Alive"] for node in self._ray.nodes()}
        if not alive.get(self._ray.get_runtime_context().get_node_id()):
            raise ClusterError("the Ray node of this machine has ended; start it again") from error
        return alive

    def _stop_late(self) -> None:
        now = time.monotonic()
        for reference, busy in list(self._busy.items()):
            if busy.deadline is not None and now > busy.deadline:
                del self._busy[reference]
                self._ray.kill(busy.hand.actor)
                busy.task.future.cancel()
                busy.task.future.set_running_or_notify_cancel()  # who waits for it hears of it

    def _end_workers(self) -> None:
        for actor in [*self._starting.values(), *(hand.actor for hand in self._hands())]:
            self._ray.kill(actor)


class _Actor:
    # Lives in a process of its own on some node, which ends with it.
    def start(self, job: Job) -> tuple[str, str]:
        import ray

        start_worker(job)
        return ray.get_runtime_context().get_node_id(), os.uname().nodename

    def call(self, function: Callable[[Chunk], Report], chunk: Chunk) -> Report:
        return function(chunk)


def _connect(address: str) -> Any:
    try:
        import ray
    except ImportError as error:
        raise ClusterError("--cluster needs Ray, which is not installed: pip install 'airjax[cluster]'") from error
    if address != "auto":
        _reach(address)
    variables = {name: value for name, value in os.environ.items() if name.startswith(SETTINGS)}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, runtime_env={"env_vars": variables})
    except (OSError, ValueError, RuntimeError) as error:
        raise ClusterError(f"no Ray cluster at {address} ({error}); start one with ray start --head") from error
    return ray


def _reach(address: str) -> None:
    # Ray itself goes on trying for minutes.
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdecimal() or "/" in host:
        raise ClusterError(f"--cluster is {address!r}, but it must be auto or host:port")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(f"no Ray cluster at {address} ({error}); start one with ray start --head") from error
