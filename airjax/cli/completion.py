"""Tab completion: airjax completion bash, zsh or fish prints a script to be saved where the shell looks for it."""

import argparse
import importlib
import warnings
from pathlib import Path
from typing import get_args

import shtab

from airjax.cli.commands import COMMANDS
from airjax.cli.train_options import Target
from airjax.data.registry import REGISTRY
from airjax.recipes.published import RECIPES

PLACES = {
    "bash": "~/.local/share/bash-completion/completions/airjax",
    "zsh": "a folder of $fpath, as _airjax",
    "fish": "~/.config/fish/completions/airjax.fish",
}
# What may follow a flag whose parser does not say it, or says more than the command takes.
WORDS = {"--recipe": tuple(RECIPES), "--target": get_args(Target)}
# Words besides files: a sweep's plan, or `status`; the names of data sets, or a path.
OR_FILES = {"plan": ("status",), "data": ("auto", *REGISTRY)}


def main(arguments: list[str] | None = None, prog: str = "airjax completion") -> int:
    """Print the script for a shell. Returns the exit code."""
    print(make_script(make_parser(prog).parse_args(arguments).shell))
    return 0


def make_parser(prog: str) -> argparse.ArgumentParser:
    """Make the parser of the command's arguments."""
    places = "; ".join(f"{shell}: {place}" for shell, place in PLACES.items())
    parser = argparse.ArgumentParser(
        prog,
        description="The script that completes commands, flags and their values at the Tab key.",
        epilog=f"Save what it prints to a file and start a new shell. {places}.",
    )
    parser.add_argument("shell", choices=PLACES)
    return parser


def make_script(shell: str) -> str:
    """Make the script for one of PLACES."""
    return shtab.complete(make_full_parser(), shell, preamble=_functions(shell))


def make_full_parser() -> argparse.ArgumentParser:
    """Make the parsers of all commands as one, with what completes the value of each argument."""
    whole = argparse.ArgumentParser("airjax")
    whole.add_argument("--version", action="version", help="print the version")
    commands = whole.add_subparsers(dest="command")
    for name, command in COMMANDS.items():
        with warnings.catch_warnings():
            # tyro means to remove get_parser, and has nothing else from which one script for all commands can be made.
            warnings.simplefilter("ignore", DeprecationWarning)
            parser = importlib.import_module(command.module).make_parser(f"airjax {name}")
        for action in parser._actions:
            _complete(action)
        commands.add_parser(name, help=command.summary, parents=[parser], add_help=False)
    return whole


def _complete(action: argparse.Action) -> None:
    # shtab offers an action's choices, or what its `complete` says. tyro's paths have one, which leaves archives out.
    for option in action.option_strings:
        action.choices = WORDS.get(option, action.choices)
    if action.choices is not None:
        action.choices = sorted(action.choices)
    elif action.dest in OR_FILES:
        action.complete = _words_or_files(action.dest)  # pyright: ignore[reportAttributeAccessIssue]
    elif action.type is Path or hasattr(action, "complete"):
        action.complete = shtab.DIRECTORY if action.metavar == "DIR" else shtab.FILE  # pyright: ignore


def _words_or_files(name: str) -> dict[str, str]:
    words = " ".join(OR_FILES[name])
    fish = f"(printf '%s\\n' {words}; __fish_complete_path (commandline -ct))"
    return {"bash": f"_airjax_{name}", "zsh": f"_airjax_{name}", "fish": fish}


def _functions(shell: str) -> str:
    # What bash and zsh call for them.
    bodies = {
        "bash": '_airjax_{name}() {{ compgen -W \'{words}\' -- "$1"; compgen -f -- "$1"; }}',
        "zsh": "_airjax_{name}() {{ compadd {words}; _files }}",
    }
    body = bodies.get(shell, "")
    return "\n".join(body.format(name=name, words=" ".join(words)) for name, words in OR_FILES.items())
