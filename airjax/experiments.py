"""`python -m airjax.experiments`: see `airjax.cli.experiments`."""

from airjax.cli.console import run_main
from airjax.cli.experiments import main

if __name__ == "__main__":
    run_main(main, keep_running=True)
