"""Tables of what trainings and their parts cost, from the lines of results."""

from collections.abc import Iterable, Sequence
from typing import Any

from airjax.report.page import Table, format_markdown
from airjax.training.members import STRATEGIES
from airjax.training.strategy import best_of
from benchmarks.verdict import LEAST_ROUNDS

NAMES = {
    "step": "a training step",
    "run": "a whole training",
    "evaluate": "the test set, with test-time augmentation",
    "augment": "the images of an epoch",
    "compile": "from a fresh process to the first step",
}
IMPLEMENTATIONS = {
    "eager": "PyTorch",
    "compiled": "torch.compile",
    "autocast": "PyTorch, autocast",
    "autocast-compiled": "torch.compile, autocast",
    "airbench": "airbench",
    "airbench-compiled": "airbench, compiled",
}


def latest(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the last comparison of each device, work, recipe, change, setting and order, in the order of NAMES.

    One that was interrupted counts where there is no other.
    """
    compared = [r for r in records if "ratio" in r]  # else an implementation failed, and there was nothing to compare
    found = {
        (r["device"], r["benchmark"], r["recipe"], str(sorted(r["changed"].items())), setting_of(r), order_of(r)): r
        for r in sorted(compared, key=lambda r: not r.get("interrupted"))
    }
    names = list(NAMES)
    return sorted(
        found.values(),
        key=lambda r: (r["device"], r["recipe"], names.index(r["benchmark"]), setting_of(r), order_of(r)),
    )


def order_of(record: dict[str, Any]) -> str:
    """Return on which images a record was made, where not on CIFAR-10's in their order, for a row's name."""
    if record.get("data", "cifar10") not in ("cifar10", "noise"):  # steps and evaluations are always measured on noise
        return f", {record['data']}"
    return ", shuffled order" if record.get("content") == "shuffled" else ""


def precision_of(record: dict[str, Any]) -> str:
    """Return the precision that a record was asked for, for a row's name; nothing where it was none."""
    return f", {record['changed']['precision']}" if "precision" in record["changed"] else ""


def allocator(record: dict[str, Any]) -> str:
    """Return what the processes' allocator was told to do, for a row's name."""
    return {"keep": ", memory kept", "huge": ", huge pages"}.get(record.get("allocator", "default"), "")


def setting_of(record: dict[str, Any]) -> str:
    """Return what the allocator was told to do, and on a CPU whether XLA convolved, for a row's name."""
    xla = record.get("platform") == "cpu" and record.get("convolution") == "native"
    return allocator(record) + (", XLA's convolutions" if xla else "")


def speed_table(records: list[dict[str, Any]]) -> str:
    """airjax against PyTorch, a row for each kind of work."""
    rows = latest(records)
    if not rows:
        return "Not measured yet: each command of `python -m benchmarks` adds a row."
    heads = ["", "device", "airjax", "best PyTorch", "airjax / PyTorch", "of the matrix rate", "peak memory", "date"]
    cells = []
    for row in rows:
        ours, interval, n = row["implementations"]["airjax"], row["interval95"], f"n={row['repeats']}"
        if interval and row["repeats"] >= LEAST_ROUNDS:
            n = f"{interval[0]:.2f} to {interval[1]:.2f}, {n}"
        fraction = f"{ours['mfu']:.0%} of {teraflops(row['matmul_rate'])}" if "mfu" in ours else ""
        best = row["best_torch"]
        memory = f"{gibibytes(ours)}, {gibibytes(row['implementations'][best])}"
        cells.append(
            [
                f"{NAMES[row['benchmark']]}, {row['recipe']}{precision_of(row)}{setting_of(row)}{order_of(row)}",
                row["device"],
                f"{row['airjax']:.3g} s",
                f"{row['torch']:.3g} s, {IMPLEMENTATIONS[best]}",
                f"{row['ratio']:.2f} ({n}), {row['verdict']}",
                fraction,
                memory,
                row["date"],
                f"`{row['command']}`",
            ]
        )
    plot = "\n\n![Roofline](roofline.svg)" if plotted(rows) else ""
    return format_markdown(Table([*heads, "reproduced by"], cells)) + plot


def teraflops(rate: float) -> str:
    """Format operations per second: the rate tells processors of one name apart."""
    return f"{rate / 1e12:.3g} TFLOP/s"


def plotted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of which the compiler counted the memory traffic."""
    return [row for row in rows if row.get("traffic_bytes")]


def last_groups(records: Iterable[dict[str, Any]]) -> dict[tuple[str, str, str, str, int], dict[str, Any]]:
    """Return the last line of each device, recipe, images, strategy and number of networks at once."""
    return {(r["device"], r["recipe"], order_of(r), r["strategy"], r["members"]): r for r in records}


def seeds_table(records: list[dict[str, Any]]) -> str:
    """Networks per hour of every way to train many, a column for each number of networks at once."""
    last = last_groups(records)
    blocks = []
    for device, recipe, order in sorted({key[:3] for key in last}):
        rows = {key[3:]: row for key, row in last.items() if key[:3] == (device, recipe, order)}
        sizes = sorted({members for _, members in rows})
        cells = [
            [
                IMPLEMENTATIONS.get(strategy, f"`{strategy}`"),
                *(rate_and_memory(rows.get((strategy, size))) for size in sizes),
            ]
            for strategy in (*STRATEGIES, *IMPLEMENTATIONS)
            if any((strategy, size) in rows for size in sizes)
        ]
        text = format_markdown(Table([f"{recipe}, {device}{order}", *map(str, sizes)], cells))
        if not order or (device, recipe, "") not in {key[:3] for key in last}:
            strategy, members = best_of([row for row in rows.values() if row["strategy"] in STRATEGIES])
            text += f"\n\n`auto` takes `{strategy}`{f', {members} at once' if members else ''}."
        blocks.append(text)
    return "\n\n".join(blocks) or "Not measured yet: `python -m benchmarks seeds` does."


def rate_and_memory(row: dict[str, Any] | None) -> str:
    """Networks per hour and the process's peak memory."""
    return f"{row['networks_per_hour']:.0f} ({gibibytes(row)})" if row else ""


def gibibytes(measured: dict[str, Any]) -> str:
    """Return the peak memory of a process."""
    # An interrupted process does not say it.
    return f"{measured['peak_bytes'] / 2**30:.1f} GiB" if "peak_bytes" in measured else "unknown"


def forecast_table(records: list[dict[str, Any]]) -> str:
    """Return what many networks will take, from the best strategy of each device and recipe as it was measured last."""
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for record in last_groups(records).values():
        place = (record["device"], record["recipe"] + order_of(record))
        known = best.get(place, {"networks_per_hour": 0.0})
        if record["strategy"] in STRATEGIES and record["networks_per_hour"] > known["networks_per_hour"]:
            best[place] = record
    if not best:
        return "Not measured yet: `python -m benchmarks seeds` does."
    rows = []
    for (device, recipe), record in sorted(best.items()):
        rate = record["networks_per_hour"]
        hours = [f"{10_000 / rate:.1f} hours", f"{3e6 / rate:,.0f}", f"{3e3 / rate:.1f} hours"]
        rows.append([f"{recipe}, {device}", f"{rate:.0f}", *hours])
    heads = ["", "networks per hour", "10,000 on one device", "3,000,000, device hours", "on 1,000 devices"]
    return format_markdown(Table(heads, rows))


def starts_table(records: list[dict[str, Any]]) -> str:
    """Return seconds from a fresh process to the first step, and what they consist of."""
    rows = [row for row in latest(records) if row["benchmark"] == "compile"]
    if not rows:
        return "Not measured yet: `python -m benchmarks compile` does."
    parts = list(next(iter(rows[0]["implementations"].values()))["parts"])
    cells = []
    for row in rows:
        for name, found in row["implementations"].items():
            implementation, _, cached = name.partition(",")
            title = IMPLEMENTATIONS.get(implementation) or implementation
            cells.append(
                [
                    f"{row['recipe']}, {row['device']}: {title}{cached and ', cached'}",
                    f"{found['median']:.1f} s (n={row['repeats']})",
                    *(f"{found['parts'][part]:.2f} s" for part in parts),
                    gibibytes(found),
                ]
            )
    return format_markdown(Table(["", "total", *parts, "peak memory"], cells))


def scaling_table(records: list[dict[str, Any]]) -> str:
    """Return how cost grows: the measured points and the straight line through them."""
    last = {
        (r["device"], r["recipe"] + order_of(r), name): (r, curve)
        for r in records
        for name, curve in r["curves"].items()
    }
    if not last:
        return "Not measured yet: `python -m benchmarks scaling` does."
    rows = []
    for (device, recipe, name), (record, curve) in last.items():
        points = ", ".join(f"{x:g}: {seconds:.2f} s" for x, seconds in zip(curve["x"], curve["seconds"], strict=True))
        rows.append(
            [
                f"{name.replace('_', ' ')}, {recipe}, {device}",
                f"{points} (n={record['repeats']})",
                f"{curve['slope']:.3g} s each, {curve['intercept']:+.2g} s",
                f"{curve['r_squared']:.4f}",
            ]
        )
    return format_markdown(Table(["", "measured", "straight line", "R²"], rows))
