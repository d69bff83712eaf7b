"""The command `airjax`, and `python -m airjax`: see `airjax.cli.commands`."""

import functools
import sys
from typing import NoReturn

from airjax.cli.commands import run_command
from airjax.cli.console import run_main


def run() -> NoReturn:
    """Run the command line of this process and end it with the exit code."""
    prog = "python -m airjax" if __name__ == "__main__" else "airjax"
    run_main(functools.partial(run_command, sys.argv[1:], prog))


if __name__ == "__main__":
    run()
