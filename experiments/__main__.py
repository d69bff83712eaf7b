"""`python -m experiments`: see `experiments.cli`."""

import sys

from airjax.cli.console import run_main
from experiments.cli import main

if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]), keep_running=True)
