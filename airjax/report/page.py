"""The pieces of HTML that reports are made of."""

import html
from pathlib import Path
from typing import Any

STYLE_SHEET = Path(__file__).with_name("page.css")  # what every report looks like


def format_table(heads: list[str], rows: list[list[Any]]) -> str:
    """A table of any values as HTML, escaped; without a head where all heads are empty."""

    def cells(tag: str, values: list[Any]) -> str:
        return "".join(f"<{tag}>{html.escape(str(value))}</{tag}>" for value in values)

    head = f"<thead><tr>{cells('th', heads)}</tr></thead>" if any(heads) else ""
    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="scroll"><table>{head}<tbody>{body}</tbody></table></div>'


def format_p(value: float) -> str:
    """A p-value to four decimals."""
    return f"{value:.4f}" if value >= 0.0001 else "< 0.0001"
