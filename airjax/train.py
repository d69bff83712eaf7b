"""`python -m airjax.train`: see `airjax.cli.train`."""

from airjax.cli.console import run_main
from airjax.cli.train import main

if __name__ == "__main__":
    run_main(main)
