"""Train what an experiment lacks: each part by the sweep engine, then its networks evaluated in the other ways."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from airjax.cli import sweep
from airjax.sweep.plan import Plan
from airjax.sweep.store import read_plan
from airjax.utils.records import write_atomically
from experiments.cells import count_finished
from experiments.experiment import Experiment, Part, Scale
from experiments.trainings import train_cells
from experiments.views import evaluate_views, view_folder


def train_parts(
    experiment: Experiment, scale: Scale, out: Path, data_dir: Path | None, arguments: Sequence[str] = ()
) -> int:
    """Train the parts of an experiment that are not complete, in order. Returns the exit code of what trains them.

    What a killed process has finished is kept, and calling this again trains the rest. The arguments are those of
    `python -m airjax.sweep` that say who trains, such as --workers 2.
    """
    for part in experiment.parts(scale, out):
        folder = out / part.name
        if not is_complete(part.load(), folder):
            if part.content is not None:
                part.plan.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(part.plan, format_plan(part.content).encode())
            print(f"{experiment.name}, {part.name}: {part.plan}", flush=True)
            code = sweep.main(sweep_arguments(part, folder, data_dir, arguments), "python -m airjax sweep")
            if code != sweep.EXIT_OK:
                return code
        for level in part.views:
            evaluate_views(folder, level, data_dir)
    return train_cells(experiment.trainings(scale), out, data_dir)


def sweep_arguments(part: Part, folder: Path, data_dir: Path | None, arguments: Sequence[str]) -> list[str]:
    """Return the arguments of `python -m airjax sweep` that train a part."""
    place = [] if data_dir is None else ["--data-dir", str(data_dir)]
    return [str(part.plan), "--out", str(folder), *place, *arguments]


def is_complete(plan: Plan, folder: Path) -> bool:
    """Say whether a folder holds all networks of a plan: nothing has to be looked up to train none."""
    if count_finished(folder) < plan.num_runs:
        return False
    kept = read_plan(folder)
    described = json.loads(json.dumps([setting.described for setting in plan.settings]))
    return (
        kept["recipe"] == plan.base
        and list(kept["settings"].values()) == described
        and set(kept["seeds"]) == set(plan.seeds)
    )


def format_plan(content: dict[str, Any]) -> str:
    """Write a plan as TOML: plain entries and lists of them, tables, and "cases", which is a list of tables."""

    def lines(table: dict[str, Any]) -> list[str]:  # JSON's literals of these are TOML's, too
        return [f"{name} = {json.dumps(value)}" for name, value in table.items()]

    tables = {name: value for name, value in content.items() if isinstance(value, dict)}
    cases = content.get("cases", [])
    text = lines({name: value for name, value in content.items() if name not in (*tables, "cases")})
    for name, table in tables.items():
        text += ["", f"[{name}]", *lines(table)]
    for case in cases:
        text += ["", "[[cases]]", *lines(case)]
    return "\n".join(text) + "\n"


def folders_of(experiment: Experiment, scale: Scale, out: Path) -> Iterator[Path]:
    """Yield the folders of an experiment's results: its parts', and those of their other evaluations."""
    for part in experiment.parts(scale, out):
        yield out / part.name
        yield from (view_folder(out / part.name, level) for level in part.views)
    yield from (out / training.name for training in experiment.trainings(scale))
