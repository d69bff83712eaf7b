"""A sweep's results on disk: for each worker a log with one line per network, and one file of rows per kind of array.

    DIR/plan.json, environments.jsonl
    DIR/workers/NAME/runs.jsonl         one line for each finished network; "row" is its row in the files below
    DIR/workers/NAME/arrays.json        the shape of a row of each of them
    DIR/workers/NAME/predictions.u8     [rows, M] uint8: the class of every test image
    DIR/workers/NAME/curves.f32         [rows, E, 2] float32: mean training loss and accuracy of every epoch
    DIR/workers/NAME/logits.f16         [rows, M, 10] float16, where the plan keeps them
    DIR/workers/NAME/networks/ID.safetensors

A worker never opens another's files, and a new worker gets a new folder. A network counts from the moment that its
line is on disk; its arrays are there before.
"""

import json
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from airjax.recipes.recipe import Recipe
from airjax.utils.extras import import_extra
from airjax.utils.records import append_line, read_lines, sync_folder, write_json

ARRAYS = {"predictions": np.dtype(np.uint8), "curves": np.dtype(np.float32), "logits": np.dtype(np.float16)}
# What every sweep's plan.json has.
PLANNED: dict[str, Any] = {"recipe": str, "num_runs": int, "seeds": list | dict, "settings": dict}
FILES = {"predictions": "predictions.u8", "curves": "curves.f32", "logits": "logits.f16"}


class ResultsError(ValueError):
    """Results that cannot be read or pooled; the message names the folder and the remedy."""


class Writer:
    """Appends one worker's results to a folder of its own."""

    def __init__(self, out: Path, name: str) -> None:
        self.folder = out / "workers" / name
        self.folder.mkdir(parents=True, exist_ok=False)
        sync_folder(self.folder.parent)
        self._rows = 0
        self._shapes: dict[str, list[int]] | None = None

    def add(self, record: dict[str, Any], arrays: dict[str, np.ndarray] | None = None) -> None:
        """Append a network's record and its arrays, and wait until they are on disk.

        Raises ValueError for arrays of other shapes than the first network's.
        """
        if arrays:
            self._require_shapes({name: list(array.shape) for name, array in arrays.items()})
        for name, array in (arrays or {}).items():
            with (self.folder / FILES[name]).open("ab") as stream:
                # What an interrupted write left behind has no line that points to it.
                stream.truncate(self._rows * array.size * ARRAYS[name].itemsize)
                stream.write(np.ascontiguousarray(array, ARRAYS[name]).data)
                stream.flush()
                os.fsync(stream.fileno())
        row = None
        if arrays:
            row, self._rows = self._rows, self._rows + 1
        append_line(self.folder / "runs.jsonl", record | {"row": row})

    def _require_shapes(self, shapes: dict[str, list[int]]) -> None:
        if self._shapes is None:
            write_json(self.folder / "arrays.json", shapes)
            self._shapes = shapes
        elif shapes != self._shapes:
            raise ValueError(f"{self.folder} has rows of {self._shapes}, and cannot take one of {shapes}")


class Conflict(NamedTuple):
    """Two records of one network that say different things."""

    id: str
    first: dict[str, Any]
    second: dict[str, Any]


class Told(NamedTuple):
    """What two records of the same network have to agree in."""

    accuracy: float | None
    diverged: bool
    error: str | None

    def judge(self, later: "Told") -> Literal["stands", "is replaced", "conflicts"]:
        """Say what becomes of the first record of a network when there is a later one."""
        if later.error:
            return "stands"
        if self.error:
            return "is replaced"  # it worked when it was tried again
        return "stands" if self == later else "conflicts"


class Tally(NamedTuple):
    """How far a sweep has got, in little memory: there may be millions of networks."""

    networks: int  # finished
    diverged: int  # of them
    errors: list[tuple[str, str]]  # ids of networks that failed, and why
    conflicts: list[str]  # ids of networks with two records that say different things
    accuracies: dict[str, list[float]]  # in percent, by setting


