"""Evaluate a sweep's kept networks at another level of test-time augmentation, instead of training them again."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

import airjax
from airjax.data import Dataset
from airjax.recipes.recipe import Recipe
from airjax.sweep.find_data import find_data
from airjax.sweep.store import ResultsError, Writer, completed_ids, load, read_plan
from airjax.utils.records import hold_folder, write_json

SHOWN = 60.0  # seconds between two lines of progress


def view_folder(sweep: Path, level: int) -> Path:
    """Return the folder of a sweep's networks evaluated at another level: it reads as a sweep's own."""
    return sweep.with_name(f"{sweep.name}-tta{level}")


def evaluate_views(sweep: Path, level: int, data_dir: Path | None = None) -> None:
    """Evaluate the networks of a finished sweep that are not evaluated at that level yet.

    A network counts from the moment that its line is on disk, as in the sweep itself. Raises ResultsError for a sweep
    that kept no networks, or where another process is at it, and DataError where its data is unavailable.
    """
    out, plan, results = view_folder(sweep, level), read_plan(sweep), load(sweep, mixed=True).only(error=None)
    with hold_folder(out, ResultsError):
        done = completed_ids(out)
        rows = [row for row in results.rows if row["id"] not in done]
        if not rows:
            return
        print(f"evaluating {len(rows)} networks of {sweep} with test-time augmentation at level {level}", flush=True)
        write_json(out / "plan.json", _at_level(plan, level))
        data = {name: find_data(name, source, data_dir) for name, source in plan["data"].items()}
        writer, shown = Writer(out, f"{time.time_ns():020}"), time.monotonic()
        for number, row in enumerate(rows):
            writer.add(*_evaluate(row, data[row["data"]], level))
            if time.monotonic() - shown > SHOWN:
                print(f"{number + 1} of {len(rows)} networks", flush=True)
                shown = time.monotonic()


def _evaluate(row: dict[str, Any], data: Dataset, level: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    record = {name: value for name, value in row.items() if name not in ("folder", "row")}
    count = row["examples"]
    if row["diverged"]:  # whose file cannot be read: it says the same of every image, whichever way it is shown
        return record, {"predictions": np.zeros(count, np.uint8)}
    file = Path(row["folder"]) / "networks" / f"{row['id']}.safetensors"
    try:
        model = airjax.load(file)
    except airjax.ModelError as error:
        raise ResultsError(f"{error}; the plan has to keep its networks: networks = true under [keep]") from error
    predictions = airjax.infer(model, data.test_images[:count], tta_level=level).argmax(1).astype(np.uint8)
    record["accuracy"] = float((predictions == data.test_labels[:count]).mean())
    return record, {"predictions": predictions}


def _at_level(plan: dict[str, Any], level: int) -> dict[str, Any]:
    # The sweep's plan.json, whose recipes say how the networks were evaluated here.
    recipes = [Recipe.from_dict(recipe).override(tta_level=level).to_dict() for recipe in plan["recipes"]]
    seeds = plan["seeds"]
    plain = {"count": len(seeds)} if isinstance(seeds, range) else seeds
    return json.loads(json.dumps(plan | {"recipes": recipes, "seeds": plain}))
