"""Where an experiment's results go: a line of JSON and a figure, in runs/experiments unless they are to be kept."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import airjax
from airjax.utils.extras import import_extra
from airjax.utils.records import append_line, plain, read_lines, write_atomically
from experiments.experiment import HERE, Analysis, Experiment, Scale
from experiments.rows import Row, row_from

RESULTS = HERE / "results"  # tracked: what the pages are made from
SCRATCH = HERE.parent / "runs" / "experiments"  # ignored by git


def save(
    experiment: Experiment, scale: Scale, analysis: Analysis, folder: Path, precision: str | None = None
) -> dict[str, Any]:
    """Append a line to NAME.jsonl in a folder, and return it: what was found, on what, where, by which versions.

    The precision is the one that was asked for all networks; None: as the plans say.
    """
    head = {"experiment": experiment.name, "scale": scale, **({} if precision is None else {"precision": precision})}
    counts = {"networks": analysis.networks, "diverged": analysis.diverged}
    rows = {"rows": [row._asdict() for row in analysis.rows], "series": analysis.series}
    tail = {"content": analysis.data, **airjax.environment.describe(), "date": datetime.now(UTC).date().isoformat()}
    record = plain(head | counts | rows | tail)
    folder.mkdir(parents=True, exist_ok=True)
    append_line(folder / f"{experiment.name}.jsonl", record)
    return record


def latest(experiment: Experiment, scale: Scale, folder: Path) -> dict[str, Any] | None:
    """Return the newest line of an experiment at a scale; None where there is none.

    One whose plans said the precision goes before those for which another was asked.
    """
    lines = [line for line in read_lines(folder / f"{experiment.name}.jsonl") if line["scale"] == scale]
    planned = [line for line in lines if "precision" not in line]
    return (planned or lines or [None])[-1]


def rows_of(record: dict[str, Any]) -> list[Row]:
    """Return the rows of a line."""
    return [row_from(row) for row in record["rows"]]


def figure_file(experiment: Experiment, record: dict[str, Any], folder: Path) -> Path:
    """Return where the figure of a line is: beside the experiment's page, where its results are the tracked ones."""
    name = "-".join([record["scale"], *([record["precision"]] if "precision" in record else [])])
    return experiment.folder / f"{name}.png" if folder == RESULTS else folder / f"{experiment.name}-{name}.png"


def draw(experiment: Experiment, record: dict[str, Any], folder: Path) -> list[Path]:
    """Draw the figure of a line, as PNG and SVG, and return the files."""
    mpl = import_extra("matplotlib", "report", "a figure")
    from airjax.report.drawing import STYLE, render_figure

    with mpl.rc_context(STYLE):
        figure = experiment.draw(record)
    png = figure_file(experiment, record, folder)
    files = [png, png.with_suffix(".svg")]
    for file, kind in zip(files, ("png", "svg"), strict=True):
        write_atomically(file, render_figure(figure, kind))
    return files
