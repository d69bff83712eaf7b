"""`python -m airjax.sweep`: see `airjax.cli.sweep`."""

from airjax.cli.console import run_main
from airjax.cli.sweep import main

if __name__ == "__main__":
    run_main(main, keep_running=True)
