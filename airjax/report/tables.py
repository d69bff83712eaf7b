"""The tables of a sweep's report, as HTML."""

import json
import math
from collections.abc import Sequence
from typing import Any

from airjax.report.page import format_p, format_table
from airjax.report.summary import Estimate
from airjax.report.survey import Setting, Survey
from airjax.stats.contrasts import Contrast, find_speedups

LISTED = 20  # failed networks
COUNTABLE = 1_000_000  # runs; of more than that only the fact is said
FLIPS = {"random", "alternating"}


def swept_table(survey: Survey) -> str:
    """What the sweep was to train, and how far it got."""
    plan = survey.plan
    rows = [
        ["recipe", plan["recipe"]],
        ["test images", "; ".join(f"{test.data}, {test.examples:,}{_split(plan, test.data)}" for test in survey.tests)],
        *([f"content of {name}", source["content"]] for name, source in plan.get("data", {}).items()),
        ["settings", f"{len(plan['settings']):,}"],
        ["seeds", _numbers(plan.get("seeds", []))],
        ["subsets of the training examples", _subsets(plan.get("subsets"))],
        ["networks", survey.state],
    ]
    if survey.unfinished:
        rows.append(["without a finished network", "; ".join(survey.unfinished)])
    if survey.conflicts:
        rows.append(["trained twice, with different results", ", ".join(survey.conflicts)])
    return format_table(["", ""], rows)


def _split(plan: dict[str, Any], data: str) -> str:
    return " validation images" if plan.get("data", {}).get(data, {}).get("split") == "validation" else ""


def failure_table(survey: Survey) -> str:
    """The networks that failed, none where all went well."""
    if not survey.failed:
        return ""
    rows = [[record["id"], record["error"]] for record in survey.failed[:LISTED]]
    if len(survey.failed) > LISTED:
        rows.append([f"and {len(survey.failed) - LISTED:,} more", ""])
    return format_table(["network", "error"], rows)


def accuracy_table(settings: Sequence[Setting]) -> str:
    """Mean, spread and cost of each setting."""
    heads = ["setting", "n", "diverged", "mean, % (95%)", "standard deviation (95%)", "range, %", "seconds"]
    rows = []
    for setting in settings:
        s = setting.summary
        spread = f"{s.lowest:.2f} to {s.highest:.2f}"
        seconds = "" if s.seconds is None else f"{s.seconds:.1f}"
        rows.append([setting.title, s.networks, s.diverged, _number(s.mean, 2), _number(s.sd, 3), spread, seconds])
    return format_table(heads, rows)


def together_table(settings: Sequence[Setting]) -> str:
    """What only many networks of a setting show."""
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
    return format_table(heads, rows)


def contrast_table(contrasts: Sequence[Contrast], settings: Sequence[Setting]) -> str:
    """The settings against each other."""
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
    return format_table(["", "difference, points (95%)", "p", "p, adjusted", "networks of each to resolve it"], rows)


def speedup_tables(settings: Sequence[Setting]) -> str:
    """Alternating against random flip, for every ladder of epochs; none where there is no such ladder."""
    known = [
        (setting.recipe | {"test": setting.test}, 100 - setting.summary.mean.value)
        for setting in settings
        if setting.recipe is not None and setting.recipe["flip"] in FLIPS
    ]
    tables = []
    for ladder in find_speedups([recipe for recipe, _ in known], [error for _, error in known]):
        rows = [
            [
                f"{step.epochs:g}",
                f"{step.random_error:.3f}",
                f"{step.alternating_error:.3f}",
                f"{100 * step.speedup:+.1f}%" if math.isfinite(step.speedup) else "random flip never gets there",
            ]
            for step in ladder
        ]
        heads = ["epochs", "error with random flip, %", "with alternating flip, %", "effective speedup"]
        tables.append(format_table(heads, rows))
    return "".join(tables)


def environment_tables(environments: Sequence[dict[str, Any]]) -> list[str]:
    """Where the networks were trained: one table for each environment."""
    return [
        format_table(
            ["", ""],
            [
                ["known answers", one["environment"]],
                ["device", one["device"]],
                ["commit", one["commit"] or "not from a checkout"],
                *([name, version or "not installed"] for name, version in one["versions"].items()),
            ],
        )
        for one in environments
    ]


def common_fields(settings: Sequence[Setting]) -> str:
    """The fields of the recipe that all settings have in common, as JSON; empty where the plan does not say."""
    recipes = [setting.recipe for setting in settings if setting.recipe is not None]
    if not recipes:
        return ""
    return json.dumps({name: value for name, value in recipes[0].items() if all(one[name] == value for one in recipes)})


def pair_title(contrast: Contrast, settings: Sequence[Setting]) -> str:
    """What is compared with what."""
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
