"""The door to the record table, benchmarks/record_cli.py, which is in a checkout of the repository, not in the wheel.

It is there because it is made from benchmarks/results, and because a row that it adds is a measurement like the others.
"""

import argparse
import sys

from airjax.cli.checkout import Door, make_door_parser, run_door

DOOR = Door(
    "benchmarks.record_cli",
    "records",
    "The record table, and the verification of a recipe's claim.",
    "verify, and a recipe",
)


def main(arguments: list[str] | None = None, prog: str = "python -m airjax records") -> int:
    """Run the record table's command line and return its exit code; 2 where there is no checkout."""
    return run_door(DOOR, sys.argv[1:] if arguments is None else arguments, prog)


def make_parser(prog: str) -> argparse.ArgumentParser:
    """Make the parser of the command's arguments; without a checkout, one that knows their names alone."""
    return make_door_parser(DOOR, prog)
