"""Commands of child processes that end with the process that starts them, however it ends."""

import os
import sys

# Becomes the command after asking the kernel to kill it when its parent dies; 1 is PR_SET_PDEATHSIG. Where the parent
# died before that, the process has another parent already, and ends. A shell's background jobs ignore SIGINT, and so
# would the command.
BIND_AND_BECOME = (
    "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGKILL); "
    "signal.signal(signal.SIGINT, signal.SIG_DFL); "
    "os.getppid() == int(sys.argv[1]) or sys.exit('the process that started this one is gone'); "
    "os.execvp(sys.argv[2], sys.argv[2:])"
)


def bound(command: list[str]) -> list[str]:
    """Bind a command that is to be a child of this process: on Linux it is killed when this process dies.

    A kill of this process would not reach it otherwise, and it would go on writing beside a rerun.
    """
    return [sys.executable, "-c", BIND_AND_BECOME, str(os.getpid()), *command] if sys.platform == "linux" else command
