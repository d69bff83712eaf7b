"""`python -m airjax.export`: see `airjax.cli.export`."""

from airjax.cli.console import run_main
from airjax.cli.export import export, main

__all__ = ["export", "main"]

if __name__ == "__main__":
    run_main(main)
