"""The pages: each experiment's README.md, the table of them all, and all of them on one page, from results alone."""

import math
import os
from pathlib import Path
from typing import Any

from airjax.report.page import Table, format_markdown, format_p, insert_between
from airjax.utils.records import write_atomically
from experiments.experiment import HERE, Experiment, Scale
from experiments.record import RESULTS, figure_file, latest, rows_of
from experiments.rows import Row
from experiments.verdict import AGREES, DIFFERS, NOT_COMPARABLE, NOT_IN_PAPER, NOT_RESOLVED

BEGIN, END = "<!-- python -m airjax experiments page writes {} from here -->", "<!-- to here -->"
SCALE_NAMES: dict[Scale, str] = {"cpu": "CPU scale", "paper": "the paper's scale"}
ONE_PAGE = HERE.parent / "docs" / "experiments.md"
VERDICTS = (AGREES, DIFFERS, NOT_RESOLVED, NOT_IN_PAPER, NOT_COMPARABLE)


def write_pages(experiments: dict[str, Experiment], folder: Path = RESULTS) -> list[Path]:
    """Write the pages of the results in a folder, and return them. Raises ValueError for a page without markers."""
    pages = render_pages(experiments, folder)
    for file, text in pages.items():
        write_atomically(file, text.encode())
    return list(pages)


def render_pages(experiments: dict[str, Experiment], folder: Path = RESULTS) -> dict[Path, str]:
    """Render the pages of the results in a folder: what each file is to hold.

    Of the tracked results: each experiment's README.md and the table in experiments/README.md, between their markers,
    and docs/experiments.md. Of others: experiments.md in their folder. Raises ValueError for a page without markers.
    """
    one = ONE_PAGE if folder == RESULTS else folder / "experiments.md"
    pages = {one: render_all(experiments, folder, one.parent)}
    if folder == RESULTS:
        pages[HERE / "README.md"] = insert(HERE / "README.md", "verdicts", index_table(experiments, folder))
        for experiment in experiments.values():
            file = experiment.folder / "README.md"
            text = insert(file, "results", render_results(experiment, folder, file.parent))
            pages[file] = insert_into(file, text, "resolutions", resolution_table(experiment))
    return pages


def render_all(experiments: dict[str, Experiment], folder: Path, where: Path) -> str:
    """Render all experiments on one page that lies in a folder."""
    parts = [
        "# The paper's tables and figures",
        "Written by `python -m airjax experiments page` from the lines of `experiments/results`; what each number is, "
        "how to make it again and what limits it, is in [experiments/](../experiments/README.md) and the page of each. "
        "Where the paper has no number, *agrees* says that our interval is above zero, *differs* that it is below.",
        index_table(experiments, folder),
    ]
    for experiment in experiments.values():
        parts += [f"## {experiment.title}", experiment.claim, render_results(experiment, folder, where)]
    return "\n\n".join(parts) + "\n"


def render_results(experiment: Experiment, folder: Path, where: Path) -> str:
    """Render what was found at every scale: a sentence, the table, the figure."""
    parts = []
    for scale in experiment.scales:
        record = latest(experiment, scale, folder)
        if record is None:
            parts.append(f"**{_title(scale)}**: not yet run.")
            continue
        place = figure_file(experiment, record, folder)
        parts += [f"**{_title(scale)}**: {describe_run(record)}", results_table(rows_of(record))]
        if place.exists():
            parts.append(f"![{experiment.title}, {SCALE_NAMES[scale]}]({os.path.relpath(place, where)})")
    return "\n\n".join(parts)


def describe_run(record: dict[str, Any]) -> str:
    """Say in a sentence what a line was made from, where and when."""
    content = ", ".join(f"{name} ({content} content)" for name, content in record["content"].items())
    precision = f" in {record['precision']}" if "precision" in record else ""
    count = f"{record['networks']:,} networks{precision}" if record["networks"] else "no training"
    # Rows do not say which of them: one network at the accuracy of chance moves a mean by much.
    diverged = f", {record['diverged']} of them diverged and are counted in" if record["diverged"] else ""
    where = f"{record['device']}, airjax {record['versions']['airjax']}, commit {record['commit']}"
    return f"{count}{diverged}; {content or 'no data'}; {where}, {record['date']}."


def results_table(rows: list[Row]) -> str:
    """Tabulate rows: our number, its interval, n, the paper's number, the verdict."""
    noted = any(row.note for row in rows)
    heads = ["", "ours", "95% interval", "n", "paper", "verdict", *(["note"] if noted else [])]
    return format_markdown(Table(heads, [[*_cells(row), *([row.note] if noted else [])] for row in rows]))


def index_table(experiments: dict[str, Experiment], folder: Path) -> str:
    """Tabulate the experiments, and how many lines of each have which verdict."""
    rows = []
    for experiment in experiments.values():
        for scale in experiment.scales:
            record = latest(experiment, scale, folder)
            counts = [""] * len(VERDICTS) if record is None else _count_verdicts(record)
            state = "not yet run" if record is None else f"{record['networks']:,}"
            rows.append([f"`{experiment.name}`: {experiment.title}", scale, state, *counts])
    return format_markdown(Table(["experiment", "scale", "networks", *VERDICTS], rows))


def resolution_table(experiment: Experiment) -> str:
    """Tabulate which differences the CPU scale can find."""
    resolutions = experiment.resolutions()
    if not resolutions:
        return "No number of networks here follows from a difference that is to be found."
    heads = ["compared", "difference, points", "assumed sd, points", "networks of each needed", "planned"]
    rows = [[one.cells, one.difference, one.sd, one.needed, one.runs] for one in resolutions]
    return format_markdown(Table(heads, rows))


def insert(file: Path, name: str, content: str) -> str:
    """Return a page's text with content between the markers of that name. Raises ValueError where they are missing."""
    return insert_into(file, file.read_text(), name, content)


def insert_into(file: Path, text: str, name: str, content: str) -> str:
    """Return a text with content between the markers of that name; the file is its place, for the message."""
    return insert_between(file, text, BEGIN.format(name), END, content)


def _cells(row: Row) -> list[str]:
    sign = "" if row.p is None else "+"  # an effect's
    ours = "none" if row.ours is None else f"{_number(row.ours, row.decimals, sign)}{_unit(row.unit)}"
    low_high = "" if row.interval is None else " to ".join(_number(end, row.decimals, sign) for end in row.interval)
    paper = "" if row.paper is None else f"{_number(row.paper, row.decimals, sign)}{_unit(row.unit)}"
    p = "" if row.p is None else f", p {format_p(row.p) if row.p < 0.0001 else '= ' + format_p(row.p)}"
    return [row.cell, ours, low_high, f"{row.n:,}" if row.n else "", paper, f"{row.verdict}{p}"]


def _number(value: float, decimals: int, sign: str) -> str:
    return f"{value:{sign},.{decimals}f}" if math.isfinite(value) else "no limit"


def _unit(unit: str) -> str:
    return "%" if unit == "%" else f" {unit}" if unit else ""


def _title(scale: Scale) -> str:
    name = SCALE_NAMES[scale]
    return name[0].upper() + name[1:]


def _count_verdicts(record: dict[str, Any]) -> list[str]:
    found = [row.verdict for row in rows_of(record)]
    return [str(found.count(verdict) or "") for verdict in VERDICTS]
