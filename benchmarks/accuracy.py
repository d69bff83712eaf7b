"""Accuracy of a recipe: trains it through the command line and saves the result as a line of accuracy.jsonl.

    python -m benchmarks.accuracy --target 94 --seeds 5 --data-dir CIFAR10       # options of python -m airjax.train
    python -m benchmarks.accuracy --finished DIR --data-dir CIFAR10              # of what a stopped training finished

`--keep` or `--results DIR` say where the line goes, as for every command here (benchmarks/record.py). A training that
stops before its end leaves the line of the networks that it finished, marked so. --finished DIR makes the line of a
folder of `airjax train --out`, of which runs.jsonl, environments.jsonl and recipe.json are enough: what a device's
archive holds.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from airjax.cli.console import run_main
from airjax.cli.train_result import describe_result, summarize_runs
from airjax.data import DataError
from airjax.report.networks import read_networks
from airjax.report.survey import SurveyError
from benchmarks.record import run_json, save, take_output_options

FILE = "accuracy.jsonl"
EXIT_OK, EXIT_USAGE, EXIT_BELOW_TARGET = 0, 2, 3


def main(arguments: list[str]) -> int:
    """Train, and save the JSON result, whatever it is. Returns the exit code of the training."""
    results, rest = take_output_options(arguments)
    if any(argument.split("=")[0] == "--finished" for argument in rest):
        return save_finished(results, rest)
    code, record = run_json("airjax.train", [*rest, "--json"])
    if record is not None:
        # Also by a network that diverged: the others are more accurate than all would have been.
        stopped = {} if code in (EXIT_OK, EXIT_BELOW_TARGET) else {"interrupted": True, "exit_code": code}
        save(results, FILE, record | {"n": len(record["seeds"])} | stopped)
    return code


def save_finished(results: Path, arguments: list[str]) -> int:
    """Save the line of a folder's finished networks. Returns the exit code."""
    parser = argparse.ArgumentParser("python -m benchmarks.accuracy")
    parser.add_argument("--finished", type=Path, metavar="DIR", help="folder of a training that was stopped")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="where its data set lies")
    options = parser.parse_args(arguments)
    try:
        record = record_finished(options.finished, options.data_dir)
    except (ValueError, DataError, SurveyError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    save(results, FILE, record)
    print(describe_result(record))
    return EXIT_OK


def record_finished(folder: Path, data_dir: Path | None = None) -> dict[str, Any]:
    """Make the line of a folder's finished networks.

    Args:
        folder: of `airjax train --out`; of each seed the last line of its runs.jsonl counts.
        data_dir: where the data set lies that they learned from; without one it is looked for.

    Raises ValueError where none is finished, several environments trained them, or the data set is not there or another
    one, DataError for a data_dir that does not hold it, and SurveyError for what is no such folder.
    """
    try:
        networks = read_networks(folder, data_dir)
    except SurveyError as error:
        raise SurveyError(f"{error}; --finished needs the folder of `airjax train --out`") from error
    if not networks.runs:
        raise ValueError(f"no network is finished in {folder}")
    if networks.dataset is None:
        raise ValueError(f"the networks in {folder} learned from other data than is here: {networks.missing}")
    if len(networks.environments) != 1:
        raise ValueError(f"the networks in {folder} are not of one known environment; a line is of one")
    environment = {name: value for name, value in networks.environments[0].items() if name != "environment"}
    summary = summarize_runs(networks.name, networks.recipe, networks.dataset, networks.runs)
    return summary | {"mixed": {}, "warnings": []} | environment | {"n": len(networks.runs), "interrupted": True}


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]), keep_running=True)
