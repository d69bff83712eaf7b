"""Put several sweeps and trainings, such as the parts of an experiment, together into one page.

Each has a page of its own, too.
"""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from airjax.report.charts import Spec
from airjax.report.figures import draw_accuracies
from airjax.report.figures_grid import draw_dependences, pairs_left_out
from airjax.report.networks import Networks, networks_folder, read_networks
from airjax.report.networks_texts import accuracies_of, count_planned, headline, sentence, whole_environment
from airjax.report.page import Page, Table, fill_page
from airjax.report.render import rank
from airjax.report.survey import Survey, SurveyError, read_survey
from airjax.report.tables import accuracy_table, environment_tables
from airjax.sweep.store import ResultsError


class Part(NamedTuple):
    """What the page says of one sweep or training."""

    recipe: str
    state: str  # how far it has got
    done: int  # networks
    planned: int
    sound: bool  # none failed or diverged
    accuracy: Table | None  # of a sweep's settings
    charts: dict[str, Spec]  # the accuracies, and what they depend on
    environments: list[dict[str, Any]]
    unmapped: Sequence[str] = ()  # pairs of fields of which there is no figure, for want of room


def render_sweeps(
    folder: Path, parts: Sequence[Path], data_dir: Path | None = None, *, mixed: bool = False, linked: bool = False
) -> Page:
    """Render the page of a folder of sweeps and trainings, with links to their own where these are at NAME/report.html.

    One without a finished network is named. Raises as `read_survey` and `read_networks` do.
    """
    found: dict[str, Part] = {}
    empty: list[str] = []
    places = [networks_folder(part) for part in parts]
    for part, networks in zip(parts, places, strict=True):
        name = str(part.relative_to(folder))
        try:
            if networks is None:
                found[name] = _part_of_sweep(read_survey(part, data_dir, mixed=mixed))
            else:
                found[name] = _part_of_training(read_networks(networks, data_dir))
        except (SurveyError, ResultsError) as error:
            empty.append(f"{name}: {error}")
    if not found:
        raise SurveyError(f"no sweep in {folder} has a finished network: {'; '.join(empty)}")
    charts = {f"{name}/{chart}": spec for name, part in found.items() for chart, spec in part.charts.items()}
    values = _values(folder, found, empty, _counted(places.count(None), len(parts) - places.count(None)))
    return fill_page("sweeps.html", values | {"linked": linked}, charts)


def _part_of_sweep(survey: Survey) -> Part:
    shown = [setting for setting in rank(survey.settings) if setting.details is not None]
    grids = draw_dependences([s.fields for s in survey.settings], [s.accuracies for s in survey.settings])
    return Part(
        survey.plan_json["recipe"],
        f"{survey.state}.",
        survey.done,
        survey.plan_json["num_runs"],
        not (survey.failed or survey.diverged),
        accuracy_table(rank(survey.settings)),
        {"accuracy": draw_accuracies([one.title for one in shown], [one.accuracies for one in shown]), **grids},
        survey.environments,
        pairs_left_out([setting.fields for setting in survey.settings]),
    )


def _part_of_training(networks: Networks) -> Part:
    names = [f"seed {run['seed']}" for run in networks.runs]
    drawn = {"accuracy": draw_accuracies([networks.name], [accuracies_of(networks)], [names])} if names else {}
    return Part(
        networks.name,
        f"{headline(networks)}. {sentence(networks)}",
        len(networks.runs),
        count_planned(networks),
        sound=True,
        accuracy=None,
        charts=drawn,
        environments=[whole_environment(one) for one in networks.environments],
    )


def _values(folder: Path, found: dict[str, Part], empty: list[str], counted: str) -> dict[str, Any]:
    planned, done = (sum(getattr(part, name) for part in found.values()) for name in ("planned", "done"))
    sound = all(part.sound for part in found.values())
    environments = {one["environment"]: one for part in found.values() for one in part.environments}
    swept = any(part.accuracy for part in found.values())
    return {
        "title": f"{'Sweeps' if swept else 'Trainings'} of {folder.resolve().name}",
        "verdict": "failed" if not sound else "complete" if done == planned and not empty else "incomplete",
        "headline": f"{done:,} of {planned:,} networks of {counted}",
        "sentence": "The best setting of each sweep comes first." if swept else "Each training has one recipe.",
        "parts": [_described(folder, name, part) for name, part in found.items()],
        "empty": empty,
        "environments": environment_tables(list(environments.values())),
    }


def _described(folder: Path, name: str, part: Part) -> dict[str, Any]:
    charts = [f"{name}/{chart}" for chart in part.charts]
    return {
        "name": name,
        "link": f"{quote(os.fsencode(name))}/report.html",
        "folder": shlex.quote(str(folder / name)),
        "recipe": part.recipe,
        "state": part.state,
        "table": part.accuracy,
        "accuracy": next(iter(charts), None),
        "grids": charts[1:],
        "unmapped": part.unmapped,
    }


def _counted(sweeps: int, trainings: int) -> str:
    counts = ((sweeps, "sweep"), (trainings, "training"))
    return " and ".join(f"{number} {name}{'s' * (number != 1)}" for number, name in counts if number)
