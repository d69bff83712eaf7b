"""Find out what is in a folder, and make its page: networks, a sweep, or several of these."""

from pathlib import Path
from typing import Literal

from airjax.report.networks import networks_folder, read_networks
from airjax.report.networks_page import render_networks
from airjax.report.page import Page
from airjax.report.render import render_survey
from airjax.report.survey import SurveyError, read_survey
from airjax.report.sweeps import render_sweeps

FolderKind = Literal["networks", "sweep", "several"]
WRITTEN = ("plan.json", "recipe.json")  # into the folder of a sweep, and of a training


def kind_of_folder(folder: Path) -> FolderKind:
    """Say what is in a folder: a training's networks, a sweep or several of them. Raises SurveyError."""
    try:
        if networks_folder(folder) is not None:
            return "networks"
        if any((folder / name).exists() for name in ("plan.json", "workers")):
            return "sweep"
        if part_folders(folder):
            return "several"
    except OSError as error:  # a name that is too long, a folder that others may not read
        raise SurveyError(f"{folder} cannot be read: {error.strerror}") from error
    raise SurveyError(
        f"{folder} is not the folder of a sweep, nor of a training, nor does it hold folders of these: airjax train, "
        "airjax sweep and airjax experiments write them with --out"
    )


def part_folders(folder: Path) -> list[Path]:
    """Return the folders of sweeps and of trainings in a folder, at any depth, by name."""
    found = {file.parent for file in folder.rglob("*.json") if file.name in WRITTEN}
    # The networks of a verified record are in a folder of its own.
    return sorted(part for part in found if not (part.parent in found and networks_folder(part.parent) == part))


def render_folder(folder: Path, data_dir: Path | None = None, *, mixed: bool = False, linked: bool = False) -> Page:
    """Render the page of whatever a folder holds; see `read_networks` and `read_survey`.

    linked: whether each of several has a page of its own, at NAME/report.html beside theirs.

    Raises SurveyError, ResultsError, DataError, MissingExtraError.
    """
    match kind_of_folder(folder):
        case "networks":
            return render_networks(read_networks(networks_folder(folder) or folder, data_dir))
        case "sweep":
            return render_survey(read_survey(folder, data_dir, mixed=mixed))
        case "several":
            return render_sweeps(folder, part_folders(folder), data_dir, mixed=mixed, linked=linked)
