"""Find out what is in a folder, and make its page: networks, a sweep, or sweeps of an experiment."""

from pathlib import Path
from typing import Literal

from airjax.report.networks import read_networks
from airjax.report.networks_page import render_networks
from airjax.report.page import Page
from airjax.report.render import render_survey
from airjax.report.survey import SurveyError, read_survey
from airjax.report.sweeps import render_sweeps

FolderKind = Literal["networks", "sweep", "sweeps"]


def kind_of_folder(folder: Path) -> FolderKind:
    """Say what wrote a folder: a training, a sweep or an experiment of several sweeps. Raises SurveyError."""
    if any((folder / name).exists() for name in ("plan.json", "workers")):
        return "sweep"
    if (folder / "recipe.json").exists():
        return "networks"
    if sweep_folders(folder):
        return "sweeps"
    raise SurveyError(
        f"{folder} is not the folder of a sweep, nor of a training, nor does it hold folders of sweeps: airjax train, "
        "airjax sweep and airjax experiments write them with --out"
    )


def sweep_folders(folder: Path) -> list[Path]:
    """Return the folders of sweeps in a folder, at any depth, by name."""
    return sorted(file.parent for file in folder.rglob("plan.json"))


def render_folder(folder: Path, data_dir: Path | None = None, *, mixed: bool = False, linked: bool = False) -> Page:
    """Render the page of whatever a folder holds; see `read_networks` and `read_survey`.

    linked: whether sweeps have pages of their own, at NAME/report.html beside theirs.

    Raises SurveyError, ResultsError, DataError, MissingExtraError.
    """
    match kind_of_folder(folder):
        case "networks":
            return render_networks(read_networks(folder, data_dir))
        case "sweep":
            return render_survey(read_survey(folder, data_dir, mixed=mixed))
        case "sweeps":
            return render_sweeps(folder, sweep_folders(folder), data_dir, mixed=mixed, linked=linked)
