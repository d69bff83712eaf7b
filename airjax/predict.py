"""`python -m airjax.predict`: see `airjax.cli.predict`."""

from airjax.cli.console import run_main
from airjax.cli.predict import main

if __name__ == "__main__":
    run_main(main)
