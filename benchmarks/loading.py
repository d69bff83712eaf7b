"""Images per second that a host decodes, crops and resizes for a training: airjax's batches against other engines'.

`python -m benchmarks loading FOLDER` takes the JPEGs of FOLDER/CLASS/..., makes random resized crops of them by the
same law with each engine that is installed, in turn, and appends a line to loading.jsonl. One thread of one process, in
seconds of the processor, unless --workers says more.
"""

import argparse
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from airjax.stream.images import Source, open_images, split_of
from airjax.stream.index import map_index, open_index
from airjax.stream.prepared import Form, prepare
from airjax.training.environment import describe
from airjax.utils.units import format_bytes
from benchmarks.loading_engines import ENGINES, LONGEST, Loader, installed_engines, make_loaders
from benchmarks.record import add_output_options, save
from benchmarks.speed import command_line, warn_of_load

FILE = "loading.jsonl"
PACKAGES = ("grain", "simplejpeg", "opencv-python-headless", "numpy", "pillow")


def main(arguments: list[str]) -> int:
    """Measure, print, and save the line. Returns 0. Raises DataError for what cannot be read."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks loading", description="Images per second of a tree of JPEGs."
    )
    parser.add_argument("folder", type=Path, help="images in folders of their classes")
    parser.add_argument("--sizes", type=int, nargs="+", default=[160, 192, 224], help="pixels of the crops")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0, the default, is this one with one thread")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--batches", type=int, default=16, help="in a block that is timed, after the first two")
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
    load = warn_of_load()
    with tempfile.TemporaryDirectory() as name:
        sources = _make_sources(options.folder, Path(name))
        engines = installed_engines() if options.against is None else options.against
        loaders = make_loaders(sources, engines, options.workers, options.batch_size, options.batches + 2)
        rates = {str(size): _measure(loaders, size, options) for size in options.sizes}
        data = _describe_images(sources)
        sources["tree"].file.unlink()  # the index of a tree that is thrown away
    packages = [*PACKAGES, *(package for engine in engines for package in ENGINES[engine].packages)]
    record = {
        "benchmark": "loading",
        "workers": options.workers,
        "seconds_of": "the processor" if options.workers == 0 else "the clock",
        "batch_size": options.batch_size,
        "images_per_second": rates,
        "ratio": {size: _ratios(found) for size, found in rates.items()},
        **data,
        "packages": {package: version(package) for package in packages},
        "command": command_line("loading", arguments),
        "load": load,
    }
    save(options.results, FILE, record | describe())
    return 0


def _make_sources(folder: Path, scratch: Path) -> dict[str, Source]:
    tree = scratch / "tree"
    tree.mkdir()
    for split in ("train", "val"):
        (tree / split).symlink_to(folder.resolve())
    train = split_of(open_index(tree), "train")
    forms = {kind: Form(LONGEST, kind) for kind in ("jpeg", "raw")}
    return {"tree": train} | {kind: prepare(train, scratch / f"train.{kind}", form) for kind, form in forms.items()}


def _measure(loaders: list[Loader], size: int, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    blocks: dict[str, list[float]] = {loader.name: [] for loader in loaders}
    for _ in range(options.repeats):
        for loader in loaders:
            blocks[loader.name].append(_block(loader, size, options))
    found = {}
    for name, seconds in blocks.items():
        rates = sorted(options.batch_size * options.batches / one for one in seconds)
        found[name] = {"median": statistics.median(rates), "blocks": rates}
        print(f"{size} pixels  {name:20} {found[name]['median']:,.0f} images per second", flush=True)
    return found


def _block(loader: Loader, size: int, options: argparse.Namespace) -> float:
    # Seconds of so many batches, after two in which processes start and caches fill: the processor's own where one
    # thread does it all, so that other work on the machine takes nothing from them.
    clock = time.process_time if options.workers == 0 else time.perf_counter
    batches = loader.start(size)
    for _ in range(2):
        next(batches)
    start = clock()
    for _ in range(options.batches):
        next(batches)
    seconds = clock() - start
    close = getattr(batches, "close", None)
    if close is not None:
        close()
    return seconds


def _ratios(found: dict[str, dict[str, Any]]) -> dict[str, float]:
    # Of airjax's rate from the tree to each of the others.
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
