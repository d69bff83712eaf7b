"""What every command line does about its output: readers that leave, full disks, terminals without Unicode, Ctrl-C."""

import io
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

from airjax.utils.platform import DeviceError, default_platform

EXIT_DEVICE = 2  # JAX cannot compute here: as for other bad settings
EXIT_OUTPUT = 74  # the output cannot be written: EX_IOERR of sysexits.h
EXIT_INTERRUPTED = 130  # 128 + SIGINT
EXIT_CLOSED = 141  # 128 + SIGPIPE: whoever read the output has left, as `| head` does


class Output(io.FileIO):
    """Standard output that says once why nothing can be written to it, and drops what comes after.

    With keep_running the program does its work to the end without it; otherwise the failed write raises SystemExit.
    """

    def __init__(self, descriptor: int, *, keep_running: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.keep_running = keep_running
        self.failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        """Write bytes; drop them after a failure. Raises SystemExit at the first failure, unless it keeps running."""
        if self.failure is None:
            try:
                return super().write(data)
            except OSError as error:
                self.failure = error
            closed = isinstance(self.failure, BrokenPipeError)
            if self.keep_running:
                print(f"warning: output lost ({self.failure.strerror}); going on without it", file=sys.stderr)
            else:
                if not closed:
                    print(f"error: cannot write the output: {self.failure.strerror}", file=sys.stderr)
                raise SystemExit(EXIT_CLOSED if closed else EXIT_OUTPUT)
        return memoryview(data).nbytes


def keep_running() -> None:
    """From here on work to the end where standard output fails: what the command makes is kept elsewhere."""
    output = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if isinstance(output, Output):
        output.keep_running = True


def _say_warnings() -> None:
    # To users without the line of code that it comes from; those to developers as ever.
    show = warnings.showwarning

    def say(message: Warning | str, category: type[Warning], *where: Any, **how: Any) -> None:
        if category is UserWarning:
            print(f"warning: {message}", file=sys.stderr)
        else:
            show(message, category, *where, **how)

    warnings.showwarning = say


def run_main(main: Callable[[], int], *, keep_running: bool = False) -> NoReturn:
    """Run a command line and end the process with its exit code. To be called once, where a module is run as a program.

    Args:
        main: the command line; returns its exit code.
        keep_running: work on where the output's reader has left or its disk is full: for commands whose results are
            elsewhere. A full disk still ends in EXIT_OUTPUT if all else went well.

    Characters that the terminal does not have are printed as escapes, warnings to users as one line. Ctrl-C ends in
    EXIT_INTERRUPTED, and JAX that cannot start in EXIT_DEVICE.
    """
    _say_warnings()
    output = None
    if sys.stdout is not None:  # None where the descriptor is closed
        sys.stdout.flush()
        output = Output(sys.stdout.fileno(), keep_running=keep_running)
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(output),
            encoding=sys.stdout.encoding,
            errors="backslashreplace",
            line_buffering=output.isatty() or bool(os.environ.get("PYTHONUNBUFFERED")),
        )
    try:
        code = main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = EXIT_INTERRUPTED
    except (DeviceError, RuntimeError, AssertionError) as error:
        found = _device_error(error)
        if found is None:
            raise
        print(f"error: {found}", file=sys.stderr)
        code = EXIT_DEVICE
    finally:
        if sys.stdout is not None:
            sys.stdout.flush()
    if code == 0 and output is not None and output.failure and not isinstance(output.failure, BrokenPipeError):
        code = EXIT_OUTPUT
    sys.exit(code)


def _device_error(error: Exception) -> DeviceError | None:
    # Where JAX cannot start, whoever asks it first gets an error of JAX's own.
    if isinstance(error, DeviceError):
        return error
    try:
        default_platform()
    except DeviceError as found:
        return found
    return None


def describe_os_error(error: OSError) -> str:
    """Return what an error of the system is about, and what it is."""
    return f"{error.filename or 'input/output'}: {error.strerror or error}"
