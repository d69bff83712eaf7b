"""The table of what a host decodes for a training, from the lines of results."""

from typing import Any

from airjax.report.page import Table, format_markdown
from airjax.utils.units import format_bytes

NAMES = {
    "airjax-tree": "the files",
    "airjax-jpeg": "prepared, JPEG",
    "airjax-raw": "prepared, raw",
    "airjax-whole": "prepared, raw, whole images, which the device crops",
}
FORMS = {"airjax-jpeg": "jpeg", "airjax-raw": "raw", "airjax-whole": "raw"}  # others read the files


def loading_table(records: list[dict[str, Any]]) -> str:
    """Images per second of every form and size: a row for each form, and the ratio to torchvision from the files."""
    if not records:
        return "Not measured yet: `python -m benchmarks loading FOLDER --keep` adds a line."
    newest = {record["workers"]: record for record in records}
    return "\n\n".join(part for record in newest.values() for part in (_table(record), _note(record)))


def _table(record: dict[str, Any]) -> str:
    sizes = [int(size) for size in record["images_per_second"]]
    heads = ["", "an image takes", *(f"to {size} pixels" for size in sizes)]
    return format_markdown(Table(heads, [[name, space, *found.values()] for name, space, found in _rows(record)]))


def _rows(record: dict[str, Any]) -> list[tuple[str, str, dict[int, str]]]:
    # Name, space, and the rate by pixels.
    names = list(next(iter(record["images_per_second"].values())))
    rows = []
    for name in names:
        space = record["bytes_per_image"].get(FORMS.get(name, "tree"))
        rates = {
            int(size): f"{found[name]['median']:,.0f} a second" for size, found in record["images_per_second"].items()
        }
        rows.append((NAMES.get(name, name.replace("-", ", ")), format_bytes(space), rates))
    return rows


def _note(record: dict[str, Any]) -> str:
    count = record["workers"]
    workers = (
        f"{count} process{'es' * (count > 1)} that decode{'s' * (count == 1)}" if count else "one thread of one process"
    )
    pixels = record["pixels_per_image"]["tree"]
    against = _against(record, "the faster torchvision", "torchvision")
    if any(not name.startswith("torchvision") for ratio in record["ratio"].values() for name in ratio):
        against += _against(record, "the fastest of all others", "")
    blocks = f"medians of {_blocks(record)} blocks, in seconds of {record['seconds_of']}"
    return (
        f"{record['device']}, {workers}, {record['images']:,} files of {pixels:,.0f} pixels on average, batches of "
        f"{record['batch_size']}, {blocks}; prepared: at most {record['longest']} pixels a side. {record['load']:.1f} "
        f"processes wanted a core when it began.{against}"
    )


def _against(record: dict[str, Any], whom: str, prefix: str) -> str:
    # The ratios to the fastest of those engines, at every size.
    found = {
        size: [value for name, value in ratio.items() if name.startswith(prefix)]
        for size, ratio in record["ratio"].items()
    }
    ratios = [f"{min(values):.2f} at {size} pixels" for size, values in found.items() if values]
    return f" From the files, airjax's rate is that of {whom} times {', '.join(ratios)}." if ratios else ""


def _blocks(record: dict[str, Any]) -> int:
    return len(next(iter(next(iter(record["images_per_second"].values())).values()))["blocks"])
