"""Put a sweep's tables and figures together into one page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from airjax.report.page import fill_template
from airjax.report.survey import Survey, SurveyedSetting, SurveyedTestSet
from airjax.report.tables import (
    accuracy_table,
    common_fields,
    contrast_table,
    environment_tables,
    failure_table,
    pair_title,
    speedup_tables,
    swept_table,
    together_table,
)
from airjax.stats.contrasts import Contrast, compare_settings

TEMPLATE = Path(__file__).with_name("report.html")
SIGNIFICANCE = 0.05


class Page(NamedTuple):
    """A page as text, and the figures in it as PNG files by name."""

    text: str
    files: dict[str, bytes]


def render_page(survey: Survey) -> Page:
    """Render the page of a survey, and its figures."""
    import matplotlib as mpl

    from airjax.report.drawing import STYLE, embed_figure, render_figure
    from airjax.report.figures import draw_figures

    with mpl.rc_context(STYLE):
        drawn = draw_figures(survey)
    sources = {name: embed_figure(figure) for name, figure in drawn.items()}
    text = fill_template(TEMPLATE, _values(survey, sources))
    return Page(text, {name: render_figure(figure, "png") for name, figure in drawn.items()})


def _values(survey: Survey, sources: dict[str, str]) -> dict[str, Any]:
    plan, settings = survey.plan_json, survey.settings
    contrasts = compare_settings([s.accuracies for s in settings], [s.test for s in settings])
    number = len(plan["settings"])
    verdict = "complete" if survey.done == plan["num_runs"] else "incomplete"
    hidden = sum(setting.details is None for setting in settings)
    return {
        "title": f"Sweep of {plan['recipe']}: {number:,} setting{'s' * (number != 1)}",
        "verdict": "failed" if survey.diverged or survey.failed else verdict,
        "headline": survey.state,
        "sentence": _sentence(contrasts, settings),
        "common": common_fields(settings),
        "shown": len(settings) - hidden,
        "hidden": hidden,
        "tables": {
            "swept": swept_table(survey),
            "failed": failure_table(survey),
            "accuracy": accuracy_table(settings),
            "differences": contrast_table(contrasts, settings) if contrasts else None,
            "speedups": speedup_tables(settings),
            "together": together_table(settings),
            "environments": environment_tables(survey.environments),
        },
        "figures": {name: sources.get(name) for name in ("accuracy", "curves")},
        "tests": [_test_images(test, sources) for test in survey.tests],
    }


def _test_images(test: SurveyedTestSet, sources: dict[str, str]) -> dict[str, Any]:
    ending = f"-{test.name}"
    mine = {name.removesuffix(ending): source for name, source in sources.items() if name.endswith(ending)}
    missing = test.missing or ("" if mine else f"None of the settings in the figures is tested on {test.name}")
    return {"name": f"{test.data}, {test.examples:,}", "missing": missing, "figures": mine}


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
