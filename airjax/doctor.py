"""`python -m airjax.doctor`: see `airjax.cli.doctor`."""

from airjax.cli.console import run_main
from airjax.cli.doctor import main

if __name__ == "__main__":
    run_main(main)
