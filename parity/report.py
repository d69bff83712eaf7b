"""A distribution study, and the ladder where it is given, as one HTML page that needs nothing else."""

import html
import json
from pathlib import Path
from string import Template
from typing import Any

from airjax.report.page import STYLE_SHEET, format_table
from airjax.utils.records import read_lines, write_atomically
from parity.study import ARMS, Study, StudyError, load_study
from parity.tables import ARM_HEADS, TEST_HEADS, arm_rows, power_sentence, test_rows
from parity.verdict import analyse

PAGE = Path(__file__).with_name("report.html")
TITLES = {
    "equivalent": "Equivalent",
    "different": "Different",
    "open": "Not decided",
    "incomplete": "Not finished",
    "diverged": "Trainings diverged",
}


def write_report(study_file: Path, ladder_files: list[Path], out: Path) -> None:
    """Write the page of a study. Raises StudyError for a file that is not what it should be."""
    study = load_study(study_file)
    write_atomically(out, render_report(study, load_ladders(ladder_files)).encode())


def load_ladders(files: list[Path]) -> list[dict[str, Any]]:
    """The latest ladder against each PyTorch implementation. Raises StudyError for a file without any."""
    ladders: dict[str, dict[str, Any]] = {}
    for file in files:
        found = [record for record in read_lines(file) if "rungs" in record and "against" in record]
        if not found:
            raise StudyError(f"{file} has no ladder; `python -m parity numerical --json` prints one as its last line")
        ladders |= {record["against"]: {"drift": {}} | record for record in found}
    return list(ladders.values())


def render_report(study: Study, ladders: list[dict[str, Any]]) -> str:
    """The page as text."""
    result = analyse(study)
    name = result["framework"]["torch"]
    values = {
        "style": STYLE_SHEET.read_text(),
        "title": html.escape(f"airjax against {name}: {result['recipe']}"),
        "verdict": result["verdict"],
        "verdict_title": TITLES[result["verdict"]],
        "sentence": html.escape(result["sentence"]),
        "arms": format_table(ARM_HEADS, arm_rows(result)),
        "distributions": _distributions(study, result, name) if "means" in result else "",
        "drift": _drift(ladders),
        "ladder": _ladder(ladders),
        "environment": _environment(study.plan),
    }
    return Template(PAGE.read_text()).substitute(values)


def _distributions(study: Study, result: dict[str, Any], name: str) -> str:
    from parity import figures

    torch, airjax = study.accuracies("torch"), study.accuracies("airjax")
    shares = [study.correct(arm).mean(0) for arm in ARMS]
    return Template((PAGE.with_name("report_distributions.html")).read_text()).substitute(
        histograms=figures.draw_histograms(torch, airjax, name),
        quantiles=figures.draw_quantiles(torch, airjax, name),
        difference=figures.draw_difference(result["means"]),
        examples=figures.draw_examples(shares[0], shares[1], name),
        tests=f"{format_table(TEST_HEADS, test_rows(result))}<p>{power_sentence(result)}</p>",
        other=html.escape(name),
    )


def _drift(ladders: list[dict[str, Any]]) -> str:
    from parity import figures

    drifting = [ladder for ladder in ladders if ladder["drift"]]
    if not drifting:
        return "<p>No ladder with drift curves was given.</p>"
    return f'<img class="wide" alt="Drift of float32 training" src="{figures.draw_drift(drifting)}">'


def _ladder(ladders: list[dict[str, Any]]) -> str:
    if not ladders:
        return "<p>No ladder was given: <code>--ladder FILE</code>, what <code>numerical --json</code> printed.</p>"
    parts = []
    for ladder in ladders:
        rows = [
            [
                row["rung"],
                row["recipe"],
                row["precision"],
                row["arrays"],
                _number(row["absolute"]),
                _number(row["relative"]),
                _number(row["allowed"]),
                "pass" if row["passed"] else "FAIL",
            ]
            for row in ladder["rungs"]
        ]
        failed = sum(not row["passed"] for row in ladder["rungs"])
        state = f"{failed} of {len(rows)} rungs fail" if failed else f"all {len(rows)} rungs hold"
        heads = ["rung", "recipe", "precision", "arrays", "absolute", "relative", "allowed", ""]
        against, data = html.escape(ladder["against"]), html.escape(ladder["data"])
        parts.append(f"<h3>against {against}, on {data}: {state}</h3>{format_table(heads, rows)}")
    return "".join(parts)


def _environment(plan: dict[str, Any]) -> str:
    environment = plan["environment"]
    rows = [
        ["device", environment["device"]],
        ["commit", environment["commit"] or "not from a checkout"],
        ["data", f"{plan['data']}, SHA-256 {plan['data_sha256']}"],
        *([name, version or "not installed"] for name, version in environment["versions"].items()),
        ["recipe", json.dumps(plan["method"])],
    ]
    return format_table(["", ""], rows)


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.1e}"
