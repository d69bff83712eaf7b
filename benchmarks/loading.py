"""Images per second that a host decodes, crops and resizes for a training: airjax's batches against other engines'.

`python -m benchmarks loading FOLDER` takes the JPEGs of FOLDER/CLASS/..., makes random resized crops of them by the
same law with each engine that is installed, in turn, and appends a line to loading.jsonl. One thread of one process, in
seconds of the processor, unless --workers says more.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from airjax.stream.images import Source, open_images, split_of
from airjax.stream.index import map_index, open_index
from airjax.stream.prepared import Form, prepare
from airjax.utils.units import format_bytes
from benchmarks.loading_engines import (
    ENGINES,
    LONGEST,
    Loader,
    installed_engines,
    make_loaders,
    require_engines,
    versions_of,
)
from benchmarks.record import add_output_options, save
from benchmarks.speed import command_line, warn_of_load
from parity.environment import describe_apart
from parity.worker import WorkerError

FILE = "loading.jsonl"
# Batches for each worker: before the clock starts, timed at least, and still to come when it stops. Workers that start
# together finish their first batches together, so that after two of them the batches of all others are there for
# nothing; and a stream that ends with the clock lets them rest.
BEFORE, TIMED, AFTER = 2, 4, 3


class Amounts(NamedTuple):
    """How many batches each block takes from a loader."""

    before: int  # that do not count
    timed: int
    asked: int  # of the loader in all


def amounts_of(batches: int, workers: int) -> Amounts:
    """Return the amounts of a block in which so many batches are to be timed: with several workers more where these are
    not several of each, and as many of each.
    """
    each = max(1, workers)
    timed = max(-(-batches // each), TIMED if each > 1 else 1) * each
    before = BEFORE * each
    return Amounts(before, timed, before + timed + (AFTER * each if workers else 0))


def main(arguments: list[str]) -> int:
    """Measure, print, and save the line. Returns the exit code: 1 where an engine failed.

    Raises ValueError for bad options, DataError for what cannot be read, and WorkerError where every engine fails.
    """
    parser = argparse.ArgumentParser(
        "python -m benchmarks loading", description="Images per second of a tree of JPEGs."
    )
    parser.add_argument("folder", type=Path, help="images in folders of their classes")
    parser.add_argument("--sizes", type=int, nargs="+", default=[160, 192, 224], help="pixels of the crops")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0, the default, is this one with one thread")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--batches", type=int, default=16, help="in a block that is timed, at least")
    parser.add_argument("--repeats", type=int, default=5, help="blocks of each, in turn")
    parser.add_argument(
        "--against",
        nargs="*",
        choices=ENGINES,
        metavar="ENGINE",
        help=f"of {', '.join(ENGINES)}; default: all there are",
    )
    add_output_options(parser)
    options = parser.parse_args(arguments)
    _check(options)
    engines = installed_engines() if options.against is None else options.against
    require_engines(engines)
    amounts, failed = amounts_of(options.batches, options.workers), {}
    # Before anything is measured: later something else may be there.
    where = {"packages": versions_of(engines), "load": warn_of_load()} | describe_apart()
    with tempfile.TemporaryDirectory() as name:
        sources = _make_sources(options.folder, Path(name))
        loaders = make_loaders(sources, engines, options.workers, options.batch_size, amounts.asked)
        rates = {str(size): _measure(loaders, size, options, amounts, failed) for size in options.sizes}
        data = _describe_images(sources)
        sources["tree"].file.unlink()  # the index of a tree that is thrown away
    # Every size has the same engines: those that lasted.
    rates = {size: {name: one for name, one in found.items() if name not in failed} for size, found in rates.items()}
    if not all(rates.values()):
        raise WorkerError("every engine failed; nothing is measured")
    record = {
        "benchmark": "loading",
        "workers": options.workers,
        "seconds_of": "the processor" if options.workers == 0 else "the clock",
        "batch_size": options.batch_size,
        "batches": amounts.timed,
        "images_per_second": rates,
        "ratio": {size: _ratios(found) for size, found in rates.items()},
        **data,
        "failed": failed,
        "command": command_line("loading", arguments),
        **where,
    }
    save(options.results, FILE, record)
    return 1 if failed else 0


def _check(options: argparse.Namespace) -> None:
    for name, least in (("workers", 0), ("batch_size", 1), ("batches", 1), ("repeats", 1)):
        if getattr(options, name) < least:
            raise ValueError(f"{name} is {getattr(options, name)}, but it must be at least {least}")
    if min(options.sizes) < 1:
        raise ValueError(f"sizes has {min(options.sizes)}, but every size must be at least 1 pixel")


def _make_sources(folder: Path, scratch: Path) -> dict[str, Source]:
    tree = scratch / "tree"
    tree.mkdir()
    for split in ("train", "val"):
        (tree / split).symlink_to(folder.resolve())
    train = split_of(open_index(tree), "train")
    forms = {kind: Form(LONGEST, kind) for kind in ("jpeg", "raw")}
    return {"tree": train} | {kind: prepare(train, scratch / f"train.{kind}", form) for kind, form in forms.items()}


def _measure(
    loaders: list[Loader], size: int, options: argparse.Namespace, amounts: Amounts, failed: dict[str, str]
) -> dict[str, dict[str, Any]]:
    # Of the engines that have not failed; enters those that do, with their reason.
    blocks: dict[str, list[float]] = {loader.name: [] for loader in loaders if loader.name not in failed}
    for _ in range(options.repeats):
        for loader in loaders:
            if loader.name in failed:
                continue
            try:
                blocks[loader.name].append(_block(loader, size, options.workers, amounts))
            except Exception as error:  # whatever an engine raises
                failed[loader.name] = f"{type(error).__name__}: {error}"
                print(f"error: {loader.name} failed at {size} pixels: {failed[loader.name]}", file=sys.stderr)
    found = {}
    for name, seconds in blocks.items():
        if name in failed:
            continue
        rates = sorted(options.batch_size * amounts.timed / one for one in seconds)
        found[name] = {"median": statistics.median(rates), "blocks": rates}
        print(f"{size} pixels  {name:20} {found[name]['median']:,.0f} images per second", flush=True)
    return found


def _block(loader: Loader, size: int, workers: int, amounts: Amounts) -> float:
    # Seconds of the timed batches, after those in which processes start and caches fill: the processor's own where one
    # thread does it all, so that other work on the machine takes nothing from them.
    clock = time.process_time if workers == 0 else time.perf_counter
    batches = loader.start(size)
    for _ in range(amounts.before):
        next(batches)
    start = clock()
    for _ in range(amounts.timed):
        next(batches)
    seconds = clock() - start
    close = getattr(batches, "close", None)
    if close is not None:
        close()
    return seconds


def _ratios(found: dict[str, dict[str, Any]]) -> dict[str, float]:
    # Of airjax's rate from the tree to each of the others.
    if "airjax-tree" not in found:
        return {}
    ours = found["airjax-tree"]["median"]
    return {name: ours / one["median"] for name, one in found.items() if not name.startswith("airjax")}


def _describe_images(sources: dict[str, Source]) -> dict[str, Any]:
    sizes = {name: open_images(source).sizes for name, source in sources.items()}
    count = len(sizes["tree"])
    index = map_index(sources["tree"].file)
    files = sum((index.place / index.train.name(example)).stat().st_size for example in range(count))
    kept = {"tree": files} | {name: sources[name].file.stat().st_size for name in ("jpeg", "raw")}
    for name, total in kept.items():
        print(f"{name:5} {format_bytes(total / count)} an image")
    return {
        "images": count,
        "pixels_per_image": {name: float(one.prod(axis=1).mean()) for name, one in sizes.items()},
        "bytes_per_image": {name: total / count for name, total in kept.items()},
        "longest": LONGEST,
    }
