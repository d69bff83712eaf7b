"""What was measured, for readers: the table in README.md and the roofline plot, from results/speed.jsonl alone."""

import argparse
from pathlib import Path
from typing import Any

from airjax.records import read_lines, write_atomically
from benchmarks.record import RESULTS
from benchmarks.speed import FILE

ROOT = Path(__file__).parent.parent
README, PLOT = ROOT / "README.md", ROOT / "docs" / "roofline.svg"
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
    """Write the table into README.md and the plot into docs/. Returns the exit code."""
    parser = argparse.ArgumentParser("python -m benchmarks report", description="The speed table and the roofline.")
    parser.parse_args(arguments)
    rows = latest(read_lines(RESULTS / FILE))
    text = README.read_text()
    write_atomically(README, insert(text, table(rows)).encode())
    print(f"wrote {README}")
    if plotted(rows):
        from benchmarks.roofline import draw

        write_atomically(PLOT, draw(plotted(rows)))
        print(f"wrote {PLOT}")
    return 0


def latest(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last record of each kind of work, recipe, change and device, in the order of NAMES."""
    found = {
        (record["device"], record["benchmark"], record["recipe"], str(sorted(record["changed"].items()))): record
        for record in records
    }
    order = list(NAMES)
    return sorted(found.values(), key=lambda r: (r["device"], r["recipe"], order.index(r["benchmark"])))


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as markdown."""
    if not rows:
        return "Not measured yet: each command of `python -m benchmarks` adds a row."
    lines = [
        "| | device | airjax | best PyTorch | airjax / PyTorch | of the matrix rate | reproduced by |",
        "|-|-|-|-|-|-|-|",
    ]
    for row in rows:
        (low, high), ours = row["interval95"], row["arms"]["airjax"]
        share = f"{ours['mfu']:.0%}" if "mfu" in ours else ""
        lines.append(
            f"| {NAMES[row['benchmark']]}, {row['recipe']} | {row['device']} | {row['airjax']:.3g} s "
            f"| {row['torch']:.3g} s, {ARMS[row['best_torch']]} | {row['ratio']:.2f} ({low:.2f} to {high:.2f}), "
            f"{row['verdict']} | {share} | `{row['command']}` |"
        )
    if plotted(rows):
        lines += ["", "![Roofline](docs/roofline.svg)"]
    return "\n".join(lines)


def plotted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of which the compiler counted the memory traffic."""
    return [row for row in rows if row.get("traffic_bytes")]


def insert(text: str, content: str) -> str:
    """The text with content between the two markers. Raises ValueError where they are missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"README.md lacks the lines {BEGIN!r} and {END!r}; put them where the speed table belongs")
    return f"{before}{BEGIN}\n{content}\n{END}{after}"
