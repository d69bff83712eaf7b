"""A process of its own that makes a function once, and calls it whenever it is asked."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

Argument = TypeVar("Argument")
Question = TypeVar("Question")
Answer = TypeVar("Answer")


class WorkerError(RuntimeError):
    """A process has failed; the message says which, on what, and why."""


class Worker(Generic[Question, Answer]):
    """A process that answers with make(argument), which it calls at the first question.

    make, argument, questions and answers are pickled. Use it as a context: the process ends with it.
    """

    def __init__(self, name: str, make: Callable[[Argument], Callable[[Question], Answer]], argument: Argument) -> None:
        self.name = name
        # spawn: a forked copy of a process that has used JAX or CUDA may hang.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(make, argument, theirs), name=f"parity {name}", daemon=True)
        self.process.start()
        theirs.close()

    def __enter__(self) -> "Worker[Question, Answer]":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.join()

    def ask(self, question: Question, subject: str) -> Answer:
        """Ask, and wait for the answer. Raises WorkerError, which names the subject."""
        try:
            self.pipe.send(question)
            answer, problem = self.pipe.recv()
        except (EOFError, OSError) as error:
            self.process.join()
            raise WorkerError(
                f"the {self.name} process ended with code {self.process.exitcode} on {subject}"
            ) from error
        if problem is not None:
            raise WorkerError(f"the {self.name} process failed on {subject}: {problem}")
        return answer


def _serve(make: Callable[[Any], Callable[[Any], Any]], argument: Any, pipe: Connection) -> None:
    # Ctrl-C reaches every process of a terminal; the parent decides, and ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Several processes share the GPU's memory.
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    answer = None
    while True:
        try:
            question = pipe.recv()
        except EOFError:
            return
        try:
            answer = answer or make(argument)
            pipe.send((answer(question), None))
        except Exception as error:
            pipe.send((None, f"{type(error).__name__}: {error}"))
