"""Put a sweep's tables and figures together into one page."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from airjax.recipes.recipe import Recipe
from airjax.report.augmented import augmented_strip
from airjax.report.charts import Spec
from airjax.report.figures import draw_accuracies, draw_costs, draw_curve, has_bands
from airjax.report.figures_classes import (
    describe_classes,
    draw_classes,
    draw_confusion,
    draw_difficulty,
    draw_reliability,
)
from airjax.report.figures_grid import draw_dependences, pairs_left_out
from airjax.report.networks import read_filters
from airjax.report.page import Page, fill_page
from airjax.report.pictures import Picture, confident_mistakes, filter_pictures, hardest_pictures
from airjax.report.probabilities import BINS
from airjax.report.survey import Survey, SurveyedSetting, SurveyedTestSet
from airjax.report.tables import (
    accuracy_table,
    common_fields,
    contrast_table,
    environment_tables,
    failure_table,
    pair_title,
    pairs_table,
    speedup_tables,
    swept_table,
    together_table,
)
from airjax.stats.contrasts import Contrast, compare_settings
from airjax.stats.variance import reliability
from airjax.utils.units import format_seconds

SIGNIFICANCE = 0.05


def render_survey(survey: Survey) -> Page:
    """Render the page of a sweep."""
    charts = draw_survey(survey)
    return fill_page("report.html", _values(survey, list(charts)), charts)


def rank(settings: Sequence[SurveyedSetting]) -> list[SurveyedSetting]:
    """Order settings by their mean accuracy, the best first."""
    return sorted(settings, key=lambda setting: -setting.summary.mean.value)


def draw_survey(survey: Survey) -> dict[str, Spec]:
    """Draw all figures of a survey, by name; those of a test set carry its name."""
    known = {setting.title: setting for setting in rank(survey.settings)}
    details = {title: setting.details for title, setting in known.items() if setting.details is not None}
    drawn = {"accuracy": draw_accuracies(list(details), [one.accuracies for one in details.values()])}
    drawn |= draw_dependences([s.fields for s in survey.settings], [s.accuracies for s in survey.settings])
    curves = {title: one.curves for title, one in details.items() if one.curves is not None}
    if curves:
        columns = [[one[:, :, column] for one in curves.values()] for column in (0, 1)]
        drawn["loss"] = draw_curve(list(curves), columns[0], "training loss", ".3f")
        drawn["training"] = draw_curve(list(curves), columns[1], "training accuracy, %")
    timed = [s for s in survey.settings if s.summary.seconds is not None]
    if len(timed) > 2:
        seconds = [s.summary.seconds or 0.0 for s in timed]
        drawn["cost"] = draw_costs([s.title for s in timed], [s.summary.mean.value for s in timed], seconds)
    for number, test in enumerate(survey.tests):
        drawn |= _draw_test(test, [title for title in details if known[title].test == number], survey)
    return drawn


def _draw_test(test: SurveyedTestSet, titles: list[str], survey: Survey) -> dict[str, Spec]:
    details = {s.title: s.details for s in rank(survey.settings) if s.title in titles and s.details is not None}
    if test.dataset is None or not details:
        return {}
    votes = [one.votes for one in details.values()]
    by_class = [one.class_accuracies for one in details.values() if one.class_accuracies is not None]
    labels, classes = test.dataset.test_labels, test.dataset.classes
    found = [reliability(one, labels, BINS) for one in votes]
    return {
        f"classes-{test.name}": draw_classes(titles, by_class, classes),
        f"confusion-{test.name}": draw_confusion(np.sum(votes, 0), labels, classes),
        f"reliability-{test.name}": draw_reliability(titles, found, "networks that vote for the class, %"),
        f"difficulty-{test.name}": draw_difficulty(titles, votes, labels),
    }


def _values(survey: Survey, drawn: Sequence[str]) -> dict[str, Any]:
    plan, settings = survey.plan_json, survey.settings
    contrasts = compare_settings([s.accuracies for s in settings], [s.test for s in settings])
    number = len(plan["settings"])
    verdict = "complete" if survey.done == plan["num_runs"] else "incomplete"
    hidden = sum(setting.details is None for setting in settings)
    ranked = rank(settings)
    return {
        "title": f"Sweep of {plan['recipe']}: {number:,} setting{'s' * (number != 1)}",
        "verdict": "failed" if survey.diverged or survey.failed else verdict,
        "headline": _headline(ranked),
        "sentence": f"{survey.state}. {_sentence(contrasts, settings)}",
        "facts": _facts(survey, ranked[0]),
        "common": common_fields(settings),
        "shown": len(settings) - hidden,
        "hidden": hidden,
        "several": any(len(setting.accuracies) > 1 for setting in settings),
        "banded": has_bands([s.details.curves for s in ranked if s.details and s.details.curves is not None]),
        "tables": {
            "swept": swept_table(survey),
            "failed": failure_table(survey),
            "accuracy": accuracy_table(ranked),
            "differences": contrast_table(contrasts, settings) if contrasts else None,
            "speedups": speedup_tables(settings),
            "together": together_table(ranked),
            "environments": environment_tables(survey.environments),
        },
        **_first_layers(survey, ranked[0]),
        "grids": [name for name in drawn if name.startswith("grid-")],
        "unmapped": pairs_left_out([setting.fields for setting in settings]),
        "tests": [_test_images(index, test, survey, drawn) for index, test in enumerate(survey.tests)],
    }


def _first_layers(survey: Survey, best: SurveyedSetting) -> dict[str, Any]:
    # What the best setting's networks are shown, and what their first convolution makes of it.
    kernel = None if best.network is None else read_filters(best.network)
    dataset, recipe = survey.tests[best.test].dataset, recipe_of(survey, best)
    seed, strip = next(iter(survey.plan_json.get("seeds", [])), 0), None
    whole = survey.plan_json.get("subsets") is None  # of a subset the first examples are others
    if dataset is not None and recipe is not None and whole and len(dataset.train_images) >= recipe.train_examples:
        strip = augmented_strip(recipe, dataset, seed)
    filters = [] if kernel is None else filter_pictures(kernel)
    return {"filters": filters, "strip": strip, "seed": seed, "best": best.title}


def recipe_of(survey: Survey, setting: SurveyedSetting) -> Recipe | None:
    """Return the recipe of a setting; None where the plan does not say, or another version wrote it."""
    plan = survey.plan_json
    for fields, stored in zip(plan["settings"].values(), plan.get("recipes", []), strict=False):
        if fields == setting.fields:
            try:
                return Recipe.from_dict(stored)
            except ValueError:
                return None
    return None


def _headline(ranked: Sequence[SurveyedSetting]) -> str:
    best = ranked[0].summary
    text = f"Accuracy {best.mean.value:.2f}%"
    if best.mean.interval is not None:
        low, high = best.mean.interval
        text += f" (95% interval {low:.2f} to {high:.2f}%, n = {best.networks})"
    return text if len(ranked) == 1 else f"{text} with {ranked[0].title}, the best of {len(ranked):,} settings"


def _facts(survey: Survey, best: SurveyedSetting) -> list[tuple[str, str]]:
    summaries = [setting.summary for setting in survey.settings]
    total = sum((one.seconds or 0.0) * one.networks for one in summaries)
    devices = dict.fromkeys(str(one["device"]) for one in survey.environments)
    facts = [("networks", f"{survey.done:,} of {survey.plan_json['num_runs']:,}")]
    if best.summary.sd is not None:
        facts.append(("standard deviation of the best", f"{best.summary.sd.value:.2f} points"))
    if total:
        facts.append(("time of all networks", format_seconds(total)))
    return [*facts, ("recipe", str(survey.plan_json["recipe"])), ("device", ", ".join(devices))]


def _test_images(index: int, test: SurveyedTestSet, survey: Survey, drawn: Sequence[str]) -> dict[str, Any]:
    mine = [s for s in survey.settings if s.test == index and s.details is not None]
    missing = test.missing
    if not missing and f"classes-{test.name}" not in drawn:
        missing = f"None of the settings in the figures is tested on {test.name}"
    values: dict[str, Any] = {"name": test.name, "title": f"{test.data}, {test.examples:,}", "missing": missing}
    values |= {"hardest": [], "mistakes": [], "pairs": None, "best": "", "of_classes": ""}
    if missing or test.dataset is None:
        return values
    dataset, details = test.dataset, [s.details for s in mine if s.details is not None]
    pooled = np.sum([one.votes for one in details], 0)
    images, labels, classes = dataset.test_images, dataset.test_labels, dataset.classes
    best = max(mine, key=lambda setting: setting.summary.mean.value)
    mistakes: list[Picture] = []
    if best.details is not None and best.details.probabilities is not None:
        mistakes = confident_mistakes(best.details.probabilities, images, labels, classes)
    return values | {
        "hardest": hardest_pictures(pooled, images, labels, classes),
        "mistakes": mistakes,
        "best": best.title,
        "pairs": pairs_table(pooled, labels, classes),
        "of_classes": describe_classes(len(classes)),
    }


def _sentence(contrasts: Sequence[Contrast], settings: Sequence[SurveyedSetting]) -> str:
    if not contrasts:
        return "There are no two settings to compare."
    found = [contrast for contrast in contrasts if contrast.p < SIGNIFICANCE]
    if not found:
        return "No two settings are shown to differ in mean accuracy by more than chance explains."
    largest = max(found, key=lambda contrast: abs(contrast.welch.difference))
    return (
        f"{len(found)} of {len(contrasts)} differences of mean accuracy are more than chance explains, the largest "
        f"{largest.welch.difference:+.2f} points ({pair_title(largest, settings)})."
    )
