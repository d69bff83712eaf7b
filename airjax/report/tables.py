"""The tables of a sweep's report."""

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from airjax.report.figures_classes import confusion_counts
from airjax.report.page import Table, format_p
from airjax.report.summary import Estimate
from airjax.report.survey import Survey, SurveyedSetting
from airjax.stats.contrasts import Contrast, find_speedups

LISTED = 20  # failed networks
COUNTABLE = 1_000_000  # runs; of more than that only the fact is said
FLIPS = {"random", "alternating"}


def swept_table(survey: Survey) -> Table:
    """Tabulate what the sweep was to train, and how far it got."""
    plan = survey.plan_json
    rows = [
        ["recipe", plan["recipe"]],
        ["test images", "; ".join(f"{test.data}, {test.examples:,}{_split(plan, test.data)}" for test in survey.tests)],
        *([f"content of {name}", source["content"]] for name, source in plan.get("data", {}).items()),
        *([f"labels of {name}", source["labels"]] for name, source in plan.get("data", {}).items() if _other(source)),
        ["settings", f"{len(plan['settings']):,}"],
        ["seeds", _numbers(plan.get("seeds", []))],
        ["subsets of the training examples", _subsets(plan.get("subsets"))],
        ["networks", survey.state],
    ]
    if survey.unfinished:
        rows.append(["without a finished network", "; ".join(survey.unfinished)])
    if survey.conflicts:
        rows.append(["trained twice, with different results", ", ".join(survey.conflicts)])
    return Table(["", ""], rows)


def _other(source: dict[str, Any]) -> bool:
    # Whether other labels take the place of a data set's own.
    return source.get("labels") is not None


def _split(plan: dict[str, Any], data: str) -> str:
    return " validation images" if plan.get("data", {}).get(data, {}).get("split") == "validation" else ""


def failure_table(survey: Survey) -> Table | None:
    """Tabulate the networks that failed; None where none did."""
    if not survey.failed:
        return None
    rows = [[record["id"], record["error"]] for record in survey.failed[:LISTED]]
    if len(survey.failed) > LISTED:
        rows.append([f"and {len(survey.failed) - LISTED:,} more", ""])
    return Table(["network", "error"], rows)


def accuracy_table(settings: Sequence[SurveyedSetting]) -> Table:
    """Tabulate the mean, spread and cost of each setting."""
    heads = ["setting", "n", "diverged", "mean, % (95%)", "standard deviation (95%)", "range, %", "seconds"]
    with_gains = any(setting.summary.gain is not None for setting in settings)
    heads += ["gain of test-time augmentation, points (95%)"] * with_gains
    rows = []
    for setting in settings:
        s = setting.summary
        spread = f"{s.lowest:.2f} to {s.highest:.2f}"
        seconds = "" if s.seconds is None else f"{s.seconds:.1f}"
        numbers = [_number(s.mean, 2), _number(s.sd, 3), spread, seconds, *[_number(s.gain, 2)] * with_gains]
        rows.append([setting.title, s.networks, s.diverged, *numbers])
    return Table(heads, rows)


def together_table(settings: Sequence[SurveyedSetting]) -> Table:
    """Tabulate what only many networks of a setting show."""
    heads = [
        "setting",
        "sd on this test set (95%)",
        "sd on the distribution (95%)",
        "calibration error (95%)",
        "disagreement, % (95%)",
        "ensemble, %",
    ]
    rows = []
    for setting in settings:
        s = setting.summary
        ensemble = "" if s.ensemble is None else f"{s.ensemble:.2f} ({s.ensemble_of})"
        rows.append(
            [
                setting.title,
                _number(s.sd, 3),
                _number(s.distribution_sd, 3),
                _number(s.calibration, 3),
                _number(s.disagreement, 2),
                ensemble,
            ]
        )
    return Table(heads, rows)


def contrast_table(contrasts: Sequence[Contrast], settings: Sequence[SurveyedSetting]) -> Table:
    """Tabulate the settings against each other."""
    rows = []
    for contrast in contrasts:
        low, high = contrast.welch.interval95
        rows.append(
            [
                pair_title(contrast, settings),
                f"{contrast.welch.difference:+.3f} ({low:+.3f} to {high:+.3f})",
                format_p(contrast.welch.p),
                format_p(contrast.p),
                _runs(contrast),
            ]
        )
    return Table(["", "difference, points (95%)", "p", "p, adjusted", "networks of each to resolve it"], rows)