class Results(NamedTuple):
    """Everything that the workers of a sweep have finished."""

    rows: list[dict[str, Any]]  # one for each network: its first record, or the first that is no failure
    conflicts: list[Conflict]

    def array(self, name: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """Return the rows' arrays [rows, ...] of "predictions", "curves" or "logits".

        Curves are filled up with NaN where the sweep has longer ones, or to a row's shape that is given. Raises
        ResultsError where a row has none.
        """
        parts = self._open(name)
        if not parts:
            return np.zeros((0, 0), ARRAYS[name])
        shape = shape or max(part.shape[1:] for part in parts.values())
        array = np.full((len(self.rows), *shape), np.nan if name == "curves" else 0, ARRAYS[name])
        for place, record in enumerate(self.rows):
            row = parts[record["folder"]][record["row"]]
            array[place, : len(row)] = row
        return array

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the largest shape of a row's array. Raises ResultsError where there is none, or a row has none."""
        parts = self._open(name)
        if not parts:
            raise ResultsError(f"there is no network, and so there are no {name}")
        return max(part.shape[1:] for part in parts.values())

    def _open(self, name: str) -> dict[str, np.ndarray]:
        # The arrays of each worker's folder that the rows are in.
        parts: dict[str, np.ndarray] = {}
        for record in self.rows:
            if record["row"] is None:
                raise ResultsError(f"network {record['id']} has no {name}: it {_fate(record)}")
            if record["folder"] not in parts:
                parts[record["folder"]] = _open_rows(Path(record["folder"]), name)
        return parts

    def table(self) -> Any:
        """Return the rows as a pandas DataFrame. Raises MissingExtraError without pandas."""
        return import_extra("pandas", "report", "a table of results").DataFrame(self.rows)

    def only(self, **wanted: Any) -> "Results":
        """Return the rows whose entries are those, for example seed=0, diverged=False."""
        rows = [row for row in self.rows if all(row.get(name) == value for name, value in wanted.items())]
        return self._replace(rows=rows)


def load(out: str | Path, *, mixed: bool = False) -> Results:
    """Read all results of a sweep.

    Args:
        out: the folder of the sweep.
        mixed: pool results of different environments (versions, device, self-check), which otherwise is an error.

    Raises ResultsError.
    """
    out = Path(out)
    _require_sweep(out)
    rows: dict[str, dict[str, Any]] = {}
    conflicts = []
    for record in _records(out):
        first = rows.setdefault(record["id"], record)
        fate = _told(first).judge(_told(record))
        if fate == "is replaced":
            rows[record["id"]] = record
        elif fate == "conflicts":
            conflicts.append(Conflict(record["id"], first, record))
    environments = {record["environment"] for record in rows.values()} - {None}  # nowhere: given up
    if len(environments) > 1 and not mixed:
        raise ResultsError(
            f"{out} holds results of {len(environments)} environments ({', '.join(sorted(environments))}; see "
            "environments.jsonl); load all of them with mixed=True, and select one with only(environment=...)"
        )
    return Results(list(rows.values()), conflicts)


def completed_ids(out: Path) -> set[str]:
    """Return the networks that need not be trained again: all that are there, but for those that failed."""
    return {record["id"] for record in _records(out) if not record.get("error")}


def tally(out: Path) -> Tally:
    """Count what a sweep has finished so far. Raises ResultsError where there is none."""
    _require_sweep(out)
    found: dict[str, tuple[str, Told]] = {}
    conflicts = []
    for record in _records(out):
        name, entry = record["id"], (sys.intern(record["setting"]), _told(record))
        fate = found.setdefault(name, entry)[1].judge(entry[1])
        if fate == "is replaced":
            found[name] = entry
        elif fate == "conflicts":
            conflicts.append(name)
    errors = [(name, told.error) for name, (_, told) in found.items() if told.error]
    accuracies: dict[str, list[float]] = {}
    for setting, told in found.values():
        if told.accuracy is not None:
            accuracies.setdefault(setting, []).append(100 * told.accuracy)
    diverged = sum(told.diverged for _, told in found.values())
    return Tally(len(found) - len(errors), diverged, errors, conflicts, accuracies)


def _told(record: dict[str, Any]) -> Told:
    return Told(record.get("accuracy"), bool(record.get("diverged")), record.get("error"))


def _require_sweep(out: Path) -> None:
    if not any((out / name).exists() for name in ("workers", "plan.json")):
        raise ResultsError(f"{out} is not the folder of a sweep: it has no workers in it")


def _records(out: Path) -> Iterator[dict[str, Any]]:
    # In the order of the workers' names, which begin with when they started.
    for folder in sorted((out / "workers").glob("*")):
        for record in read_lines(folder / "runs.jsonl"):
            if "id" in record:
                yield record | {"folder": str(folder)}


def _open_rows(folder: Path, name: str) -> np.ndarray:
    try:
        shape = json.loads((folder / "arrays.json").read_text())[name]
        content = np.memmap(folder / FILES[name], ARRAYS[name], mode="r")
    except KeyError as error:
        raise ResultsError(f"{folder} has no {name}: the plan did not keep them") from error
    except (OSError, ValueError) as error:
        raise ResultsError(f"{folder / FILES[name]} cannot be read: {error}") from error
    width = math.prod(shape)
    return content[: len(content) // width * width].reshape(-1, *shape)


def _fate(record: dict[str, Any]) -> str:
    return f"failed: {record['error']}" if record.get("error") else "left none"


def read_plan(out: Path) -> dict[str, Any]:
    """Return what the sweep in a folder is; its seeds are a list or a range. Raises ResultsError."""
    file = out / "plan.json"
    try:
        plan = json.loads(file.read_text())
    except OSError as error:
        raise ResultsError(f"{out} is not the folder of a sweep: it has no plan.json") from error
    except ValueError as error:
        raise ResultsError(f"{file} is damaged: {error}") from error
    # That of a verified record (airjax records verify) has the same name.
    if not (isinstance(plan, dict) and all(isinstance(plan.get(name), kind) for name, kind in PLANNED.items())):
        raise ResultsError(f"{file} is not a sweep's plan; name the folder that airjax sweep wrote to its --out")
    if isinstance(plan["seeds"], dict):
        plan["seeds"] = range(plan["seeds"].get("count", 0))
    return plan


def recipes_by_setting(out: Path) -> dict[str, dict[str, Any]]:
    """Return all fields of the recipe of each setting of a sweep, by their own names, by the setting's id.

    Empty where its folder does not say.
    """
    if not (out / "plan.json").exists():
        return {}
    plan = read_plan(out)
    return {name: _flat(recipe) for name, recipe in zip(plan["settings"], plan.get("recipes", []), strict=False)}


def _flat(recipe: dict[str, Any]) -> dict[str, Any]:
    try:
        return Recipe.from_dict(recipe).flat()
    except ValueError:  # of another version
        return flatten_fields(recipe)


def flatten_fields(recipe: dict[str, Any]) -> dict[str, Any]:
    """Put the fields of a recipe's parts beside its own; the name of a part stands for its kind.

    Recipes of version 0.1 have no parts, and stay as they are.
    """
    flat: dict[str, Any] = {}
    for name, value in recipe.items():
        if isinstance(value, dict):
            flat[name] = value.get("kind")
            flat |= flatten_fields({inner: part for inner, part in value.items() if inner != "kind"})
        else:
            flat[name] = value
    return flat
