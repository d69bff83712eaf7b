"""The data sets that are known, where they are looked for and what is found: airjax data."""

import argparse
import os
import sys
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from airjax.data import DataError, Dataset, load_cifar10, load_data
from airjax.data.cache import cache_folder
from airjax.data.download import SOURCES
from airjax.data.load import is_own
from airjax.data.registry import REGISTRY, find_entry
from airjax.utils.records import dump_json

EXIT_OK, EXIT_USAGE = 0, 2
OWN = "your own images: a folder with train/ and test/, or an .npz (docs/data.md)"


class Found(NamedTuple):
    """What a name or a place stands for on this machine."""

    dataset: Dataset | None  # None where nothing is found
    source: str  # where it comes from, or why nothing is found
    notes: list[str]  # warnings about its content


def main(arguments: list[str] | None = None, prog: str = "airjax data") -> int:
    """Print the data sets and what is found, as text or with --json as one line. Returns the exit code.

    2: a place that was named holds no data set. CIFAR-10 is never downloaded.
    """
    options = make_parser(prog).parse_args(arguments)
    try:
        known, found = known_sets(options.data_dir), find(options.data, options.data_dir, options.image_size)
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
        print(f"{row['name']:11}{row['summary']}")
        print(f"{'':11}{', then '.join(row['places'])}")
    print(f"{'auto':11}cifar10 where it is available, else synthetic\n{'PATH':11}{OWN}")
    print(f"\n--data {options.data}: {_sentence(chosen) if chosen else 'nothing is found here'}; {found.source}")
    return EXIT_OK


def make_parser(prog: str) -> argparse.ArgumentParser:
    """The parser of the command's arguments."""
    parser = argparse.ArgumentParser(
        prog, description="The data sets that are known, and what --data, --data-dir and AIRJAX_DATA stand for here."
    )
    parser.add_argument("--data", default="auto", metavar="NAME|PATH", help=f"a name below, auto, or {OWN}")
    parser.add_argument("--data-dir", type=Path, metavar="PATH", help="where CIFAR-10 lies; default: AIRJAX_DATA")
    parser.add_argument("--image-size", type=int, metavar="PIXELS", help="scale images of your own to this size")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    return parser


def known_sets(data_dir: Path | None = None) -> list[dict[str, Any]]:
    """Every data set's name, what it is, and the places where it is looked for, in order."""
    named = f"--data-dir ({data_dir or 'not given'})"
    mirror = os.environ.get("AIRJAX_MIRROR")
    places = {
        "cifar10": [
            named,
            f"AIRJAX_DATA ({os.environ.get('AIRJAX_DATA') or 'not set'})",
            f"the cache ({cache_folder()})",
            f"the network ({mirror or SOURCES[0]})",
        ]
    }
    return [
        {
            "name": name,
            "summary": entry.what,
            "places": places.get(name, [named, entry.origin] if entry.has_files else [entry.origin]),
        }
        for name, entry in REGISTRY.items()
    ]


def find(name: str, data_dir: Path | None = None, image_size: int | None = None) -> Found:
    """The data set of that name or path, CIFAR-10 without using the network.

    Raises DataError for a name that there is not, and for a place that holds no data set.
    """
    named = data_dir or (os.environ.get("AIRJAX_DATA") if name in ("auto", "cifar10") else None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if image_size is None and not named and name in ("auto", "cifar10"):
            try:
                dataset = load_cifar10(download=False)
            except DataError as error:
                instead = ", or use synthetic" if name == "auto" else ""
                return Found(None, f"a training would download it{instead}: {error}", [])
        else:
            dataset = load_data(name, data_dir, image_size=image_size)
    if is_own(name) or named:
        source = f"from {name if is_own(name) else named}"
    else:
        entry = find_entry(name)
        source = entry.origin if entry and not entry.has_files else f"from the cache, {cache_folder()}"
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
