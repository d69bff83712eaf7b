"""What was measured, for readers: tables in README.md and docs/ and the roofline plot, from results/*.jsonl alone."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airjax.members import STRATEGIES
from airjax.records import read_lines, write_atomically
from benchmarks.record import RESULTS
from benchmarks.speed import FILE

ROOT = Path(__file__).parent.parent
PLOT = "docs/roofline.svg"
BEGIN, END = "<!-- python -m benchmarks report writes from here -->", "<!-- to here -->"
NAMES = {
    "step": "a training step",
    "run": "a whole training",
    "evaluate": "the test set, with test-time augmentation",
    "augment": "the images of an epoch",
    "compile": "from a fresh process to the first step",
}
ARMS = {"eager": "PyTorch", "compiled": "torch.compile", "airbench": "airbench"}


def main(arguments: list[str]) -> int:
    """Write the tables between their markers, and the plot into docs/. Returns the exit code.

    Raises ValueError where a page lacks the markers; then nothing is written.
    """
    parser = argparse.ArgumentParser("python -m benchmarks report", description="The tables and the roofline.")
    parser.parse_args(arguments)
    written: dict[str, bytes] = {page: render(page).encode() for page in PAGES}
    rows = plotted(latest(results(FILE)))
    if rows:
        from benchmarks.roofline import draw

        written[PLOT] = draw(rows)
    for name, content in written.items():
        write_atomically(ROOT / name, content)
        print(f"wrote {name}")
    return 0


def results(file: str) -> list[dict[str, Any]]:
    """The lines of a file of results; none where there is no such file."""
    return read_lines(RESULTS / file) if (RESULTS / file).exists() else []


def render(page: str) -> str:
    """A page of PAGES with the table that its results make."""
    file, make = PAGES[page]
    return insert(page, (ROOT / page).read_text(), make(results(file)))


def latest(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last record of each kind of work, recipe, change, allocator and device, in the order of NAMES."""
    found = {
        (r["device"], r["benchmark"], r["recipe"], str(sorted(r["changed"].items())), keeps_memory(r)): r
        for r in records
    }
    order = list(NAMES)
    return sorted(
        found.values(), key=lambda r: (r["device"], r["recipe"], order.index(r["benchmark"]), keeps_memory(r))
    )


def keeps_memory(record: dict[str, Any]) -> bool:
    """Whether the processes' allocator was told to."""
    return record.get("allocator") == "keep"


def speed_table(records: list[dict[str, Any]]) -> str:
    """airjax against PyTorch, a row for each kind of work."""
    rows = latest(records)
    if not rows:
        return "Not measured yet: each command of `python -m benchmarks` adds a row."
    lines = [
        "| | device | airjax | best PyTorch | airjax / PyTorch | of the matrix rate | reproduced by |",
        "|-|-|-|-|-|-|-|",
    ]
    for row in rows:
        (low, high), ours = row["interval95"], row["arms"]["airjax"]
        kept = ", memory kept" if keeps_memory(row) else ""
        share = f"{ours['mfu']:.0%}" if "mfu" in ours else ""
        lines.append(
            f"| {NAMES[row['benchmark']]}, {row['recipe']}{kept} | {row['device']} | {row['airjax']:.3g} s "
            f"| {row['torch']:.3g} s, {ARMS[row['best_torch']]} | {row['ratio']:.2f} ({low:.2f} to {high:.2f}), "
            f"{row['verdict']} | {share} | `{row['command']}` |"
        )
    if plotted(rows):
        lines += ["", "![Roofline](docs/roofline.svg)"]
    return "\n".join(lines)


def plotted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of which the compiler counted the memory traffic."""
    return [row for row in rows if row.get("traffic_bytes")]


def seeds_table(records: list[dict[str, Any]]) -> str:
    """Networks per hour of every way to train many, a column for each number of networks at once."""
    last = {(r["device"], r["recipe"], r["strategy"], r["members"]): r for r in records}
    blocks = []
    for device, recipe in sorted({key[:2] for key in last}):
        rows = {key[2:]: row for key, row in last.items() if key[:2] == (device, recipe)}
        sizes = sorted({members for _, members in rows})
        lines = [f"| {recipe}, {device} | {' | '.join(map(str, sizes))} |", f"|-|{'-|' * len(sizes)}"]
        for strategy in (*STRATEGIES, *ARMS):
            if any((strategy, size) in rows for size in sizes):
                cells = [rate_and_memory(rows.get((strategy, size))) for size in sizes]
                lines.append(f"| {ARMS.get(strategy, f'`{strategy}`')} | {' | '.join(cells)} |")
        best = max(
            (row for row in rows.values() if row["strategy"] in STRATEGIES), key=lambda r: r["networks_per_hour"]
        )
        lines += ["", f"`auto` takes `{best['strategy']}`, {best['members']} at once."]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) or "Not measured yet: `python -m benchmarks seeds` does."


def rate_and_memory(row: dict[str, Any] | None) -> str:
    """Networks per hour and the process's peak memory."""
    return f"{row['networks_per_hour']:.0f} ({row['peak_bytes'] / 2**30:.1f} GiB)" if row else ""


def ablation_table(records: list[dict[str, Any]]) -> str:
    """What a step takes with one choice undone, over the step as it is: a column for each recipe and device."""
    last: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for record in records:
        # A later record may have measured some of the choices only.
        column = last.setdefault((record["recipe"], record["device"]), {})
        column |= {name: step | {"n": record["n"]} for name, step in record["steps"].items()}
    if not last:
        return "Not measured yet: `python -m benchmarks.ablation` does."
    columns = list(last.values())
    lines = [f"| | {' | '.join(', '.join(key) for key in last)} |", f"|-|{'-|' * len(last)}"]
    for name in dict.fromkeys(name for column in columns for name in column):
        found = [column.get(name) for column in columns]
        if name == "as it is":
            cells = [f"{step['seconds']:.3g} s (n={step['n']})" if step else "" for step in found]
        else:
            cells = [f"{step['ratio']:.2f} (n={step['n']})" if step else "" for step in found]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


PAGES: dict[str, tuple[str, Callable[[list[dict[str, Any]]], str]]] = {
    "README.md": (FILE, speed_table),
    "docs/seeds.md": ("seeds.jsonl", seeds_table),
    "docs/performance.md": ("ablation.jsonl", ablation_table),
}


def insert(page: str, text: str, content: str) -> str:
    """The page's text with content between the two markers. Raises ValueError where they are missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page} lacks the lines {BEGIN!r} and {END!r}; put them where its table belongs")
    return f"{before}{BEGIN}\n{content}\n{END}{after}"
