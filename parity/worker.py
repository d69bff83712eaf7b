"""A process of its own that makes a function once, and calls it whenever it is asked."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

from airjax.utils.children import end_with_parent

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
        self.at_work = False  # on a question that was asked
        # spawn: a forked copy of a process that has used JAX or CUDA may hang.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(make, argument, theirs), name=f"parity {name}", daemon=True)
        self.process.start()
        theirs.close()

    def __enter__(self) -> "Worker[Question, Answer]":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """End the process, whatever it is doing."""
        self.process.terminate()
        self.process.join()

    def ask(self, question: Question, subject: str) -> Answer:
        """Ask, and wait for the answer. Raises WorkerError, which names the subject."""
        try:
            self.at_work = True
            self.pipe.send(question)
            answer, problem = self.pipe.recv()
            self.at_work = False
        except (EOFError, OSError) as error:
            self.process.join()
            raise WorkerError(
                f"the {self.name} process ended with code {self.process.exitcode} on {subject}"
            ) from error
        if problem is not None:
            raise WorkerError(f"the {self.name} process failed on {subject}: {problem}")
        return answer

    def settle(self, seconds: float) -> bool:
        """Drop the answer that an interrupted `ask` did not wait for, so that the next is that of the next question.

        Returns whether the process can be asked again: one that answers nothing within so many seconds is ended.
        """
        if not self.at_work:
            return True
        try:
            if self.pipe.poll(seconds):
                self.pipe.recv()
                self.at_work = False
                return True
        except (EOFError, OSError):
            pass  # it has ended
        self.end()
        return False


def _serve(make: Callable[[Any], Callable[[Any], Any]], argument: Any, pipe: Connection) -> None:
    # Ctrl-C reaches every process of a terminal; the parent decides, and ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
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
