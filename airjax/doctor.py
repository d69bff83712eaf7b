"""`python -m airjax.doctor`: see `airjax.cli.doctor`; in Python the checks of `airjax.training.self_check`."""

from airjax.cli.console import run_main
from airjax.cli.doctor import main
from airjax.training.self_check import Check, fingerprint, run_checks

__all__ = ["Check", "fingerprint", "main", "run_checks"]

if __name__ == "__main__":
    run_main(main)
