"""The record table for a page, and for a terminal."""

from collections.abc import Sequence
from typing import Any

from airjax.report.page import Table, format_markdown, format_p
from airjax.utils.units import format_seconds
from benchmarks.record_rows import AS_PUBLISHED, Row, own_rows, published_rows, sort_rows
from benchmarks.timing_rules import RULES

LOGS = "../benchmarks/results"  # of a page in docs/
HEADS = [
    *("target", "", "mean", "95% interval", "n", "p", "seconds", "rule", "whole process"),
    *("device", "made with", "verdict"),
]
NONE_YET = "None yet: `python -m airjax records verify NAME --keep` adds a row."


def records_table(lines: list[dict[str, Any]]) -> str:
    """Tabulate the records: other people's as published, and our own of which the claim is verified."""
    return format_markdown(Table(HEADS, [_cells(row) for row in records(lines)]))


def others_table(lines: list[dict[str, Any]]) -> str:
    """Tabulate our own rows that are no records."""
    rows = [row for row in sort_rows(own_rows(lines)) if not row.is_record]
    return format_markdown(Table(HEADS, [_cells(row) for row in rows])) if rows else NONE_YET


def rules_table(_: list[dict[str, Any]]) -> str:
    """Tabulate the timing rules; no result is needed for that."""
    rows = [[rule.name, rule.in_clock, rule.not_in_clock, rule.source] for rule in RULES.values()]
    return format_markdown(Table(["rule", "in the clock", "not in the clock", "source"], rows))


def records(lines: Sequence[dict[str, Any]]) -> list[Row]:
    """Return the rows that stand among the records, sorted."""
    return [row for row in sort_rows([*published_rows(), *own_rows(lines)]) if row.is_record]


def format_rows(rows: Sequence[Row]) -> str:
    """Write rows for a terminal, each on two lines: the numbers, then what they were made with."""
    width = max((len(row.name) for row in rows), default=0)
    lines = [
        f"{'target':8}{'':{width}}{'mean':>9}  {'95% interval':17}{'n':>6}{'p':>10}{'seconds':>10}  "
        f"{'rule':15}{'whole process':>14}  verdict"
    ]
    for row in rows:
        whole = "" if row.whole_process is None else format_seconds(row.whole_process)
        lines += [
            f"{_target(row):8}{row.name:{width}}{row.mean:9.2%}  {_interval(row):17}{_count(row):>6}{_p(row):>10}"
            f"{_seconds(row):>10}  {row.rule or 'not stated':15}{whole:>14}  {describe_verdict(row)}",
            f"{'':8}{'; '.join(part for part in _made_with(row) if part)}",
        ]
    return "\n".join(lines)


def describe_verdict(row: Row) -> str:
    """Say a row's verdict and, where it is not resolved, how many networks would do."""
    if row.verdict == "verified" and not row.on_cifar10:
        return f"{row.verdict}, but not on all test images of CIFAR-10: no record"
    if row.verdict == "verified" and not row.planned:
        return f"{row.verdict}, but its networks were not planned before: no record"
    needed = f" (about {row.needed:,} needed)" if row.needed else ""
    return row.verdict + needed + ("; stopped before all that were asked for" if row.stopped else "")


def describe_row(row: Row) -> str:
    """Say in a sentence what a row of our own shows."""
    low_high = f" (95% interval {_interval(row)})" if row.interval else ""
    p = f", p {_p(row)} that the mean is below {_target(row)}" if row.p is not None else ""
    whole = "" if row.whole_process is None else f", {format_seconds(row.whole_process)} as a whole process"
    return (
        f"{row.name} on {row.data}: mean accuracy {row.mean:.2%} of {row.n} networks{low_high}{p}: "
        f"{describe_verdict(row)}; {_seconds(row)} s a network by {row.rule}'s rule{whole}"
    )


def _cells(row: Row) -> list[str]:
    whole = "" if row.whole_process is None else format_seconds(row.whole_process)
    if row.compile is not None:
        whole += f", {format_seconds(row.compile)} of it compiling"
    made = "; ".join(part for part in _made_with(row)[1:-1] if part)
    if row.verdict == AS_PUBLISHED:
        last = f"as published ([source]({row.source}))"
    else:
        last = describe_verdict(row) + (f" ([log]({LOGS}/{row.source}))" if row.source else "")
    name = row.name if row.verdict == AS_PUBLISHED else f"**airjax {row.name}**"
    numbers = [f"{row.mean:.2%}", _interval(row), _count(row), _p(row), _seconds(row)]
    return [_target(row), name, *numbers, row.rule or "not stated", whole, row.device, made, last]


def _made_with(row: Row) -> tuple[str, ...]:
    data = "" if row.data == "cifar10" else row.data
    commit = "" if row.commit is None else f"commit {row.commit}"
    source = row.source if row.verdict == AS_PUBLISHED else row.source and f"log {row.source}"
    return row.device, data, row.versions, commit, row.date, source


def _target(row: Row) -> str:
    return f"{100 * row.target:g}%"


def _interval(row: Row) -> str:
    return "" if row.interval is None else f"{row.interval[0]:.2%} to {row.interval[1]:.2%}"


def _count(row: Row) -> str:
    return "" if row.n is None else f"{row.n:,}"


def _p(row: Row) -> str:
    return "" if row.p is None else format_p(row.p)


def _seconds(row: Row) -> str:
    return f"{row.seconds:.4g}" if row.seconds < 1000 else f"{row.seconds:,.0f}"
