"""Child processes that do not outlive the one that started them."""

import ctypes
import multiprocessing
import os
import signal
import sys

DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG


def end_with_parent() -> None:
    """Have the kernel kill this process, which multiprocessing has spawned, when its parent ends. On Linux alone.

    A signal that ends the parent at once does not reach its children: they would go on beside a rerun.
    """
    parent = multiprocessing.parent_process()
    if sys.platform != "linux" or parent is None:
        return
    ctypes.CDLL(None).prctl(DIES_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent.pid:  # it ended before
        os._exit(1)
