"""`python -m airjax.report`: see `airjax.cli.report`."""

from airjax.cli.commands import stay_on_cpu
from airjax.cli.console import run_main
from airjax.cli.report import main

if __name__ == "__main__":
    stay_on_cpu()
    run_main(main)
