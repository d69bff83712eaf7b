"""The report of a sweep: python -m airjax.report DIR writes one HTML page, and its figures as PNG files beside it."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from airjax.data import DataError
from airjax.report.page import STYLE_SHEET
from airjax.report.survey import HeldOut, Setting, Survey, SurveyError, read_survey
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
from airjax.sweep.store import ResultsError
from airjax.utils.extras import MissingExtraError, import_extra
from airjax.utils.records import write_atomically

EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2
PAGE = STYLE_SHEET.with_name("report.html")
SIGNIFICANCE = 0.05
NEEDED = ("matplotlib", "jinja2")


class ReportError(ValueError):
    """A report that cannot be written; the message names the remedy."""


class Page(NamedTuple):
    """A page as text, and the figures in it as PNG files by name."""

    text: str
    files: dict[str, bytes]


def main(arguments: list[str] | None = None, prog: str = "python -m airjax.report") -> int:
    """Run the command line and return its exit code: 0 written, 1 the disk failed, 2 bad usage or input."""
    options = make_parser(prog).parse_args(arguments)
    try:
        file = write_report(options.sweep, options.out, options.data_dir, mixed=options.mixed)
    except (ReportError, SurveyError, ResultsError, DataError, MissingExtraError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except OSError as error:
        print(f"error: {error.filename or 'input/output'}: {error.strerror or error}", file=sys.stderr)
        return EXIT_FAILED
    print(f"wrote {file}")
    return EXIT_OK


def write_report(sweep: Path, out: Path | None = None, data_dir: Path | None = None, *, mixed: bool = False) -> Path:
    """Write the report of a sweep's folder and return the page.

    Args:
        sweep: what `python -m airjax.sweep --out` wrote.
        out: folder of the page and its figures; the default is "report" in the sweep's folder.
        data_dir: where CIFAR-10 lies, for labels and pictures.
        mixed: pool networks of different environments.

    Raises ReportError, SurveyError, ResultsError, DataError, MissingExtraError.
    """
    for package in NEEDED:
        import_extra(package, "report", "a report")
    survey = read_survey(sweep, data_dir, mixed=mixed)
    out = sweep / "report" if out is None else out
    try:
        # Before the page is drawn, which takes longer.
        out.mkdir(parents=True, exist_ok=True)
        page = render_page(survey)
        for name, content in page.files.items():
            write_atomically(out / f"{name}.png", content)
        write_atomically(out / "report.html", page.text.encode())
    except OSError as error:
        raise ReportError(f"cannot write to --out {out}: {error.strerror}") from error
    return out / "report.html"


def render_page(survey: Survey) -> Page:
    """The page of a survey, and its figures."""
    import jinja2
    import matplotlib as mpl

    from airjax.report.drawing import STYLE, embed_figure, render_figure
    from airjax.report.figures import draw_figures

    with mpl.rc_context(STYLE):
        drawn = draw_figures(survey)
    sources = {name: embed_figure(figure) for name, figure in drawn.items()}
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(PAGE.read_text())
    text = template.render(_values(survey, sources))
    return Page(text, {name: render_figure(figure, "png") for name, figure in drawn.items()})


def _values(survey: Survey, sources: dict[str, str]) -> dict[str, Any]:
    plan, settings = survey.plan, survey.settings
    contrasts = compare_settings([s.accuracies for s in settings], [s.test for s in settings])
    number = len(plan["settings"])
    verdict = "complete" if survey.done == plan["num_runs"] else "incomplete"
    hidden = sum(setting.details is None for setting in settings)
    return {
        "style": STYLE_SHEET.read_text(),
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
            "differences": contrast_table(contrasts, settings) if contrasts else "",
            "speedups": speedup_tables(settings),
            "together": together_table(settings),
            "environments": environment_tables(survey.environments),
        },
        "figures": {name: sources.get(name) for name in ("accuracy", "curves")},
        "tests": [_test_images(test, sources) for test in survey.tests],
    }


def _test_images(test: HeldOut, sources: dict[str, str]) -> dict[str, Any]:
    ending = f"-{test.name}"
    mine = {name.removesuffix(ending): source for name, source in sources.items() if name.endswith(ending)}
    missing = test.missing or ("" if mine else f"None of the settings in the figures is tested on {test.name}")
    return {"name": f"{test.data}, {test.examples:,}", "missing": missing, "figures": mine}


def _sentence(contrasts: Sequence[Contrast], settings: Sequence[Setting]) -> str:
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


def make_parser(prog: str) -> argparse.ArgumentParser:
    """The parser of the command's arguments."""
    parser = argparse.ArgumentParser(prog, description="A sweep as one HTML page with figures.")
    parser.add_argument("sweep", type=Path, metavar="DIR", help="what a sweep wrote to its --out DIR")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="of the page and its figures; default: DIR/report")
    parser.add_argument(
        "--data-dir", type=Path, help="where CIFAR-10 lies; default: where the sweep found it, or the cache"
    )
    parser.add_argument("--mixed", action="store_true", help="pool networks of different versions or devices")
    return parser
