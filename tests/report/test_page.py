import os
from pathlib import Path

import pytest

from airjax.report.page import Table, fill_template, format_markdown, format_p

jinja2 = pytest.importorskip("jinja2", reason="jinja2 is not installed (pip install '.[report]')")


@pytest.fixture
def template(tmp_path: Path) -> Path:
    file = tmp_path / "page.html"
    file.write_text(
        '{% extends "layout.html" %}{% from "macros.html" import draw_table %}'
        "{% block content %}{{ draw_table(table) }}{% endblock %}"
    )
    return file


VALUES = {"title": "a < b", "verdict": "open", "headline": "head", "sentence": "it's"}


def test_a_table_in_html_is_escaped(template: Path) -> None:
    text = fill_template(template, VALUES | {"table": Table(["<n>", ""], [[1, "a & b"], [2.5, None]])})
    assert (
        '<div class="scroll"><table><thead><tr><th>&lt;n&gt;</th><th></th></tr></thead>'
        "<tbody><tr><td>1</td><td>a &amp; b</td></tr><tr><td>2.5</td><td>None</td></tr></tbody></table></div>" in text
    )
    assert "<title>a &lt; b</title>" in text
    assert "font-variant-numeric" in text  # the style sheet


def test_a_name_that_is_no_text_is_written_as_escapes(template: Path) -> None:
    name = os.fsdecode(b"bad\xff.png")
    text = fill_template(template, VALUES | {"table": Table(["file"], [[name]])})
    assert "<td>bad\\udcff.png</td>" in text.encode().decode()


def test_a_table_without_heads_has_no_head(template: Path) -> None:
    text = fill_template(template, VALUES | {"table": Table(["", ""], [["a", 1]])})
    assert "<tbody><tr><td>a</td><td>1</td></tr></tbody>" in text
    assert "<thead>" not in text


def test_a_value_that_is_missing_is_an_error(template: Path) -> None:
    with pytest.raises(jinja2.UndefinedError, match="table"):
        fill_template(template, VALUES)


def test_a_table_in_markdown() -> None:
    table = Table(["", "seconds"], [["a step", 0.5], ["", "1 s"]])
    assert format_markdown(table).splitlines() == ["| | seconds |", "|-|-|", "| a step | 0.5 |", "|  | 1 s |"]


def test_small_p_values_are_bounds() -> None:
    assert [format_p(p) for p in (0.25, 0.0001, 0.00009)] == ["0.2500", "0.0001", "< 0.0001"]
