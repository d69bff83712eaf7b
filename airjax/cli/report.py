"""The page of a folder: airjax report DIR writes one HTML page, and its figures as PNG files beside it."""

import argparse
import contextlib
import sys
from pathlib import Path

from airjax.cli.console import describe_os_error
from airjax.data import DataError
from airjax.report.folders import kind_of_folder, part_folders, render_folder
from airjax.report.page import Page
from airjax.report.survey import SurveyError
from airjax.sweep.store import ResultsError
from airjax.utils.extras import MissingExtraError, import_extra
from airjax.utils.records import require_writable, write_atomically

EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2
NEEDED = ("vl_convert", "jinja2", "statsmodels")
ERRORS = (SurveyError, ResultsError, DataError, MissingExtraError)  # of a page that cannot be made


class ReportError(ValueError):
    """A report that cannot be written; the message names the remedy."""


def main(arguments: list[str] | None = None, prog: str = "python -m airjax.report") -> int:
    """Run the command line and return its exit code: 0 written, 1 the disk failed, 2 bad usage or input."""
    options = make_parser(prog).parse_args(arguments)
    try:
        file = write_report(options.folder, options.out, options.data_dir, mixed=options.mixed)
    except (ReportError, *ERRORS) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except OSError as error:
        print(f"error: {describe_os_error(error)}", file=sys.stderr)
        return EXIT_FAILED
    print(f"wrote {file}")
    return EXIT_OK


def write_report(folder: Path, out: Path | None = None, data_dir: Path | None = None, *, mixed: bool = False) -> Path:
    """Write the report of a folder, and of every sweep and training in a folder of several, and return the page.

    Args:
        folder: what `airjax train`, `airjax sweep` or `airjax experiments` wrote to its --out.
        out: folder of the page and its figures; the default is "report" in the folder.
        data_dir: where the data set lies, for labels and pictures.
        mixed: pool a sweep's networks of different environments.

    Raises SurveyError, ResultsError, DataError, MissingExtraError, ReportError for an out that is no folder to write
    to, and OSError where the disk fails.
    """
    require_packages()
    kind = kind_of_folder(folder)
    out = folder / "report" if out is None else out
    require_writable(out, "--out", ReportError)
    _write_page(render_folder(folder, data_dir, mixed=mixed, linked=True), out)
    if kind == "several":
        for part in part_folders(folder):
            with contextlib.suppress(SurveyError, ResultsError):  # of one without a network, which is named there
                _write_page(render_folder(part, data_dir, mixed=mixed), out / part.relative_to(folder))
    return out / "report.html"


def _write_page(page: Page, out: Path) -> None:
    # Before the figures are rendered, which takes longer. Those of several sweeps are in folders of their names.
    for folder in {out, *((out / name).parent for name in page.charts)}:
        folder.mkdir(parents=True, exist_ok=True)
    for name, content in page.files().items():
        write_atomically(out / f"{name}.png", content)
    write_atomically(out / "report.html", page.text.encode())


def require_packages() -> None:
    """Import what a page needs. Raises MissingExtraError for a package that is missing, which names its extra."""
    for package in NEEDED:
        import_extra(package, "report", "a report")


def make_parser(prog: str) -> argparse.ArgumentParser:
    """Make the parser of the command's arguments."""
    parser = argparse.ArgumentParser(prog, description="Networks, a sweep or an experiment as one HTML page.")
    add_folder(parser)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="of the page and its figures; default: DIR/report")
    return parser


def add_folder(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say what a page is about."""
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="what a training, a sweep or an experiment wrote to its --out DIR"
    )
    parser.add_argument(
        "--data-dir", type=Path, help="where the data set lies; default: where it was found before, or the cache"
    )
    parser.add_argument("--mixed", action="store_true", help="pool a sweep's networks of different versions or devices")
