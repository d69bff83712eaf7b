"""Put several sweeps, such as the parts of an experiment, together into one page; each has a page of its own, too."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from airjax.report.charts import Spec
from airjax.report.figures import draw_accuracies
from airjax.report.figures_grid import draw_dependences
from airjax.report.page import Page, fill_page
from airjax.report.render import rank
from airjax.report.survey import Survey, SurveyError, read_survey
from airjax.report.tables import accuracy_table, environment_tables


def render_sweeps(
    folder: Path, parts: Sequence[Path], data_dir: Path | None = None, *, mixed: bool = False, linked: bool = False
) -> Page:
    """Render the page of a folder of sweeps, with links to their own where these are at NAME/report.html.

    A sweep without a finished network is named. Raises as `read_survey` does.
    """
    surveys: dict[str, Survey] = {}
    empty: list[str] = []
    for part in parts:
        name = str(part.relative_to(folder))
        try:
            surveys[name] = read_survey(part, data_dir, mixed=mixed)
        except SurveyError as error:
            empty.append(f"{name}: {error}")
    if not surveys:
        raise SurveyError(f"no sweep in {folder} has a finished network: {'; '.join(empty)}")
    charts: dict[str, Spec] = {}
    for name, survey in surveys.items():
        shown = [setting for setting in rank(survey.settings) if setting.details is not None]
        charts[name] = draw_accuracies([one.title for one in shown], [one.accuracies for one in shown])
        grids = draw_dependences([s.fields for s in survey.settings], [s.accuracies for s in survey.settings])
        charts |= {f"{name}-{grid}": chart for grid, chart in grids.items()}
    return fill_page("sweeps.html", _values(folder, surveys, empty, list(charts)) | {"linked": linked}, charts)


def _values(folder: Path, surveys: dict[str, Survey], empty: list[str], drawn: Sequence[str]) -> dict[str, Any]:
    planned = sum(survey.plan_json["num_runs"] for survey in surveys.values())
    done = sum(survey.done for survey in surveys.values())
    unsound = any(survey.failed or survey.diverged for survey in surveys.values())
    number = len(surveys) + len(empty)
    environments = {one["environment"]: one for survey in surveys.values() for one in survey.environments}
    return {
        "title": f"Sweeps of {folder.resolve().name}",
        "verdict": "failed" if unsound else "complete" if done == planned and not empty else "incomplete",
        "headline": f"{done:,} of {planned:,} networks of {number} sweep{'s' * (number != 1)}",
        "sentence": "The best setting of each sweep comes first.",
        "parts": [_part(folder, name, survey, drawn) for name, survey in surveys.items()],
        "empty": empty,
        "environments": environment_tables(list(environments.values())),
    }


def _part(folder: Path, name: str, survey: Survey, drawn: Sequence[str]) -> dict[str, Any]:
    return {
        "name": name,
        "folder": str(folder / name),
        "recipe": survey.plan_json["recipe"],
        "state": survey.state,
        "accuracy": accuracy_table(rank(survey.settings)),
        "grids": [chart for chart in drawn if chart.startswith(f"{name}-grid-")],
    }
