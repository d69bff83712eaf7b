"""What leaves airjax: a sweep's results as one Parquet file, for duckdb, pandas and all else, or a trained network.

python -m airjax.export DIR FILE.parquet; with --onnx or --hub `airjax.cli.export_model` writes a network.

One row for each network. The entries of its record are columns. For every field of the recipe that any setting of the
plan sets, "set.FIELD" is its value in the network's setting, also where that leaves the recipe's: null for none, text
for a list. Its arrays are columns of lists, of lists where they have more axes. Written in parts: memory does not grow
with the arrays.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from airjax.cli.console import describe_os_error
from airjax.cli.export_model import ExportError, export_folder, export_onnx
from airjax.data import DataError, load_data
from airjax.sweep.store import ARRAYS, Results, ResultsError, load, recipes_by_setting
from airjax.training.checkpoint import ModelError
from airjax.utils.extras import MissingExtraError, import_extra
from airjax.utils.platform import DeviceError
from airjax.utils.records import replacing

ROWS = 1_000  # networks in memory at once
LEFT_OUT = ("row", "folder", "changes")  # where a network lies, and what has columns of its own


def main(arguments: list[str] | None = None, prog: str = "python -m airjax.export") -> int:
    """Run the command line and return its exit code: 0 written, 1 not written, 2 bad usage or input."""
    parser = make_parser(prog)
    options = parser.parse_args(arguments)
    _refuse_unused(parser, options)
    try:
        if options.onnx or options.hub:
            print(_export_model(options))
            return 0
        results = load(options.sweep, mixed=options.mixed)
        for conflict in results.conflicts:
            print(f"warning: network {conflict.id} was trained twice, with different results", file=sys.stderr)
        arrays = list(dict.fromkeys(options.array or []))
        count = export(results, options.file, arrays, recipes_by_setting(options.sweep))
    except ExportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (ResultsError, MissingExtraError, ModelError, DataError, DeviceError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {describe_os_error(error)}", file=sys.stderr)
        return 1
    print(f"wrote {count} networks to {options.file}")
    return 0


def make_parser(prog: str) -> argparse.ArgumentParser:
    """Make the parser of the command's arguments."""
    parser = argparse.ArgumentParser(
        prog, description="A sweep's results as one Parquet file, or a network that travels."
    )
    parser.add_argument(
        "sweep", type=Path, metavar="SOURCE", help="what a sweep wrote; for a network its file or folder"
    )
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="FILE.parquet, FILE.onnx or a folder; what is there is replaced"
    )
    parser.add_argument("--array", action="append", choices=ARRAYS, help="with this; may be repeated; default: none")
    parser.add_argument("--mixed", action="store_true", help="pool the results of different environments")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--onnx", action="store_true", help="a network as ONNX, compared with airjax by onnxruntime")
    form.add_argument("--hub", action="store_true", help="a network as a folder with config.json and a model card")
    parser.add_argument("--data", metavar="NAME|PATH", help="with --onnx: compare on its test images; default: noise")
    parser.add_argument("--data-dir", type=Path, help="where that data set's files are")
    parser.add_argument("--licence", help="with --hub: of the weights, as hubs name it; default: unknown")
    return parser


def _refuse_unused(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    # What would change nothing is a mistake of whoever wrote it.
    results = not (options.onnx or options.hub)
    for flag, value, goes_with, used in (
        ("--array", options.array, "a sweep's results", results),
        ("--mixed", options.mixed, "a sweep's results", results),
        ("--data", options.data, "--onnx", options.onnx),
        ("--data-dir", options.data_dir, "--onnx", options.onnx),
        ("--licence", options.licence, "--hub", options.hub),
    ):
        if value is not None and value is not False and not used:
            parser.error(f"{flag} goes with {goes_with} alone")


def _export_model(options: argparse.Namespace) -> str:
    # Returns the line that says what was written.
    if options.hub:
        export_folder(options.sweep, options.file, options.licence or "unknown")
        return f"wrote the network and its card to {options.file}"
    data = None if options.data is None else load_data(options.data, options.data_dir)
    found = export_onnx(options.sweep, options.file, None if data is None else data.test_images)
    images = "images of noise" if data is None else f"test images of {data.name}"
    return (
        f"wrote the network to {options.file}; onnxruntime predicts the same classes of {found.images:,} {images} "
        f"(logits differ by up to {found.largest:.2g})"
    )


def export(results: Results, file: Path, arrays: list[str], recipes: dict[str, dict[str, Any]] | None = None) -> int:
    """Write the networks that did not fail, with these arrays. Returns their number.

    Args:
        results: of `airjax.sweep.store.load`.
        file: the Parquet file.
        arrays: names of `airjax.sweep.store.ARRAYS`, each once.
        recipes: all fields of each setting's recipe (`airjax.sweep.store.recipes_by_setting`). Of a setting that is not
            in it only the fields that it sets itself are known; the others are null.

    Raises ResultsError for arrays that were not kept, MissingExtraError without pyarrow.
    """
    pa = import_extra("pyarrow", "report", "Parquet")
    pq = import_extra("pyarrow.parquet", "report", "Parquet")
    rows = [row for row in results.rows if row["error"] is None]
    if not rows:
        raise ResultsError("the sweep has no finished network yet")
    fields = list(dict.fromkeys(name for row in rows for name in row["changes"]))
    entries = dict.fromkeys(name for row in rows for name in row if name not in LEFT_OUT)
    recipes = recipes or {}
    trained = [recipes.get(row.get("setting", ""), {}) | row["changes"] for row in rows]
    columns = {name: _column([row.get(name) for row in rows]) for name in entries}
    columns |= {f"set.{name}": _column([recipe.get(name) for recipe in trained]) for name in fields}
    table = pa.table(columns)
    # All parts of the file have one type, also where later rows have longer arrays.
    shapes = {name: Results(rows, []).shape(name) for name in arrays}
    with replacing(file) as stream:
        writer = None
        for first, part in _parts(rows):
            batch = table.slice(first, len(part))
            for name in arrays:
                batch = batch.append_column(name, _lists(Results(part, []).array(name, shapes[name])))
            writer = writer or pq.ParquetWriter(stream, batch.schema, compression="zstd")
            writer.write_table(batch)
        assert writer is not None
        writer.close()
    return len(rows)


def _parts(rows: list[dict[str, Any]]) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    for first in range(0, len(rows), ROWS):
        yield first, rows[first : first + ROWS]


def _lists(array: np.ndarray) -> Any:
    # [n, a, b] as n lists of fixed length a, of lists of fixed length b.
    import pyarrow as pa

    column = pa.array(array.reshape(-1))
    for length in reversed(array.shape[1:]):
        column = pa.FixedSizeListArray.from_arrays(column, length)
    return column


def _column(values: list[Any]) -> Any:
    # One type for all: numbers with null for none, else text.
    import pyarrow as pa

    known = [value for value in values if value is not None]
    numbers = [value for value in known if isinstance(value, int | float) and not isinstance(value, bool)]
    if numbers and all(value == "none" for value in known if not isinstance(value, int | float)):
        # Records of older versions have "none" for None.
        floats = any(isinstance(value, float) for value in numbers)
        return pa.array([None if v in (None, "none") else float(v) if floats else v for v in values])
    if len({type(value) for value in known}) > 1 or any(isinstance(value, list | tuple | dict) for value in known):
        return pa.array([None if value is None else str(value) for value in values])
    return pa.array(values)
