"""A sweep's results as one Parquet file, for duckdb, pandas and all else: python -m airjax.export DIR FILE.parquet.

One row for each network. The entries of its record are columns; what the plan varies are columns named "set.FIELD"; its
arrays are columns of lists, of lists where they have more axes. Written in parts: memory does not grow with the arrays.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from airjax.console import run_main
from airjax.records import sync_folder
from airjax.results import ARRAYS, Results, ResultsError, load

ROWS = 1_000  # networks in memory at once
LEFT_OUT = ("row", "folder", "changes")  # where a network lies, and what has columns of its own


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 written, 1 not written, 2 bad usage or input."""
    parser = argparse.ArgumentParser("python -m airjax.export", description="A sweep's results as one Parquet file.")
    parser.add_argument("sweep", type=Path, metavar="DIR")
    parser.add_argument("file", type=Path, metavar="FILE.parquet")
    parser.add_argument("--array", action="append", choices=ARRAYS, help="with this; may be repeated; default: none")
    parser.add_argument("--mixed", action="store_true", help="pool the results of different environments")
    options = parser.parse_args(arguments)
    try:
        count = export(load(options.sweep, mixed=options.mixed), options.file, options.array or [])
    except ResultsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {options.file}: {error.strerror or error}", file=sys.stderr)
        return 1
    print(f"wrote {count} networks to {options.file}")
    return 0


def export(results: Results, file: Path, arrays: list[str]) -> int:
    """Write the networks that did not fail, with these arrays. Returns their number.

    Raises ResultsError for arrays that were not kept, or without pyarrow.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ResultsError("Parquet needs pyarrow: pip install 'airjax[report]'") from error

    rows = [row for row in results.rows if row["error"] is None]
    if not rows:
        raise ResultsError("the sweep has no finished network yet")
    names = list(dict.fromkeys(name for row in rows for name in row["changes"]))
    columns = {name: pa.array([row[name] for row in rows]) for name in rows[0] if name not in LEFT_OUT}
    columns |= {f"set.{name}": pa.array([_scalar(row["changes"].get(name)) for row in rows]) for name in names}
    table = pa.table(columns)
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".export-") as folder:
        whole = Path(folder) / file.name
        writer = None
        for first, part in _parts(rows):
            batch = table.slice(first, len(part))
            for name in arrays:
                batch = batch.append_column(name, _lists(Results(part, []).array(name)))
            writer = writer or pq.ParquetWriter(whole, batch.schema, compression="zstd")
            writer.write_table(batch)
        assert writer is not None
        writer.close()
        whole.replace(file)
    sync_folder(file.parent)
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


def _scalar(value: Any) -> Any:
    # Fields that are tuples, such as widths.
    return str(value) if isinstance(value, list) else value


if __name__ == "__main__":
    run_main(main)
