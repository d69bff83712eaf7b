"""How every report becomes text: tables as values, for HTML by one macro and for Markdown by one function."""

from pathlib import Path
from typing import Any, NamedTuple

from airjax.report.charts import Spec, dump_spec, entry_width, library_script, render_png, theme

HERE = Path(__file__).parent
STYLE_SHEET = HERE / "page.css"  # what every report looks like
SCRIPT = HERE / "charts.js"  # draws the figures of a page that has some


class Table(NamedTuple):
    """A table of any values; without a head where all heads are empty."""

    heads: list[str]
    rows: list[list[Any]]


class Page(NamedTuple):
    """A page as text, and the figures in it, by name."""

    text: str
    charts: dict[str, Spec]

    def files(self) -> dict[str, bytes]:
        """Render the figures as PNG files, by name."""
        return {name: render_png(spec) for name, spec in self.charts.items()}


def fill_template(template: Path, values: dict[str, Any]) -> str:
    """Fill a Jinja template that extends layout.html; values are escaped, and a name that lacks a value is an error.

    Bytes of a file's name that are no text are written as escapes, as the console has them: no file could be written.
    """
    import jinja2

    loader = jinja2.FileSystemLoader([template.parent, HERE])
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = environment.get_template(template.name).render(values, style=STYLE_SHEET.read_text())
    return text.encode(errors="backslashreplace").decode()


def fill_page(template: str, values: dict[str, Any], charts: dict[str, Spec]) -> Page:
    """Fill one of the templates in this folder that draw figures, given by name. Raises MissingExtraError.

    In the template they are `charts.NAME`, for the macro draw_chart; the page includes the library that draws them.
    """
    themes = {mode: theme(mode) for mode in ("light", "dark")}
    written = {name: dump_spec(spec | {"usermeta": {"entry": entry_width(spec)}}) for name, spec in charts.items()}
    scripts = {"themes": dump_spec(themes), "library": library_script(), "script": SCRIPT.read_text()}
    return Page(fill_template(HERE / template, values | scripts | {"charts": written}), charts)


def format_markdown(table: Table) -> str:
    """Write a table in Markdown.

    By hand: pandas.DataFrame.to_markdown needs tabulate, and pads each cell to the longest of its column, so that one
    new figure changes every line of a page.
    """
    head = "|" + "".join(f" {head} |" if head else " |" for head in table.heads)
    rows = (f"| {' | '.join(map(str, row))} |" for row in table.rows)
    return "\n".join([head, "|" + "-|" * len(table.heads), *rows])


def insert_between(page: object, text: str, begin: str, end: str, content: str) -> str:
    """Return a page's text with content on the lines between two others. Raises ValueError where these are missing."""
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{page} lacks the lines {begin!r} and {end!r}; put them where its table belongs")
    return f"{before}{begin}\n{content}\n{end}{after}"


def format_p(value: float) -> str:
    """Round a p-value to four decimals."""
    return f"{value:.4f}" if value >= 0.0001 else "< 0.0001"
