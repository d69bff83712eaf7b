"""The sub-commands of `airjax`: their names, where they live, and a line about each."""

import argparse
import importlib
import os
from collections.abc import Sequence
from importlib.metadata import version
from typing import NamedTuple

from airjax.cli.console import keep_running


class Command(NamedTuple):
    """A sub-command. Its module is imported when it is called, so that one command does not wait for the others.

    The module has `main(arguments, prog) -> exit code` and `make_parser(prog)`, which completion scripts are made from.
    """

    module: str
    summary: str
    keeps_running: bool = False  # without a reader of its output: see airjax.cli.console
    on_cpu: bool = False  # computes next to nothing: a training beside it may have the accelerator to itself


COMMANDS = {
    "train": Command("airjax.cli.train", "train networks to a target accuracy"),
    "predict": Command("airjax.cli.predict", "classify image files with a trained network"),
    "sweep": Command("airjax.cli.sweep", "train all networks of a plan, resumably", keeps_running=True),
    "report": Command("airjax.cli.report", "write networks, a sweep or an experiment as one HTML page", on_cpu=True),
    "serve": Command("airjax.cli.serve", "show the same page while networks are trained", on_cpu=True),
    "export": Command("airjax.cli.export", "write a sweep's results as Parquet, or a network as ONNX or a folder"),
    "experiments": Command("airjax.cli.experiments", "train a table or figure of the paper", keeps_running=True),
    "records": Command("airjax.cli.records", "show the record table, or verify a recipe's claim", keeps_running=True),
    "recipes": Command("airjax.cli.recipes", "list the recipes: steps, parameters, FLOPs, expected accuracy"),
    "data": Command("airjax.cli.data", "list the data sets, say what is found where, or show one", on_cpu=True),
    "doctor": Command("airjax.cli.doctor", "compare this device's compiled pieces with numpy"),
    "completion": Command("airjax.cli.completion", "print the script that completes commands at the Tab key"),
}


def run_command(arguments: Sequence[str], prog: str) -> int:
    """Run the sub-command that the first argument names, and return its exit code. Raises SystemExit for bad usage.

    Args:
        arguments: of the command line, without the program's name.
        prog: how the program was called, for usage lines: "airjax" or "python -m airjax".
    """
    name = make_parser(prog).parse_args(arguments[:1]).command
    command = COMMANDS[name]
    if command.keeps_running:
        keep_running()
    if command.on_cpu:
        stay_on_cpu()
    return importlib.import_module(command.module).main(list(arguments[1:]), f"{prog} {name}")


def stay_on_cpu() -> None:
    """Leave accelerators alone in this process, unless JAX_PLATFORMS says otherwise."""
    import jax

    if not os.environ.get("JAX_PLATFORMS"):
        jax.config.update("jax_platforms", "cpu")


def make_parser(prog: str) -> argparse.ArgumentParser:
    """Make the parser of the first argument alone."""
    width = max(map(len, COMMANDS)) + 2
    parser = argparse.ArgumentParser(
        prog,
        usage=f"{prog} COMMAND [--help]",
        description="CIFAR-10 networks trained to 94, 95 and 96% in seconds.",
        epilog="commands:\n" + "\n".join(f"  {name:{width}}{command.summary}" for name, command in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"airjax {version('airjax')}", help="print the version")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of the commands below")
    return parser
