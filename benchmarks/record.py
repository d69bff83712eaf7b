"""Where every command here writes what it measured: into runs/benchmarks, or where the options say.

Nothing tracked is written unless `--keep` asks for it.
"""

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airjax.cli.stopping import TerminatedError, interrupted_by_sigterm
from airjax.utils.records import append_line, require_writable
from benchmarks.children import bound

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"  # tracked: what the documentation is made from
SCRATCH = ROOT / "runs" / "benchmarks"  # ignored by git
BLOCKS = "blocks.jsonl"  # every timed block as it is measured, so that a killed comparison leaves what it had


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add what every command can do with its record: --keep, --results DIR."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--keep",
        dest="results",
        action="store_const",
        const=RESULTS,
        help="append the record to benchmarks/results, which is tracked",
    )
    group.add_argument(
        "--results", type=_results_folder, metavar="DIR", help="append the record to a file in DIR (runs/benchmarks)"
    )
    parser.set_defaults(results=SCRATCH)


def _results_folder(text: str) -> Path:
    # A wrong one is refused before anything is measured.
    try:
        require_writable(Path(text), "--results")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return Path(text)


def take_output_options(arguments: list[str]) -> tuple[Path, list[str]]:
    """Split the output options from arguments that another command line reads: the folder, and the rest."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add_output_options(parser)
    options, rest = parser.parse_known_args(arguments)
    return options.results, rest


def without_output_options(arguments: list[str]) -> list[str]:
    """Return the arguments that say what is measured."""
    return [argument for argument in take_output_options(arguments)[1] if argument != "--json"]


def run_json(module: str, arguments: list[str]) -> tuple[int, dict[str, Any] | None]:
    """Run `python -m module arguments`, showing what it prints.

    Returns its exit code, and the last line as a record; None where that is not one. Ctrl-C reaches that process, too,
    and is its to handle; SIGTERM is passed on. Both are waited for: a training writes a snapshot before it ends, and
    says what is finished.
    """
    command, code = bound([sys.executable, "-m", module, *arguments]), None
    # Read beside this thread, which a signal may take out of a line that is read and not yet kept.
    with (
        interrupted_by_sigterm(),
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process,
        ThreadPoolExecutor(1) as pool,
    ):
        shown = pool.submit(_show, process)
        try:
            shown.result()
        except TerminatedError as terminated:
            process.terminate()
            code = terminated.exit_code
        except KeyboardInterrupt:
            pass
        try:
            last = shown.result()
        except (KeyboardInterrupt, TerminatedError):  # a second one does not wait
            process.kill()
            raise
    return process.returncode if code is None else code, json.loads(last) if last.startswith("{") else None


def _show(process: "subprocess.Popen[str]") -> str:
    # Shows what a process prints as it comes, and returns the last line.
    assert process.stdout is not None
    last = ""
    for line in process.stdout:
        print(line, end="", flush=True)
        last = line
    return last


def save(folder: Path, file: str, record: dict[str, Any]) -> None:
    """Append a record, with today's date, to a file in a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    append_line(folder / file, record | {"date": datetime.now(UTC).date().isoformat()})


def save_block(folder: Path, benchmark: str, block: dict[str, Any]) -> None:
    """Append one timed block to BLOCKS: of the folder, or of the scratch folder where the folder is tracked."""
    save(SCRATCH if folder == RESULTS else folder, BLOCKS, {"benchmark": benchmark, **block})