def pairs_table(votes: np.ndarray, labels: np.ndarray, classes: Sequence[str], count: int = 10) -> Table:
    """Tabulate the pairs of classes that the votes [M,K] confuse most, of the images with labels [M]."""
    matrix = confusion_counts(votes, labels)
    wrong = matrix * (1 - np.eye(len(matrix)))
    total, of_class = max(1.0, wrong.sum()), np.maximum(1, matrix.sum(1))
    rows = []
    for place in np.argsort(-wrong, axis=None, kind="stable")[:count]:
        i, j = divmod(int(place), len(matrix))
        if wrong[i, j] > 0:
            fractions = (f"{100 * wrong[i, j] / of_class[i]:.2f}", f"{100 * wrong[i, j] / total:.1f}")
            rows.append([classes[i], classes[j], *fractions])
    return Table(["true class", "seen as", "of the class, %", "of all mistakes, %"], rows)


def speedup_tables(settings: Sequence[SurveyedSetting]) -> list[Table]:
    """Tabulate alternating against random flip, for settings that differ in epochs and flip alone."""
    known = [
        (setting.recipe | {"test": setting.test}, 100 - setting.summary.mean.value)
        for setting in settings
        if setting.recipe is not None and setting.recipe["flip"] in FLIPS
    ]
    tables = []
    for group in find_speedups([recipe for recipe, _ in known], [error for _, error in known]):
        rows = [
            [
                f"{step.epochs:g}",
                f"{step.random_error:.3f}",
                f"{step.alternating_error:.3f}",
                f"{100 * step.speedup:+.1f}%" if math.isfinite(step.speedup) else "random flip never gets there",
            ]
            for step in group
        ]
        heads = ["epochs", "error with random flip, %", "with alternating flip, %", "effective speedup"]
        tables.append(Table(heads, rows))
    return tables


def environment_tables(environments: Sequence[dict[str, Any]]) -> list[Table]:
    """Tabulate where the networks were trained: one table for each environment."""
    return [
        Table(
            ["", ""],
            [
                ["self-check", one["environment"]],
                ["device", one["device"]],
                ["commit", one["commit"] or "not from a checkout"],
                *([name, version or "not installed"] for name, version in one["versions"].items()),
            ],
        )
        for one in environments
    ]


def common_fields(settings: Sequence[SurveyedSetting]) -> str:
    """Write the fields of the recipe that all settings share as JSON; empty where the plan does not say."""
    recipes = [setting.recipe for setting in settings if setting.recipe is not None]
    if not recipes:
        return ""
    first, *others = recipes
    shared = {name: value for name, value in first.items() if all(one.get(name, ...) == value for one in others)}
    return json.dumps(shared)


def pair_title(contrast: Contrast, settings: Sequence[SurveyedSetting]) -> str:
    """Say which setting is compared with which."""
    return f"{settings[contrast.second].title} minus {settings[contrast.first].title}"


def _number(estimate: Estimate | None, digits: int) -> str:
    if estimate is None:
        return ""
    if estimate.interval is None:
        return f"{estimate.value:.{digits}f}"
    low, high = estimate.interval
    return f"{estimate.value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _runs(contrast: Contrast) -> str:
    if contrast.runs_needed is None:
        return "no difference to resolve"
    if contrast.runs_needed > COUNTABLE:
        return f"more than {COUNTABLE:,}"
    return f"{contrast.runs_needed:,}" + (f", {contrast.runs_missing:,} more" if contrast.runs_missing else "")


def _subsets(subsets: dict[str, Any] | None) -> str:
    return "none" if subsets is None else f"{subsets['count']:,}, each {100 * subsets['fraction']:g}% of them"


def _numbers(values: Sequence[int]) -> str:
    if len(values) > 1 and (
        isinstance(values, range) or list(values) == list(range(values[0], values[0] + len(values)))
    ):
        return f"{values[0]} to {values[-1]}"
    return ", ".join(map(str, values))
