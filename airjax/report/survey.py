"""Read a sweep's folder and sum it up: its settings, their test sets, what failed."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from airjax.data import DataError, Dataset
from airjax.data.registry import find_entry
from airjax.report.summary import Details, Summary, summarize
from airjax.sweep.find_data import find_data
from airjax.sweep.plan import title
from airjax.sweep.store import Results, load, read_plan, recipes_by_setting
from airjax.utils.records import read_lines

SHOWN = 12  # settings in the figures: more lines are not told apart


class SurveyError(ValueError):
    """A sweep that there is nothing to say about, or that cannot be read as it is; the message names the remedy."""


class SurveyedTestSet(NamedTuple):
    """The test images that some settings share, if they are available."""

    data: str
    examples: int  # how many, from the first on
    dataset: Dataset | None  # its test split is those; the training examples are whole
    missing: str  # why it is unavailable

    @property
    def name(self) -> str:
        """A name that no other test set of a sweep has, and that a file can have."""
        data = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in self.data)
        return f"{data}-{self.examples}"


class SurveyedSetting(NamedTuple):
    """One setting that has finished networks."""

    title: str  # what sets it apart from the others, in a few words
    fields: dict[str, Any]  # that the plan sets, with their values
    test: int  # index into the survey's tests
    recipe: dict[str, Any] | None  # all fields, of its parts, too; None where the plan does not say
    accuracies: np.ndarray  # [R], in percent
    summary: Summary
    details: Details | None  # of those that figures show
    network: Path | None  # the file of one of its networks, where they were kept


class Survey(NamedTuple):
    """Everything that a report says."""

    plan_json: dict[str, Any]  # content of the sweep's plan.json
    settings: list[SurveyedSetting]
    unfinished: list[str]  # titles of the settings without a finished network
    tests: list[SurveyedTestSet]
    failed: list[dict[str, Any]]  # records
    conflicts: list[str]  # networks that were trained twice, with different results
    environments: list[dict[str, Any]]

    @property
    def done(self) -> int:
        """Count the finished networks, the diverged ones among them."""
        return sum(setting.summary.networks for setting in self.settings)

    @property
    def diverged(self) -> int:
        """Count the networks that finished with a loss that is not finite."""
        return sum(setting.summary.diverged for setting in self.settings)

    @property
    def state(self) -> str:
        """Say how far the sweep has got."""
        planned = self.plan_json["num_runs"]
        return f"{self.done:,} of {planned:,} networks, {len(self.failed):,} failed, {self.diverged:,} diverged"


def read_survey(folder: Path, data_dir: Path | None = None, *, mixed: bool = False) -> Survey:
    """Read a sweep.

    Args:
        folder: what `python -m airjax.sweep --out` wrote.
        data_dir: where CIFAR-10 lies. A place that is named has to hold what the networks were trained on. Without one
            it is looked for where the sweep found it and in the cache, and labels may be missing.
        mixed: pool networks of different environments.

    Raises SurveyError, ResultsError, DataError.
    """
    plan, results = read_plan(folder), load(folder, mixed=True)
    finished = results.only(error=None)
    if not finished.rows:
        raise SurveyError(f"no network in {folder} is finished; python -m airjax.sweep status {folder} says more")
    environments = sorted({row["environment"] for row in finished.rows})
    if len(environments) > 1 and not mixed:
        raise SurveyError(
            f"{folder} holds networks of {len(environments)} environments ({', '.join(environments)}; see "
            "environments.jsonl), which may differ for that reason alone; --mixed pools them"
        )
    described = plan["settings"] | {row["setting"]: row["changes"] | {"data": row["data"]} for row in finished.rows}
    titles = dict(zip(described, short_titles(list(described.values())), strict=True))
    recipes = recipes_by_setting(folder)
    by_setting = {name: finished.only(setting=name) for name in described}
    # The best of them are in the figures.
    means = {name: np.mean([row["accuracy"] for row in mine.rows]) for name, mine in by_setting.items() if mine.rows}
    best = sorted(means, key=lambda name: -means[name])[:SHOWN]
    tests: dict[tuple[str, int], SurveyedTestSet] = {}
    settings: list[SurveyedSetting] = []
    for name, mine in by_setting.items():
        if mine.rows:
            key = (mine.rows[0]["data"], mine.rows[0]["examples"])
            if key not in tests:
                tests[key] = _load_test(*key, mine, plan.get("data", {}).get(key[0]), data_dir)
            settings.append(
                _survey_setting(
                    titles[name],
                    described[name],
                    mine,
                    list(tests).index(key),
                    tests[key].dataset,
                    recipes.get(name),
                    in_full=name in best,
                )
            )
    return Survey(
        plan,
        settings,
        [titles[name] for name, mine in by_setting.items() if not mine.rows],
        list(tests.values()),
        [row for row in results.rows if row["error"]],
        [conflict.id for conflict in results.conflicts],
        [_environment(folder, name) for name in environments],
    )


def _survey_setting(
    title: str,
    fields: dict[str, Any],
    mine: Results,
    test_index: int,
    dataset: Dataset | None,
    recipe: dict[str, Any] | None,
    *,
    in_full: bool,
) -> SurveyedSetting:
    if dataset is None:
        summary, details = summarize(mine, None)
    else:
        summary, details = summarize(mine, dataset.test_labels, len(dataset.classes))
    kept = (Path(row["folder"]) / "networks" / f"{row['id']}.safetensors" for row in mine.rows)
    network = next((file for file in kept if file.exists()), None)
    shown = details if in_full else None
    return SurveyedSetting(title, fields, test_index, recipe, details.accuracies, summary, shown, network)


def short_titles(described: list[dict[str, Any]]) -> list[str]:
    """Name each setting by what is not the same in all of them."""
    names = list(dict.fromkeys(name for one in described for name in one))
    # As text, since a field that a setting leaves alone is no value.
    differing = [name for name in names if len({str(one.get(name, "")) for one in described}) > 1]
    return [title({name: one[name] for name in differing if name in one}) or "as it is" for one in described]


def _load_test(
    name: Any, examples: int, results: Results, source: dict[str, Any] | None, data_dir: Path | None
) -> SurveyedTestSet:
    try:
        dataset = find_data(name, source, data_dir)
        dataset = dataset.head(len(dataset.train_images), examples)
    except DataError as error:
        if data_dir is not None and (entry := find_entry(name)) is not None and entry.has_files:
            raise
        return SurveyedTestSet(name, examples, None, str(error))
    # Labels of other images would make numbers that look like any others.
    sound = results.only(diverged=False)
    first = sound._replace(rows=sound.rows[:1])
    for row, predicted in zip(first.rows, first.array("predictions"), strict=True):
        labels = dataset.test_labels
        if len(labels) != examples or abs(np.mean(predicted == labels) - row["accuracy"]) > 0.5 / examples:
            return SurveyedTestSet(
                name, examples, None, f"{name} as it is here is not what the networks were tested on"
            )
    return SurveyedTestSet(name, examples, dataset, "")


def _environment(folder: Path, name: str) -> dict[str, Any]:
    known = {"environment": name, "device": "not recorded", "commit": None, "versions": {}}
    for record in read_lines(folder / "environments.jsonl"):
        if record.get("environment") == name:
            known |= record
    return known
