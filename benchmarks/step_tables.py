"""Tables of what a training step consists of, from the lines of results."""

from typing import Any

from airjax.report.page import Table, format_markdown
from benchmarks.ablation_variants import VARIANTS

SAME_STEP = 1.1  # times as long: chance, and small changes


def ablation_table(records: list[dict[str, Any]]) -> str:
    """Return what a step takes with one choice undone, over the step as it is: a column for each recipe and device.

    Choices of which there is nothing left to undo are left out.
    """
    last: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for record in records:
        # A later record may have measured some of the choices only.
        column = last.setdefault((record["recipe"] + group_of(record), record["device"]), {})
        base = {"n": record["n"], "base": record["steps"].get("as it is", {}).get("seconds")}
        column |= {name: base | step for name, step in record["steps"].items() if step.get("ratio") is not None}
    if not last:
        return "Not measured yet: `python -m benchmarks.ablation` does."
    columns = list(last.values())
    rows = []
    for name in (name for name in VARIANTS if any(name in column for column in columns)):
        found = [column.get(name) for column in columns]
        if name == "as it is":
            cells = [f"{step['seconds']:.3g} s (n={step['n']})" if step else "" for step in found]
        else:
            cells = [
                f"{step['ratio']:.2f} (n={step['n']}{_other_step(step, column)})" if step else ""
                for step, column in zip(found, columns, strict=True)
            ]
        rows.append([name, *cells])
    return format_markdown(Table(["", *(", ".join(key) for key in last)], rows))


def _other_step(step: dict[str, Any], column: dict[str, dict[str, Any]]) -> str:
    # Where a ratio is to a step that took another time than the column's: of another commit, or on another processor.
    base, now = step["base"], column.get("as it is", {}).get("seconds")
    if base is None or now is None or max(base, now) <= SAME_STEP * min(base, now):
        return ""
    return f", of {base:.3g} s"


def group_of(record: dict[str, Any]) -> str:
    """Return how many networks a record is of, for a title; nothing for one."""
    members = record.get("members", 1)
    return f", {record['strategy']}, {members} networks" if members > 1 else ""


def profile_table(records: list[dict[str, Any]]) -> str:
    """Return where a step's time goes: a column for each recipe and device, as fractions of all operations' time."""
    last = {(r["recipe"], r["precision"], r["device"]): r for r in records}
    if not last:
        return "Not measured yet: `python -m benchmarks profile` does."
    rows = []
    columns = [{(row["part"], row["direction"]): row["seconds"] for row in r["parts"]} for r in last.values()]
    for part, direction in dict.fromkeys(key for column in columns for key in column):
        fractions = [column.get((part, direction), 0.0) / sum(column.values()) for column in columns]
        if max(fractions) >= 0.005:
            rows.append([f"{part}{direction and ', ' + direction}", *(f"{fraction:.1%}" for fraction in fractions)])
    rows.append(["seconds of all operations", *(f"{sum(column.values()):.3g}" for column in columns)])
    return format_markdown(Table(["", *(", ".join(key) for key in last)], rows))


def kernels_table(records: list[dict[str, Any]]) -> str:
    """Return what a GPU's compiler makes of a step: a row for each recipe as it is, and for each choice undone.

    Of several networks at once it is the share of one.
    """
    last: dict[tuple[str, str, str, int, int | None], dict[str, dict[str, Any]]] = {}
    for record in records:
        group = record.get("strategy", "sequential"), record.get("members", 1), record.get("image_size")
        # A later record may have compiled some of the choices only.
        last.setdefault((record["recipe"], record["device"], *group), {}).update(record["variants"])
    if not last:
        return "Not measured yet: `python -m benchmarks kernels` does."
    cells = []
    for (recipe, device, strategy, members, pixels), rows in last.items():
        group = f", {strategy}, each of {members} networks" if members > 1 else ""
        group += f", {pixels} pixels" if pixels else ""
        for name in (name for name in VARIANTS if name in rows):
            row, title = rows[name], f"{recipe}, {device}{group}" if name == "as it is" else name
            sizes = (row["convolution_bytes"], row["other_bytes"], row["memory_bytes"])
            flops = f"{row['executed_flops'] / members / 1e9:.0f} GFLOP" if "executed_flops" in row else ""
            launched = f"{row['graphs']} + {row['outside']}" if "graphs" in row else ""
            megabytes = (f"{size / members / 2**20:.0f} MiB" for size in sizes)
            cells.append([title, f"{row['kernels'] / members:.4g}", launched, flops, *megabytes])
    heads = ["", "kernels", "graphs + launches", "executed", "moved by convolutions", "by the others", "memory"]
    return format_markdown(Table(heads, cells))
