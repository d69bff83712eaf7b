"""The two arms of a distribution study: each trains whole networks, number after number, in a process of its own."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Literal, NamedTuple

import numpy as np

from airjax.data.dataset import Dataset
from airjax.recipe import Recipe
from parity.environment import Device
from parity.study import Arm, Outcome

Reference = Literal["own", "upstream"]


class Work(NamedTuple):
    """What a process is to train, again and again."""

    arm: Arm
    reference: Reference
    recipe: Recipe
    data: Dataset
    device: Device

    @property
    def labels(self) -> np.ndarray:
        """Of the test images that the recipe uses."""
        return self.data.test_labels[: self.recipe.test_examples]


class WorkerError(RuntimeError):
    """A process that trains networks has failed; the message says which, where, and why."""


class Worker:
    """A process that trains one arm's networks. Use it as a context: the process ends with it."""

    def __init__(self, work: Work) -> None:
        self.arm = work.arm
        # spawn: a forked copy of a process that has used JAX or CUDA may hang.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(work, theirs), name=f"parity {work.arm}", daemon=True)
        self.process.start()
        theirs.close()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.join()

    def train(self, seed: int) -> Outcome:
        """Train network number seed and wait for it. Raises WorkerError."""
        try:
            self.pipe.send(seed)
            answer = self.pipe.recv()
        except (EOFError, OSError) as error:
            self.process.join()
            end = f"ended with code {self.process.exitcode}"
            raise WorkerError(f"the {self.arm} process {end} while it trained network {seed}") from error
        if isinstance(answer, str):
            raise WorkerError(f"the {self.arm} process failed on network {seed}: {answer}")
        return answer


def _serve(work: Work, pipe: Connection) -> None:
    # Ctrl-C reaches every process of a terminal; the parent decides, and ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The two processes share the GPU's memory.
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    train = None
    while True:
        try:
            seed = pipe.recv()
        except EOFError:
            return
        try:
            train = train or make_trainer(work)
            pipe.send(train(seed))
        except Exception as error:
            pipe.send(f"{type(error).__name__}: {error}")


def make_trainer(work: Work) -> Callable[[int], Outcome]:
    """The function from a seed to a trained network's outcome. Raises ValueError for what an arm cannot do."""
    if work.arm == "airjax":
        return _airjax_trainer(work)
    return _own_trainer(work) if work.reference == "own" else _upstream_trainer(work)


def _airjax_trainer(work: Work) -> Callable[[int], Outcome]:
    import jax

    from airjax.driver import DivergedError, train

    if work.device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    elif jax.default_backend() != "gpu":
        raise ValueError("JAX sees no GPU; install jax[cuda12] or jax[cuda13], or pass --device cpu")
    labels = work.labels

    def run(seed: int) -> Outcome:
        try:
            done = train(work.recipe, work.data, seed)
        except DivergedError:
            return Outcome(np.zeros(len(labels), bool), True, {})
        return Outcome(done.logits.argmax(1) == labels, not bool(np.isfinite(done.logits).all()), done.seconds)

    return run


def _own_trainer(work: Work) -> Callable[[int], Outcome]:
    from parity import reference

    labels = work.labels

    def run(seed: int) -> Outcome:
        done = reference.train(work.recipe, work.data, seed=seed, device=work.device)
        finite = bool(np.isfinite(done.losses).all() and np.isfinite(done.logits).all())
        return Outcome(done.logits.argmax(1) == labels, not finite, done.seconds)

    return run


def _upstream_trainer(work: Work) -> Callable[[int], Outcome]:
    from parity import upstream

    labels = work.labels
    package = upstream.Trainer(work.recipe, work.data, work.device)

    def run(seed: int) -> Outcome:
        logits, seconds = package.train(seed)
        return Outcome(logits.argmax(1) == labels, not bool(np.isfinite(logits).all()), seconds)

    return run
