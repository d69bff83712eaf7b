"""The door to experiments/, which is beside airjax in a checkout of the repository and not in the wheel."""

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

import airjax

EXIT_USAGE = 2
ROOT = Path(airjax.__file__).parent.parent
SUMMARY = "Train a table or figure of the paper, and compare our numbers with its own."


def main(arguments: list[str] | None = None, prog: str = "python -m airjax.experiments") -> int:
    """Run the experiments' command line and return its exit code; 2 where there is no checkout."""
    arguments = sys.argv[1:] if arguments is None else arguments
    program = _find_experiments()
    if program is None:
        _explain_parser(prog).parse_known_args(arguments)  # for --help
        print(
            f"error: the experiments are in the repository and not in the installed package: there is no "
            f"{ROOT / 'experiments'}; clone the repository and run python -m airjax experiments there",
            file=sys.stderr,
        )
        return EXIT_USAGE
    return program.main(arguments, prog)


def make_parser(prog: str) -> argparse.ArgumentParser:
    """Make the parser of the command's arguments; without a checkout, one that knows their names alone."""
    program = _find_experiments()
    return _explain_parser(prog) if program is None else program.make_parser(prog)


def _find_experiments(root: Path | None = None) -> Any:
    # By the place of airjax itself: a folder called experiments in the working folder is somebody else's.
    root = ROOT if root is None else root
    if not (root / "experiments" / "cli.py").exists():
        return None
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    return importlib.import_module("experiments.cli")


def _explain_parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog, description=f"{SUMMARY} Needs a checkout of the repository.")
    parser.add_argument("arguments", nargs="*", metavar="NAME", help="an experiment")
    return parser
