"""The command line: python -m airjax records shows the record table, records verify NAME adds a row to it."""

import argparse
import sys
from pathlib import Path
from typing import Any, get_args

from airjax import DataError, DeviceError
from airjax.cli.console import describe_os_error
from airjax.data.registry import REGISTRY
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import PrecisionName
from airjax.utils.records import dump_json, read_lines
from benchmarks.claim_plan import CIFAR10, describe_plan, make_plan, require_power
from benchmarks.record import RESULTS, SCRATCH
from benchmarks.record_rows import Row, own_rows, published_rows, sort_rows
from benchmarks.record_tables import describe_row, format_rows
from benchmarks.verify import FILE, verify

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_OPEN, EXIT_INTERRUPTED = 0, 1, 2, 3, 130
OF_VERIFY = ("seeds", "seed", "target", "data", "data_dir", "precision", "out", "keep", "checkpoint_every")
SWITCHES = ("underpowered", "dry_run")


def main(arguments: list[str], prog: str = "python -m airjax records") -> int:
    """Run the command line and return its exit code.

    0: shown, or verified. 1: a training failed. 2: bad usage or input. 3: refuted, or not resolved. 130: interrupted.
    """
    parser = make_parser(prog)
    options = parser.parse_args(arguments)
    try:
        if options.action == "verify":
            return _verify(options)
        defaults = {name: parser.get_default(name) for name in (*OF_VERIFY, *SWITCHES)}
        given = [name for name, default in defaults.items() if getattr(options, name) is not default]
        if given:
            raise ValueError(f"--{given[0].replace('_', '-')} is of {prog} verify NAME")
        return _show(options)
    except (DataError, DeviceError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except OSError as error:
        print(f"error: {describe_os_error(error)}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("interrupted; rerunning the same command resumes", file=sys.stderr)
        return EXIT_INTERRUPTED


def make_parser(prog: str) -> argparse.ArgumentParser:
    """Make the parser of the command's arguments."""
    parser = argparse.ArgumentParser(
        prog,
        description="The record table: our rows with mean, interval, n and p-value, other people's as published.",
        epilog="verify trains the networks that a recipe's claim needs, tests it, and adds a row. It may be killed and "
        "run again. docs/records.md has the rules of timing and testing.",
    )
    parser.add_argument("action", nargs="?", choices=("verify",), help="without it, the table is shown")
    parser.add_argument("name", nargs="?", choices=tuple(RECIPES), metavar="NAME", help="the recipe to verify")
    parser.add_argument("--json", action="store_true", help="rows as one line of JSON, the last of the output")
    parser.add_argument(
        "--results", type=Path, metavar="DIR", help="read the table from DIR, or add a row to it (runs/benchmarks)"
    )
    group = parser.add_argument_group("verify")
    group.add_argument("--keep", action="store_true", help="add the row to benchmarks/results, which is tracked")
    group.add_argument("--seeds", type=int, metavar="N", help="networks (as many as the claim needs)")
    group.add_argument("--seed", type=int, metavar="FIRST", help="seed of the first network (0)")
    group.add_argument("--target", type=float, metavar="PERCENT", help="accuracy to test against (the recipe's own)")
    group.add_argument("--data", choices=tuple(REGISTRY), help="data set (cifar10; records are on no other)")
    group.add_argument("--data-dir", type=Path, metavar="DIR", help="where the data set lies; default: AIRJAX_DATA")
    group.add_argument("--precision", choices=get_args(PrecisionName), help="of the networks' arithmetic")
    group.add_argument("--out", type=Path, metavar="DIR", help="where the networks are kept (runs/records/NAME)")
    group.add_argument("--checkpoint-every", metavar="EPOCHS", help="epochs between two snapshots of a network")
    group.add_argument("--underpowered", action="store_true", help="also train networks too few for a verdict")
    group.add_argument("--dry-run", action="store_true", help="only say what would be trained")
    return parser


def _show(options: argparse.Namespace) -> int:
    file = (options.results or RESULTS) / FILE
    if not file.exists():
        raise ValueError(f"there is no {file}; name the --results that airjax records verify added rows to")
    rows = sort_rows([*published_rows(), *own_rows(read_lines(file))])
    if options.json:
        print(dump_json([to_json(row) for row in rows]))
        return EXIT_OK
    others = [row for row in rows if not row.is_record]
    print(f"Records\n{format_rows([row for row in rows if row.is_record])}")
    if others:
        print(f"\nOur rows that are no records\n{format_rows(others)}")
    return EXIT_OK


def to_json(row: Row) -> dict[str, Any]:
    """Return a row as JSON has it."""
    return row._asdict() | {"is_record": row.is_record}


def _verify(options: argparse.Namespace) -> int:
    if options.name is None:
        raise ValueError(f"verify needs the name of a recipe: {', '.join(RECIPES)}")
    if options.keep and options.results:
        raise ValueError("--keep and --results DIR both say where the row goes; leave one out")
    plan = make_plan(
        options.name,
        target=options.target,
        seeds=options.seeds,
        seed=options.seed or 0,
        data=options.data or CIFAR10,
        precision=options.precision,
    )
    if not options.underpowered:
        require_power(plan)
    print(describe_plan(plan), flush=True)
    if options.dry_run:
        return EXIT_OK
    results = RESULTS if options.keep else options.results or SCRATCH
    place = [] if options.data_dir is None else ["--data-dir", str(options.data_dir)]
    snapshots = [] if options.checkpoint_every is None else ["--checkpoint-every", options.checkpoint_every]
    out = options.out or SCRATCH.parent / "records" / options.name
    code, line = verify(plan, out, results, [*place, *snapshots])
    if code == EXIT_USAGE:  # of the training, which has said what is wrong
        return EXIT_USAGE
    if line is None:
        resumes = f"rerunning the same command resumes in {out}, but a network that diverged does so again"
        print(f"not all networks are finished; {resumes}", file=sys.stderr)
        return code if code > 0 else EXIT_FAILED  # below zero: a signal ended it
    [row] = own_rows([line])
    print(f"{describe_row(row)}\nwrote {results / FILE} and {results / line['log']}")
    if options.json:
        print(dump_json(to_json(row)))
    return EXIT_OK if row.verdict == "verified" else EXIT_OPEN
