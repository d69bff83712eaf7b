"""Trainings that are no sweep: networks that learn from a tree of images, a call of `airjax train` for each cell.

The sweep engine hands its workers data sets in memory. Here each cell has a folder, as of `airjax train --out`, which
resumes; one after another trains.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from airjax.cli import train
from airjax.recipes.imagenet_resnet18 import TRAIN, VAL
from airjax.recipes.published import get_recipe
from airjax.recipes.recipe import Recipe
from airjax.sweep.store import ResultsError
from airjax.utils.records import read_lines

IMAGENET = (TRAIN, VAL)  # training and test images


class Training(NamedTuple):
    """The networks of one cell."""

    name: str  # of their folder
    recipe: str
    changes: dict[str, Any]  # of its fields
    seeds: int  # networks, of seeds from 0
    images: tuple[int, int] = IMAGENET  # of the tree that is meant, for the forecast
    seconds: float | None = None  # of one network, as predicted; None where nothing is known

    def load(self) -> Recipe:
        """Return the recipe, for the tree that is meant."""
        count = dict(zip(("train_examples", "test_examples"), self.images, strict=True))
        return get_recipe(self.recipe).override(**self.changes, **count)

    def arguments(self, out: Path, data_dir: Path | None) -> list[str]:
        """Return the arguments of `airjax train`."""
        words = [
            "--recipe",
            self.recipe,
            "--data",
            "imagenet",
            "--seeds",
            str(self.seeds),
            "--out",
            str(out / self.name),
        ]
        words += [] if data_dir is None else ["--data-dir", str(data_dir)]
        for name, value in self.changes.items():
            values = value if isinstance(value, tuple) else (value,)
            words += [f"--{name.replace('_', '-')}", *map(str, values)]
        return [*words, "--no-validate-epochs", "--checkpoint-every", "1"]


def train_cells(trainings: Sequence[Training], out: Path, data_dir: Path | None) -> int:
    """Train what the cells lack, in order. Returns the exit code of what ended it, or of a cell that failed, or 0.

    A cell in which a network diverged, or could not be written, does not keep the others from being trained.
    """
    last = train.EXIT_OK
    for training in trainings:
        if count_trained(training, out) < training.seeds:
            code = train.main(training.arguments(out, data_dir), "python -m airjax train")
            if code not in (train.EXIT_OK, train.EXIT_FAILURE):
                return code
            last = max(last, code)
    return last


def count_trained(training: Training, out: Path) -> int:
    """Count the finished networks of a cell."""
    return len(_lines(out / training.name, training.seeds))


class CellAccuracies(NamedTuple):
    """The networks of a cell on one test crop."""

    size: int  # pixels
    plain: Float[np.ndarray, " r"]  # percent
    tta: Float[np.ndarray, " r"]  # percent, with mirrored views


def read_trained(trainings: Sequence[Training], out: Path, *, mixed: bool = False) -> dict[str, list[CellAccuracies]]:
    """Read the accuracies of all networks on every test crop, by the names of their cells.

    Raises ResultsError where networks are missing, are of another recipe than the cell's, or are of several
    environments (versions, devices) unless they are to be mixed.
    """
    found = {training.name: _read_lines(training, out / training.name) for training in trainings}
    environments = {line["environment"] for lines in found.values() for line in lines}
    if len(environments) > 1 and not mixed:
        raise ResultsError(f"the networks are of {len(environments)} environments; --mixed pools them")
    return {name: _accuracies(lines) for name, lines in found.items()}


def _read_lines(training: Training, folder: Path) -> list[dict[str, Any]]:
    lines = _lines(folder, training.seeds)
    if len(lines) < training.seeds:
        raise ResultsError(
            f"{folder} has {len(lines)} of {training.seeds} networks; rerunning the experiment trains the others"
        )
    kept, meant = _recipe_of(folder).flat(), training.load().flat()
    # The tree that is meant and the one at hand may differ in size, and a precision may have been asked for.
    for name in sorted(meant.keys() - {"train_examples", "test_examples", "precision"}):
        if kept.get(name) != meant[name]:
            raise ResultsError(
                f"{folder} has networks of {name} = {kept.get(name)}, but the experiment now has {meant[name]}; move "
                "the folder away and rerun the experiment"
            )
    return lines


def _recipe_of(folder: Path) -> Recipe:
    file = folder / "recipe.json"
    try:
        return Recipe.from_dict(json.loads(file.read_text())["recipe"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResultsError(f"{file} is not the recipe of a training: {error}") from error


def _accuracies(lines: list[dict[str, Any]]) -> list[CellAccuracies]:
    several = zip(*(line["test_crops"] for line in lines), strict=True)
    return [
        CellAccuracies(
            crops[0]["size"], *(np.array([100 * crop[name] for crop in crops]) for name in ("accuracy", "tta_accuracy"))
        )
        for crops in several
    ]


def _lines(folder: Path, seeds: int) -> list[dict[str, Any]]:
    found = {line["seed"]: line for line in read_lines(folder / "runs.jsonl") if line.get("seed", seeds) < seeds}
    return [found[seed] for seed in sorted(found)]
