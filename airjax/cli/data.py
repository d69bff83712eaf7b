"""The data sets that are known, where they are looked for and what is found: airjax data."""

import argparse
import os
import sys
import warnings
from pathlib import Path
from typing import Any, NamedTuple, get_args

from airjax.data import DataError, DataName, Dataset, load_cifar10, load_data
from airjax.data.cache import cache_folder
from airjax.data.download import SOURCES
from airjax.utils.records import dump_json

EXIT_OK, EXIT_USAGE = 0, 2


class Found(NamedTuple):
    """What a name and a place stand for on this machine."""

    dataset: Dataset | None  # None where nothing is found
    source: str  # where it comes from, or why nothing is found
    notes: list[str]  # warnings about its content


def main(arguments: list[str] | None = None, prog: str = "airjax data") -> int:
    """Print the data sets and what is found, as text or with --json as one line. Returns the exit code.

    2: a place that was named holds no data set. Nothing is ever downloaded.
    """
    options = make_parser(prog).parse_args(arguments)
    try:
        known, found = known_sets(options.data_dir), find(options.data, options.data_dir)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    for note in found.notes:
        print(f"warning: {note}", file=sys.stderr)
    chosen = found.dataset and describe(found.dataset)
    if options.json:
        print(dump_json({"known": known, "chosen": chosen, "source": found.source, "warnings": found.notes}))
        return EXIT_OK
    for row in known:
        print(f"{row['name']:10}{row['summary']}")
        print(f"{'':10}looked for in: {', then '.join(row['places'])}")
    print(f"\n--data {options.data}: {_sentence(chosen) if chosen else 'nothing is found here'}; {found.source}")
    return EXIT_OK


def make_parser(prog: str) -> argparse.ArgumentParser:
    """The parser of the command's arguments."""
    parser = argparse.ArgumentParser(
        prog, description="The data sets that are known, and what --data, --data-dir and AIRJAX_DATA stand for here."
    )
    parser.add_argument("--data", choices=get_args(DataName), default="auto", help="as of the other commands")
    parser.add_argument("--data-dir", type=Path, metavar="PATH", help="where CIFAR-10 lies; default: AIRJAX_DATA")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    return parser


def known_sets(data_dir: Path | None = None) -> list[dict[str, Any]]:
    """Every data set's name, what it is, and the places where it is looked for, in order."""
    named = os.environ.get("AIRJAX_DATA")
    places = [
        f"--data-dir ({data_dir or 'not given'})",
        f"AIRJAX_DATA ({named or 'not set'})",
        f"the cache ({cache_folder()})",
        f"the network ({os.environ.get('AIRJAX_MIRROR') or SOURCES[0]})",
    ]
    return [
        {"name": "cifar10", "summary": "CIFAR-10: 50,000 training and 10,000 test images", "places": places},
        {"name": "builtin", "summary": "procedural images, which need no files", "places": ["airjax itself"]},
        {"name": "auto", "summary": "cifar10 where it is available, else builtin", "places": ["both"]},
    ]


def find(name: DataName, data_dir: Path | None = None) -> Found:
    """The data set of that name without using the network. Raises DataError for a named place that holds none."""
    named = data_dir or os.environ.get("AIRJAX_DATA")
    if name == "builtin":
        return Found(load_data(name), "made on the spot", [])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            dataset = load_cifar10(data_dir, download=False)
        except DataError as error:
            if named:
                raise
            training = "a training would download it"
            return Found(None, training + (", or use builtin" if name == "auto" else "") + f": {error}", [])
    source = f"from {named}" if named else f"from the cache, {cache_folder()}"
    return Found(dataset, source, [str(warning.message) for warning in caught])


def describe(dataset: Dataset) -> dict[str, Any]:
    """What identifies a data set, as a record."""
    return {
        "name": dataset.name,
        "content": dataset.content,
        "train_images": len(dataset.train_images),
        "test_images": len(dataset.test_images),
        "image_shape": list(dataset.train_images.shape[1:]),
        "classes": list(dataset.classes),
        "fingerprint": dataset.fingerprint,
    }


def _sentence(chosen: dict[str, Any]) -> str:
    shape = "x".join(map(str, chosen["image_shape"]))
    return (
        f"{chosen['name']}, {chosen['content']} content, {chosen['train_images']:,} training and "
        f"{chosen['test_images']:,} test images of {shape}, {len(chosen['classes'])} classes, fingerprint "
        f"{chosen['fingerprint'][:12]}"
    )
