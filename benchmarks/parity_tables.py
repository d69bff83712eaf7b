"""Tables of the comparisons with PyTorch, from the lines of results."""

import math
from typing import Any

from airjax.report.page import Table, format_markdown
from benchmarks.speed_tables import order_of


def official_last(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the records in their order, but those of a shuffled copy first: of two for the same place the last one
    counts.
    """
    return sorted(records, key=lambda record: record.get("content") != "shuffled")


def suite_table(records: list[dict[str, Any]]) -> str:
    """Return the worst of every check against both PyTorch implementations, where and with what it was found."""
    # Of the procedural images only the list of runs below the table tells.
    suites = [r for r in records if "checks" in r and r["data"] == "cifar10"]
    last = {r["against"].split()[0]: r for r in official_last(suites)}
    if set(last) != {"reference", "airbench"}:
        return "Not measured yet: `python -m benchmarks.parity numerical` does, also with `--against upstream`."
    lines = []
    listed = {(r["against"].split()[0], order_of(r)): r for r in suites}
    for record in [*last.values(), *(r for key, r in listed.items() if key[1] and r not in last.values())]:
        where, checks = record["environment"], record["checks"]
        failed = sum(not row["passed"] for row in checks)
        verdict = f"{failed} of {len(checks)} rows FAIL" if failed else f"all {len(checks)} rows hold"
        lines.append(
            f"Against {record['against']}: {verdict}, {sum(row['arrays'] for row in checks):,} arrays; "
            f"{where['device']}, jax {where['versions']['jax']}, torch {where['versions']['torch']}, images of "
            f"{record['data']}{order_of(record)}."
        )
    cells = []
    found = {name: checks_by_kind(record["checks"]) for name, record in last.items()}
    for kind, rows in found["reference"].items():
        worst = [cell for name in ("reference", "airbench") for cell in worst_of(found[name].get(kind, []))]
        cells.append([*kind, sum(row["arrays"] for row in rows), *worst])
    heads = ["check", "precision", "arrays", "reference", "of allowed", "airbench", "of allowed"]
    return "\n".join([*lines, "", format_markdown(Table(heads, cells))])


def parity_runs_table(records: list[dict[str, Any]]) -> str:
    """Return what the parity suite was run on, where and how: a row for each way, of which the last run counts."""
    runs: dict[tuple[str, ...], tuple[str, ...]] = {}
    for record in records:
        if "seeds" not in record:
            continue
        checks, where = record["checks"], record["environment"]
        images = record["data"] + ("" if record["data"] in ("synthetic", "builtin") else f", {record['content']} order")
        threads = f"{record['threads']['torch']} and {record['threads']['jax']}"
        how = (record["against"], images, ", ".join(map(str, record["seeds"])), record["convolution"], threads)
        failed = [f"{row['check']} ({row['recipe']}, {row['precision']})" for row in checks if not row["passed"]]
        arrays = f"{sum(row['arrays'] for row in checks):,}"
        verdict = f"FAIL: {', '.join(failed)}" if failed else f"all {len(checks)} rows hold"
        runs[(*how, where["device"])] = (arrays, verdict, record["date"])
    if not runs:
        return "Not measured yet: `python -m benchmarks.parity numerical` does."
    heads = ["against", "images", "seeds", "convolutions of airjax", "threads of PyTorch and JAX", "processor"]
    rows = [[*how, *found] for how, found in runs.items()]
    return format_markdown(Table([*heads, "arrays", "verdict", "date"], rows))


def checks_by_kind(checks: list[dict[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return the rows of the suite by check and precision: one for each recipe."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in checks:
        found.setdefault((row["check"], row["precision"]), []).append(row)
    return found


def worst_of(rows: list[dict[str, Any]]) -> tuple[str, str]:
    """Return the largest relative difference of some rows, and the largest part of its tolerance that one of them
    takes.
    """
    if not rows:
        return "", ""
    fraction, relative = max(map(_of_allowed, rows)), max(_or_infinite(row["relative"]) for row in rows)
    return f"{relative:.0e}" if relative else "0", "FAIL" if math.isinf(fraction) else f"{fraction:.0%}"


def _of_allowed(row: dict[str, Any]) -> float:
    absolute = _or_infinite(row["absolute"])
    if not absolute:
        return 0.0
    return absolute / row["allowed"] if row["allowed"] else math.inf


def _or_infinite(value: float | None) -> float:
    # A difference that is no number is null in JSON.
    return math.inf if value is None else value
