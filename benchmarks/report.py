"""What was measured, for readers: tables and plots in docs/, from results/*.jsonl alone."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from airjax.report.page import insert_between
from airjax.utils.records import write_atomically
from benchmarks.accuracy_tables import accuracy_table
from benchmarks.loading_tables import loading_table
from benchmarks.parity_tables import parity_runs_table, suite_table
from benchmarks.prediction_tables import Measurements, predictions_table
from benchmarks.record import RESULTS
from benchmarks.record_tables import others_table, records_table, rules_table
from benchmarks.speed import FILE
from benchmarks.speed_tables import (
    forecast_table,
    latest,
    plotted,
    scaling_table,
    seeds_table,
    speed_table,
    starts_table,
)
from benchmarks.step_tables import ablation_table, kernels_table, profile_table
from parity.records import read_records

ROOT = Path(__file__).parent.parent
PLOT, PICTURE = "docs/roofline.svg", "docs/accuracy.png"
ACCURACIES = "accuracy.jsonl"
BEGIN, END = "<!-- python -m benchmarks report writes {} from here -->", "<!-- to here -->"


def main(arguments: list[str]) -> int:
    """Write the tables between their markers, and the plots into docs/. Returns the exit code.

    Raises ValueError where a page lacks the markers; then nothing is written.
    """
    parser = argparse.ArgumentParser("python -m benchmarks report", description="The tables and the plots.")
    parser.parse_args(arguments)
    written: dict[str, bytes] = {page: render(page).encode() for page in PAGES}
    rows = plotted(latest(results(FILE)))
    if rows:
        from benchmarks.roofline import draw

        written[PLOT] = draw(rows)
    if accuracies := results(ACCURACIES):
        from benchmarks import accuracy_plot

        written[PICTURE] = accuracy_plot.draw(accuracies)
    for name, content in written.items():
        write_atomically(ROOT / name, content)
        print(f"wrote {name}")
    return 0


def results(file: str) -> list[dict[str, Any]]:
    """Return the lines of a file of results; none where there is no such file."""
    return read_records(RESULTS / file) if (RESULTS / file).exists() else []


def render(page: str) -> str:
    """Return a page with the tables that its results make."""
    text = (ROOT / page).read_text()
    for name, table in TABLES.items():
        if table.page == page:
            text = insert(page, text, name, table.make(results(table.file)))
    return text


def predictions_beside_measured(records: list[dict[str, Any]]) -> str:
    """Return the table of predictions, with what has been measured since."""
    files = ("ablation.jsonl", "seeds.jsonl", ACCURACIES, "speed.jsonl")
    return predictions_table(records, Measurements(*map(results, files)))


class PageTable(NamedTuple):
    """A table that stands on a page between two markers."""

    page: str
    file: str  # in benchmarks/results
    make: Callable[[list[dict[str, Any]]], str]


TABLES = {
    "speed": PageTable("docs/speed.md", FILE, speed_table),
    "accuracy": PageTable("docs/accuracy.md", ACCURACIES, accuracy_table),
    "networks": PageTable("docs/seeds.md", "seeds.jsonl", seeds_table),
    "forecast": PageTable("docs/scale.md", "seeds.jsonl", forecast_table),
    "starts": PageTable("docs/performance.md", FILE, starts_table),
    "choices": PageTable("docs/performance.md", "ablation.jsonl", ablation_table),
    "profile": PageTable("docs/performance.md", "profile.jsonl", profile_table),
    "kernels": PageTable("docs/performance.md", "kernels.jsonl", kernels_table),
    "predictions": PageTable("docs/performance.md", "predictions.jsonl", predictions_beside_measured),
    "parity-suite": PageTable("docs/parity.md", "parity.jsonl", suite_table),
    "parity-runs": PageTable("docs/parity.md", "parity.jsonl", parity_runs_table),
    "loading": PageTable("docs/imagenet.md", "loading.jsonl", loading_table),
    "scaling": PageTable("docs/performance.md", "scaling.jsonl", scaling_table),
    "records": PageTable("docs/records.md", "accuracy.jsonl", records_table),
    "no-records": PageTable("docs/records.md", "accuracy.jsonl", others_table),
    "timing-rules": PageTable("docs/records.md", "accuracy.jsonl", rules_table),
}
PAGES = tuple(dict.fromkeys(table.page for table in TABLES.values()))


def insert(page: str, text: str, name: str, content: str) -> str:
    """Return the page's text with content between the markers of a table. Raises ValueError where they are missing."""
    return insert_between(page, text, BEGIN.format(name), END, content)
