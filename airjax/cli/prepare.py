"""A tree of images resized once, in a file for each split: airjax data prepare TREE --out DIR."""

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from airjax.data import DataError
from airjax.data.place import expand_readable, named_in_errors
from airjax.stream.index import Corrupt
from airjax.stream.prepared import Form, Kind
from airjax.stream.tree import PREPARED, Tree, is_prepared, open_tree, prepare_tree
from airjax.utils.extras import MissingExtraError
from airjax.utils.units import format_bytes, format_seconds

EXIT_OK, EXIT_USAGE = 0, 2
SHOWN = 30.0  # seconds between two lines of progress


def main(arguments: list[str] | None = None, prog: str = "airjax data prepare") -> int:
    """Run the command line and return its exit code: 0 written, 2 bad usage or input, or no room."""
    options = make_parser(prog).parse_args(arguments)
    try:
        if options.quality is not None and options.kind != "jpeg":
            raise ValueError(f"--quality is of JPEG; leave it out of --kind {options.kind}")
        form = Form(options.longest, options.kind, Form.quality if options.quality is None else options.quality)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            tree = open_tree(options.tree, options.corrupt)
        for warning in caught:
            print(f"warning: {warning.message}", file=sys.stderr)
        if is_prepared(tree.place):
            raise DataError(f"{options.tree} is prepared already; name the tree that it was made of")
        out = expand_readable(options.out)
        with named_in_errors(out):
            before = written_files(out)
        prepared = prepare_tree(tree, out, form, show_progress(len(tree.train_labels) + len(tree.val_labels)))
    except (DataError, MissingExtraError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    print(describe(prepared, new=written_files(out) != before))
    return EXIT_OK


def make_parser(prog: str) -> argparse.ArgumentParser:
    """Make the parser of the command's arguments."""
    parser = argparse.ArgumentParser(
        prog,
        description="Decode and resize every image of a tree once, into a file for each split, which trains faster.",
        epilog="airjax train --data DIR takes it as the tree itself (docs/imagenet.md).",
    )
    parser.add_argument("tree", type=Path, metavar="TREE", help="a folder with train/CLASS/... and val/CLASS/...")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write")
    parser.add_argument(
        "--longest", type=int, default=Form.longest, metavar="PIXELS", help=f"longer side of an image ({Form.longest})"
    )
    parser.add_argument(
        "--kind", choices=get_args(Kind), default=Form.kind, help="raw: pixels, which need no decoder, and room (jpeg)"
    )
    parser.add_argument("--quality", type=int, metavar="Q", help=f"of JPEG, from 1 to 100 ({Form.quality})")
    parser.add_argument(
        "--corrupt", choices=get_args(Corrupt), default="fail", help="what is done about files that cannot be decoded"
    )
    return parser


def show_progress(total: int) -> Callable[[int], None]:
    """Return a function that is told how many images are done, and says so now and then."""
    began = shown = time.monotonic()

    def show(count: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown > SHOWN and count < total:
            left = format_seconds((now - began) * (total - count) / count)
            print(f"{count:,} of {total:,} images, {left} left", file=sys.stderr, flush=True)
            shown = now

    return show


def written_files(folder: Path) -> list[tuple[int, int]]:
    """Return what tells the files of a folder from those that may be written in their place."""
    files = [folder / name for name in PREPARED if (folder / name).is_file()]
    return [(file.stat().st_ino, file.stat().st_mtime_ns) for file in files]


def describe(tree: Tree, *, new: bool = True) -> str:
    """Say what was written, or was there already."""
    size = format_bytes(sum((tree.place / name).stat().st_size for name in PREPARED))
    train, val = len(tree.train_labels), len(tree.val_labels)
    counts = f"{train:,} images to train on, {val:,} to test on, {len(tree.classes):,} classes"
    return f"{'wrote' if new else 'nothing to do in'} {tree.place}: {counts}; {size}"
