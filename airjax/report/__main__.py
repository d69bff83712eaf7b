"""`python -m airjax.report`: see `airjax.cli.report`."""

from airjax.cli.console import run_main
from airjax.cli.report import main

if __name__ == "__main__":
    run_main(main)
