"""Doors to command lines that are beside airjax in a checkout of the repository, and not in the wheel."""

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any, NamedTuple

import airjax

EXIT_USAGE = 2
ROOT = Path(airjax.__file__).parent.parent


class Door(NamedTuple):
    """A command whose module is in a checkout. The module has `main(arguments, prog)` and `make_parser(prog)`."""

    module: str  # of a top-level package, such as "experiments.cli"
    command: str  # of airjax, for messages
    summary: str  # what --help says without a checkout
    words: str  # what the arguments are, for the same


def run_door(door: Door, arguments: list[str], prog: str) -> int:
    """Run a door's command line and return its exit code; 2 where there is no checkout."""
    program = find_program(door)
    if program is None:
        _explain_parser(door, prog).parse_known_args(arguments)  # for --help
        package = door.module.partition(".")[0]
        print(
            f"error: airjax {door.command} needs the repository, not the installed package alone: there is no "
            f"{ROOT / package}; clone the repository and run python -m airjax {door.command} there",
            file=sys.stderr,
        )
        return EXIT_USAGE
    return program.main(arguments, prog)


def make_door_parser(door: Door, prog: str) -> argparse.ArgumentParser:
    """Make the parser of a door's arguments; without a checkout, one that knows their names alone."""
    program = find_program(door)
    return _explain_parser(door, prog) if program is None else program.make_parser(prog)


def find_program(door: Door) -> Any:
    """Import a door's module; None without a checkout.

    By the place of airjax itself: a folder of the same name in the working folder is somebody else's.
    """
    if not ROOT.joinpath(*door.module.split(".")).with_suffix(".py").exists():
        return None
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    return importlib.import_module(door.module)


def _explain_parser(door: Door, prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog, description=f"{door.summary} Needs a checkout of the repository.")
    parser.add_argument("arguments", nargs="*", metavar="NAME", help=door.words)
    return parser
