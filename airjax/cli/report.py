"""The report of a sweep: python -m airjax.report DIR writes one HTML page, and its figures as PNG files beside it."""

import argparse
import sys
from pathlib import Path

from airjax.cli.console import describe_os_error
from airjax.data import DataError
from airjax.report.render import render_page
from airjax.report.survey import SurveyError, read_survey
from airjax.sweep.store import ResultsError
from airjax.utils.extras import MissingExtraError, import_extra
from airjax.utils.records import write_atomically

EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2
NEEDED = ("matplotlib", "jinja2", "statsmodels")


class ReportError(ValueError):
    """A report that cannot be written; the message names the remedy."""


def main(arguments: list[str] | None = None, prog: str = "python -m airjax.report") -> int:
    """Run the command line and return its exit code: 0 written, 1 the disk failed, 2 bad usage or input."""
    options = make_parser(prog).parse_args(arguments)
    try:
        file = write_report(options.sweep, options.out, options.data_dir, mixed=options.mixed)
    except (ReportError, SurveyError, ResultsError, DataError, MissingExtraError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except OSError as error:
        print(f"error: {describe_os_error(error)}", file=sys.stderr)
        return EXIT_FAILED
    print(f"wrote {file}")
    return EXIT_OK


def write_report(sweep: Path, out: Path | None = None, data_dir: Path | None = None, *, mixed: bool = False) -> Path:
    """Write the report of a sweep's folder and return the page.

    Args:
        sweep: what `python -m airjax.sweep --out` wrote.
        out: folder of the page and its figures; the default is "report" in the sweep's folder.
        data_dir: where the data set lies, for labels and pictures.
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


def make_parser(prog: str) -> argparse.ArgumentParser:
    """Make the parser of the command's arguments."""
    parser = argparse.ArgumentParser(prog, description="A sweep as one HTML page with figures.")
    parser.add_argument("sweep", type=Path, metavar="DIR", help="what a sweep wrote to its --out DIR")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="of the page and its figures; default: DIR/report")
    parser.add_argument(
        "--data-dir", type=Path, help="where the data set lies; default: where the sweep found it, or the cache"
    )
    parser.add_argument("--mixed", action="store_true", help="pool networks of different versions or devices")
    return parser
