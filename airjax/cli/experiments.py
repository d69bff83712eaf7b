"""The door to experiments/, which is beside airjax in a checkout of the repository and not in the wheel."""

import argparse
import sys

from airjax.cli.checkout import Door, make_door_parser, run_door

DOOR = Door(
    "experiments.cli",
    "experiments",
    "Train a table or figure of the paper, and compare our numbers with its own.",
    "an experiment",
)


def main(arguments: list[str] | None = None, prog: str = "python -m airjax.experiments") -> int:
    """Run the experiments' command line and return its exit code; 2 where there is no checkout."""
    return run_door(DOOR, sys.argv[1:] if arguments is None else arguments, prog)


def make_parser(prog: str) -> argparse.ArgumentParser:
    """Make the parser of the command's arguments; without a checkout, one that knows their names alone."""
    return make_door_parser(DOOR, prog)
