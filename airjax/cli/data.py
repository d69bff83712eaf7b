"""The data sets that are known, where they are looked for and what is found: airjax data."""

import argparse
import os
import sys
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from airjax.data import DataError, Dataset, load_data
from airjax.data.cache import cache_folder
from airjax.data.download import places
from airjax.data.labels import LABEL_NAMES, LABEL_SETS, VARIABLE, with_labels
from airjax.data.load import is_own
from airjax.data.registry import REGISTRY, Entry, find_entry
from airjax.utils.records import dump_json
from airjax.utils.units import format_bytes

EXIT_OK, EXIT_USAGE = 0, 2
WIDTH = 20  # characters, of the column of names
OWN = "your own images: a folder with train/ and test/, or an .npz (docs/data.md)"


class Found(NamedTuple):
    """What a name or a place stands for on this machine."""

    dataset: Dataset | None  # None where nothing is found
    source: str  # where it comes from, or why nothing is found
    notes: list[str]  # warnings about its content


def main(arguments: list[str] | None = None, prog: str = "airjax data") -> int:
    """Print the data sets and what is found, as text or with --json as one line. Returns the exit code.

    2: a place that was named holds no data set. Nothing is ever downloaded.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["preview"]:
        from airjax.cli import preview

        return preview.main(arguments[1:], f"{prog} preview")
    if arguments[:1] == ["prepare"]:
        from airjax.cli import prepare

        return prepare.main(arguments[1:], f"{prog} prepare")
    options = make_parser(prog).parse_args(arguments)
    try:
        known = known_sets(options.data_dir)
        found = find(options.data, options.data_dir, options.image_size, options.labels, options.labels_dir)
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
        print(f"{row['name']:{WIDTH}}{row['summary']}")
        print(f"{'':{WIDTH}}{', then '.join(row['places'])}")
    print(f"{'auto':{WIDTH}}cifar10 where it is available, else synthetic\n{'PATH':{WIDTH}}{OWN}")
    print(f"\n--labels, other labels of cifar10, from --labels-dir, then {VARIABLE}, then --data-dir:")
    for name, labels in LABEL_SETS.items():
        print(f"{name:{WIDTH}}{labels.what}")
    print(f"\n--data {options.data}: {_sentence(chosen) if chosen else 'nothing is found here'}; {found.source}")
    return EXIT_OK


def make_parser(prog: str) -> argparse.ArgumentParser:
    """Make the parser of the command's arguments."""
    parser = argparse.ArgumentParser(
        prog,
        description="The data sets that are known, and what the options and variables below stand for here.",
        epilog=f"{prog} preview writes a page with a data set's classes, images and augmented views; {prog} prepare "
        "resizes a tree of images once, into files that train faster.",
    )
    parser.add_argument("--data", default="auto", metavar="NAME|PATH", help=f"a name below, auto, or {OWN}")
    parser.add_argument("--data-dir", type=Path, metavar="PATH", help="where its files lie; default: see below")
    parser.add_argument("--labels", choices=LABEL_NAMES, help="other labels of CIFAR-10's images (docs/data.md)")
    parser.add_argument("--labels-dir", type=Path, metavar="PATH", help=f"where their file lies; default: {VARIABLE}")
    parser.add_argument("--image-size", type=int, metavar="PIXELS", help="scale images of your own to this size")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    return parser


def known_sets(data_dir: Path | None = None) -> list[dict[str, Any]]:
    """Return every data set's name, what it is, and the places where it is looked for, in order."""
    return [
        {"name": name, "summary": entry.what, "places": _places(entry, data_dir)} for name, entry in REGISTRY.items()
    ]


def _places(entry: Entry, data_dir: Path | None) -> list[str]:
    if (official := entry.official) is None:
        return [entry.origin]
    size = format_bytes(sum(remote.size for remote in official.remotes))
    return [
        f"--data-dir ({data_dir or 'not given'})",
        f"{official.variable} ({os.environ.get(official.variable) or 'not set'})",
        f"the cache ({cache_folder()})",
        f"the network ({', '.join(places(remote)[0] for remote in official.remotes)}; {size})",
    ]


def find(
    name: str,
    data_dir: Path | None = None,
    image_size: int | None = None,
    labels: str | None = None,
    labels_dir: Path | None = None,
) -> Found:
    """Find the data set of that name or path, without using the network.

    Raises DataError for a name that there is not, and for a place that holds no data set.
    """
    entry = find_entry("cifar10" if name == "auto" else name)
    official = entry.official if entry else None
    named = data_dir or (os.environ.get(official.variable) if official else None)
    dataset = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if image_size is None and not named and entry and official:
            try:
                dataset = entry.load(None, download=False)
            except DataError as error:
                instead = ", or use synthetic" if name == "auto" else ""
                return Found(None, f"a training would download it{instead}: {error}", [])
        if dataset is not None and labels:
            dataset = with_labels(dataset, labels, labels_dir)
        elif dataset is None or labels_dir:
            dataset = load_data(name, data_dir, image_size=image_size, labels=labels, labels_dir=labels_dir)
    if is_own(name) or named:
        source = f"from {name if is_own(name) else named}"
    else:
        source = f"from the cache, {cache_folder()}" if official else entry.origin if entry else ""
    return Found(dataset, source, [str(warning.message) for warning in caught])


def describe(dataset: Dataset) -> dict[str, Any]:
    """Return what identifies a data set, as a record."""
    return {
        "name": dataset.name,
        "content": dataset.content,
        "train_images": len(dataset.train_images),
        "test_images": len(dataset.test_images),
        "image_shape": list(dataset.train_images.shape[1:]),
        "classes": list(dataset.classes),
        "labels": dataset.labels,
        "fingerprint": dataset.fingerprint,
    }


def _sentence(chosen: dict[str, Any]) -> str:
    shape = "x".join(map(str, chosen["image_shape"]))
    return (
        f"{chosen['name']}, {chosen['content']} content, {chosen['train_images']:,} training and "
        f"{chosen['test_images']:,} test images of {shape}, {len(chosen['classes'])} classes, fingerprint "
        f"{chosen['fingerprint'][:12]}"
    )
