"""The command line: python -m airjax experiments NAME trains a table or figure of the paper and compares with it."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from airjax import DataError, DeviceError
from airjax.cli.console import describe_os_error
from airjax.recipes.recipe import PrecisionName
from airjax.sweep.plan import PlanError
from airjax.sweep.store import ResultsError
from airjax.utils.extras import MissingExtraError, import_extra
from airjax.utils.records import require_writable
from experiments.experiment import SCALES, Context, Experiment, Scale, in_precision, no_parts
from experiments.forecast import forecast
from experiments.page import results_table, write_pages
from experiments.record import RESULTS, SCRATCH, draw, rows_of, save
from experiments.registry import EXPERIMENTS
from experiments.train import folders_of, train_parts

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130
OTHERS = {"list": ("scale", "out"), "page": ("results",)}  # what is no experiment, and the options that it has
PRECISIONS = tuple(name for name in get_args(PrecisionName) if name != "auto")
NEEDED = ("matplotlib", "statsmodels")


def main(arguments: list[str], prog: str = "python -m experiments") -> int:
    """Run the command line and return its exit code: 0 done, 1 a training failed, 2 bad usage or input."""
    parser = make_parser(prog)
    options = parser.parse_args(arguments)
    try:
        refuse_of_experiments(parser, options)
        if options.name == "list":
            return print_list(options.scale, options.out)
        if options.name == "page":
            for file in write_pages(EXPERIMENTS, options.results or RESULTS):
                print(f"wrote {file}")
            return EXIT_OK
        return run(EXPERIMENTS[options.name], options)
    except (PlanError, ResultsError, DataError, DeviceError, MissingExtraError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except OSError as error:
        print(f"error: {describe_os_error(error)}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("interrupted; rerunning the same command resumes", file=sys.stderr)
        return EXIT_INTERRUPTED


def run(experiment: Experiment, options: argparse.Namespace) -> int:
    """Train what an experiment lacks, analyse it, and write its line, its figure and its page. Returns an exit code.

    Raises ValueError for a scale that the experiment does not have.
    """
    if options.scale not in experiment.scales:
        raise ValueError(f"{experiment.name} has no {options.scale} scale; leave --scale out")
    scale, out = options.scale, folder_of(experiment, options.scale, options.out, options.precision)
    arguments = _sweep_options(options)
    refuse_unused(experiment, scale, options)
    if options.precision is not None:
        experiment = in_precision(experiment, options.precision)
    if options.dry_run:
        print(forecast(experiment, scale, out).text)
        return EXIT_OK
    for package in NEEDED:
        import_extra(package, "report", "an experiment")  # before anything is trained
    folder = options.results or SCRATCH
    require_writable(folder, "--results")
    if not options.analyse:
        require_writable(out, "--out")
        code = train_parts(experiment, scale, out, options.data_dir, arguments)
        if code != EXIT_OK:
            return code
    folders = tuple(folders_of(experiment, scale, out))
    analysis = experiment.analyse(Context(scale, folders, options.data_dir, options.mixed))
    record = save(experiment, scale, analysis, folder, options.precision)
    files = [folder / f"{experiment.name}.jsonl", *draw(experiment, record, folder)]
    files += write_pages(EXPERIMENTS, folder)
    print(f"{experiment.title}, {scale} scale\n{results_table(rows_of(record))}")
    print("\n".join(f"wrote {file}" for file in files))
    return EXIT_OK


def refuse_of_experiments(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Raise ValueError for options that change nothing of what is no experiment."""
    if options.name not in OTHERS:
        return
    for name, value in vars(options).items():
        if name not in ("name", *OTHERS[options.name]) and value != parser.get_default(name):
            flag = "keep" if value == RESULTS else name.replace("_", "-")
            raise ValueError(f"--{flag} is of an experiment; leave it out of {options.name}")


def refuse_unused(experiment: Experiment, scale: Scale, options: argparse.Namespace) -> None:
    """Raise ValueError for options of training where none of it is done, or where an experiment is no sweep."""
    sweep, trainings = list(_sweep_options(options)), experiment.trainings(scale)
    training = sweep + ["--precision"] * (options.precision is not None)
    if training and experiment.parts is no_parts and not trainings:
        raise ValueError(f"{training[0]} is of training, and {experiment.name} trains nothing; leave it out")
    if options.analyse and (ignored := sweep + ["--dry-run"] * options.dry_run):
        raise ValueError(f"{ignored[0]} is of training, and --analyse trains nothing; leave one of them out")
    if sweep and trainings:
        raise ValueError(
            f"{sweep[0]} is of a sweep, but airjax train trains the networks of {experiment.name}, one by one; "
            "leave it out"
        )


def print_list(scale: Scale, out: Path) -> int:
    """Print every experiment with its predicted cost and how far it has got."""
    width = max(map(len, EXPERIMENTS))
    for experiment in EXPERIMENTS.values():
        if scale not in experiment.scales:
            continue
        found = forecast(experiment, scale, folder_of(experiment, scale, out))
        print(f"{experiment.name:{width}}  {experiment.title}\n{'':{width}}  {found.text}")
    return EXIT_OK


def folder_of(experiment: Experiment, scale: Scale, out: Path, precision: str | None = None) -> Path:
    """Return where an experiment's sweeps are: those of a precision that was asked for are apart from the others."""
    return out / scale / (experiment.name if precision is None else f"{experiment.name}-{precision}")


def make_parser(prog: str) -> argparse.ArgumentParser:
    """Make the parser of the command's arguments."""
    parser = argparse.ArgumentParser(
        prog,
        description="Train a table or figure of the paper, and compare our numbers with its own.",
        epilog="list shows what each costs and how far it has got; page writes the pages from the results alone.",
    )
    parser.add_argument(
        "name", choices=(*EXPERIMENTS, *OTHERS), metavar="NAME", help=", ".join((*EXPERIMENTS, *OTHERS))
    )
    parser.add_argument("--scale", choices=SCALES, default="cpu", help="small networks for a CPU, or the paper's (cpu)")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="where the data set lies; default: AIRJAX_DATA")
    parser.add_argument(
        "--out", type=Path, default=SCRATCH, metavar="DIR", help="where its sweeps are, resumed (runs/experiments)"
    )
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--keep",
        dest="results",
        action="store_const",
        const=RESULTS,
        help="write result, figure and pages to experiments/, which is tracked",
    )
    group.add_argument("--results", type=Path, metavar="DIR", help="write them to DIR (runs/experiments)")
    parser.add_argument("--analyse", action="store_true", help="train nothing: analyse what is there")
    parser.add_argument("--mixed", action="store_true", help="pool networks of different versions or devices")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="of all its networks, whatever its plans say",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what it would cost")
    sweep = parser.add_argument_group("training, as of a sweep")
    sweep.add_argument("--workers", metavar="N", help="processes")
    sweep.add_argument("--cluster", metavar="ADDRESS", help="a Ray cluster: auto, or host:port")
    sweep.add_argument("--chunk", metavar="N", help="networks given to a worker at once")
    sweep.add_argument("--checkpoint-every", metavar="EPOCHS", help="epochs between two snapshots")
    return parser


def _sweep_options(options: argparse.Namespace) -> tuple[str, ...]:
    names: Sequence[str] = ("workers", "cluster", "chunk", "checkpoint_every")
    given = [(name, getattr(options, name)) for name in names if getattr(options, name) is not None]
    return tuple(word for name, value in given for word in (f"--{name.replace('_', '-')}", value))
