"""The trained networks of an experiment, by the fields of their recipes."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from airjax.data import Dataset
from airjax.recipes.recipe import Recipe
from airjax.sweep.find_data import find_data
from airjax.sweep.store import Results, ResultsError, load, read_plan


class Cell(NamedTuple):
    """The networks of one setting of one part."""

    recipe: Recipe
    fields: dict[str, Any]  # all of the recipe's by their own names, and "data"
    folder: Path  # of the sweep
    results: Results  # finished networks, those that diverged among them

    @property
    def accuracies(self) -> Float[np.ndarray, " r"]:
        """In percent, by ascending seeds."""
        return np.array([100 * row["accuracy"] for row in self._rows])

    @property
    def seeds(self) -> Int[np.ndarray, " r"]:
        """Those of the networks, ascending; of networks on subsets several have the same."""
        return np.array([row["seed"] for row in self._rows], np.int64)

    @property
    def _rows(self) -> list[dict[str, Any]]:
        # Workers finish them in any order.
        return sorted(self.results.rows, key=lambda row: (row["seed"], row["id"]))


class Cells(NamedTuple):
    """All networks of an experiment."""

    cells: tuple[Cell, ...]

    @property
    def networks(self) -> int:
        """Count the trainings: networks that were evaluated in several ways count once."""
        return len({row["id"] for cell in self.cells for row in cell.results.rows})

    @property
    def diverged(self) -> int:
        """Count the trainings whose loss was not finite at some step."""
        return len({row["id"] for cell in self.cells for row in cell.results.rows if row["diverged"]})

    @property
    def content(self) -> dict[str, str]:
        """Say of every data set whether its content is official."""
        return {row["data"]: row["content"] for cell in self.cells for row in cell.results.rows}

    def having(self, **wanted: Any) -> tuple[Cell, ...]:
        """Return the cells whose recipes have those values. Raises ResultsError where there is none."""
        found = tuple(cell for cell in self.cells if all(cell.fields.get(k) == v for k, v in wanted.items()))
        if not found:
            described = ", ".join(f"{name} = {value}" for name, value in wanted.items())
            raise ResultsError(f"no finished network has {described}; train the experiment first")
        return found

    def accuracies(self, **wanted: Any) -> Float[np.ndarray, " r"]:
        """Accuracies in percent of all networks whose recipes have those values. Raises ResultsError for none."""
        return np.concatenate([cell.accuracies for cell in self.having(**wanted)])

    def seeds(self, **wanted: Any) -> Int[np.ndarray, " r"]:
        """Return the seeds of the networks whose `accuracies` these are, in the same order."""
        return np.concatenate([cell.seeds for cell in self.having(**wanted)])

    def seeds_by_epochs(self, **wanted: Any) -> dict[float, Int[np.ndarray, " r"]]:
        """Return the seeds of the networks of `by_epochs`, in the same order."""
        return {epochs: mine.seeds() for epochs, mine in self._by_length(wanted)}

    def by_epochs(self, **wanted: Any) -> dict[float, Float[np.ndarray, " r"]]:
        """Return the accuracies in percent of all networks that have those values, by their length, in its order.

        Raises ResultsError for none.
        """
        return {epochs: mine.accuracies() for epochs, mine in self._by_length(wanted)}

    def _by_length(self, wanted: dict[str, Any]) -> Iterator[tuple[float, "Cells"]]:
        # The cells of each length, by ascending lengths.
        found = self.having(**wanted)
        for epochs in sorted({cell.fields["epochs"] for cell in found}):
            yield epochs, Cells(tuple(cell for cell in found if cell.fields["epochs"] == epochs))

    def one(self, **wanted: Any) -> Cell:
        """Return the only cell that has those values. Raises ResultsError where there are more, or none."""
        first, *others = self.having(**wanted)
        if others:
            raise ResultsError(f"{1 + len(others)} settings have {wanted}, but one was meant")
        return first


def read_cells(folders: Iterable[Path], *, mixed: bool = False) -> Cells:
    """Read the finished networks of sweeps.

    Raises ResultsError for a folder that is missing or not complete, and for networks of several environments
    (versions, devices) unless they are to be mixed.
    """
    folders = list(folders)
    for folder in folders:
        require_complete(folder)
    cells = tuple(cell for folder in folders for cell in _cells_of(folder, mixed))
    environments = {row["environment"] for cell in cells for row in cell.results.rows}
    if len(environments) > 1 and not mixed:
        raise ResultsError(f"the networks are of {len(environments)} environments; --mixed pools them")
    return Cells(cells)


def require_complete(folder: Path) -> None:
    """Raise ResultsError for a sweep that lacks networks: what is left of it might be no random sample."""
    planned, done = read_plan(folder)["num_runs"], count_finished(folder)
    if done < planned:
        raise ResultsError(f"{folder} has {done} of {planned} networks; rerunning the experiment trains the others")


def count_finished(folder: Path) -> int:
    """Count the finished networks of a sweep's folder; 0 where there is none."""
    if not (folder / "plan.json").exists():
        return 0
    return len(load(folder, mixed=True).only(error=None).rows)


def read_correct(cell: Cell, data_dir: Path | None) -> tuple[Bool[np.ndarray, "r m"], UInt8[np.ndarray, "r m"], Any]:
    """Return which test images each network of a cell is right about, its predictions, and the labels [m]."""
    predictions = cell.results.array("predictions")
    labels = load_data_of(cell, data_dir).test_labels[: predictions.shape[1]]
    return predictions == labels, predictions, labels


def load_data_of(cell: Cell, data_dir: Path | None) -> Dataset:
    """Load the data set that a cell's networks were trained on. Raises DataError where it is unavailable."""
    name = cell.fields["data"]
    return find_data(name, read_plan(cell.folder).get("data", {}).get(name), data_dir)


def _cells_of(folder: Path, mixed: bool) -> Iterator[Cell]:
    results, plan = load(folder, mixed=mixed).only(error=None), read_plan(folder)
    if results.conflicts:
        first = results.conflicts[0].id
        raise ResultsError(
            f"{folder} has {len(results.conflicts)} networks that were trained twice, with different results (the "
            f"first is {first}): python -m airjax.sweep status {folder} lists them"
        )
    for (name, described), plain in zip(plan["settings"].items(), plan["recipes"], strict=True):
        recipe = Recipe.from_dict(plain)
        yield Cell(recipe, recipe.flat() | {"data": described["data"]}, folder, results.only(setting=name))
