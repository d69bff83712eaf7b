"""Sweeps whose networks are made up."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from airjax.sweep.folder import prepare_folder
from airjax.sweep.plan import Plan, Setting
from airjax.sweep.store import Writer
from airjax.sweep.worker import Job, Source, run_record


def write_sweep(plan: Plan, folder: Path, accuracy: Callable[[Setting, int], float], labels: Any = None) -> None:
    """Write a sweep as its workers would, whose networks have the accuracies (in %) that a function says.

    The predictions of the labels [m] that are given are right in that fraction of the images, and in others for each
    network.
    """
    sources = {setting.data: Source(setting.data, "official", None) for setting in plan.settings}
    folder.mkdir(parents=True)
    names = prepare_folder(plan, folder, sources)
    job = Job(plan, folder, None, "sequential", "cpu", sources)
    writer, generator = Writer(folder, "worker"), np.random.default_rng(0)
    longest = int(np.ceil(max(setting.recipe.epochs for setting in plan.settings)))
    for index, name in enumerate(names):
        for run in plan.runs_of(index, name):
            value = accuracy(plan.settings[index], run.seed) / 100
            right = np.zeros(1, bool) if labels is None else generator.random(len(labels)) < value
            predictions = right if labels is None else np.where(right, labels, (labels + 1) % 10)
            found = value if labels is None else float(right.mean())
            record = run_record(job, run, None) | {"environment": "here", "accuracy": found, "seconds": 1.0}
            record |= {"examples": len(right), "last_loss": 1.0}
            curves = np.full((longest, 2), 2.0, np.float32)
            writer.add(record, {"predictions": predictions.astype(np.uint8), "curves": curves})


def write_view(sweep: Path, view: Path, level: int, more: float) -> None:
    """Write the networks of a sweep as if they had been evaluated again, each so many points more accurate."""
    shutil.copytree(sweep, view)
    plan = json.loads((view / "plan.json").read_text())
    for recipe in plan["recipes"]:
        recipe["evaluation"]["tta_level"] = level
    (view / "plan.json").write_text(json.dumps(plan))
    (runs,) = view.glob("workers/*/runs.jsonl")
    lines = [json.loads(line) for line in runs.read_text().splitlines()]
    runs.write_text("".join(json.dumps(line | {"accuracy": line["accuracy"] + more / 100}) + "\n" for line in lines))


def quantile(seed: int, count: int) -> float:
    """One value for each seed of a normal distribution of standard deviation one: of mean zero over all seeds."""
    from scipy.stats import norm

    return float(norm.ppf((seed % count + 0.5) / count))
