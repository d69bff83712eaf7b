"""A distribution study, and the parity suite where it is given, as one HTML page that needs nothing else."""

import json
from pathlib import Path
from typing import Any

from airjax.report.page import Table, fill_template
from airjax.utils.records import write_atomically
from parity.records import read_records
from parity.study import FRAMEWORKS, Study, StudyError, load_study
from parity.tables import network_table, power_sentence, test_table
from parity.verdict import analyse

TEMPLATE = Path(__file__).with_name("report.html")
TITLES = {
    "equivalent": "Equivalent",
    "different": "Different",
    "open": "Not decided",
    "incomplete": "Not finished",
    "diverged": "Trainings diverged",
}


def write_report(study_file: Path, suite_files: list[Path], out: Path) -> None:
    """Write the page of a study. Raises StudyError for a file that is not what it should be."""
    study = load_study(study_file)
    write_atomically(out, render_report(study, load_suites(suite_files)).encode())


def load_suites(files: list[Path]) -> list[dict[str, Any]]:
    """Load the latest parity suite against each PyTorch implementation. Raises StudyError for a file without any."""
    suites: dict[str, dict[str, Any]] = {}
    for file in files:
        found = [record for record in read_records(file) if "checks" in record and "against" in record]
        if not found:
            raise StudyError(
                f"{file} has no result of the parity suite; `python -m parity numerical --json` prints one as its "
                "last line"
            )
        suites |= {record["against"]: {"drift": {}} | record for record in found}
    return list(suites.values())


def render_report(study: Study, suites: list[dict[str, Any]]) -> str:
    """Return the page as text."""
    result = analyse(study)
    name = result["framework"]["torch"]
    tested = "means" in result
    values = {
        "title": f"airjax against {name}: {result['recipe']}",
        "verdict": result["verdict"],
        "headline": TITLES[result["verdict"]],
        "sentence": result["sentence"],
        "networks": network_table(result),
        "figures": _draw_distributions(study, result, name) if tested else {},
        "tests": test_table(result) if tested else None,
        "power": power_sentence(result) if tested else "",
        "other": name,
        "drift": _draw_drift(suites),
        "suites": [_tabulate_suite(suite) for suite in suites],
        "environment": _environment(study.plan),
    }
    return fill_template(TEMPLATE, values)


def _draw_distributions(study: Study, result: dict[str, Any], name: str) -> dict[str, str]:
    from parity import figures

    torch, airjax = study.accuracies("torch"), study.accuracies("airjax")
    fractions = [study.correct(framework).mean(0) for framework in FRAMEWORKS]
    return {
        "histograms": figures.draw_histograms(torch, airjax, name),
        "quantiles": figures.draw_quantiles(torch, airjax, name),
        "difference": figures.draw_difference(result["means"]),
        "examples": figures.draw_examples(fractions[0], fractions[1], name),
    }


def _draw_drift(suites: list[dict[str, Any]]) -> str | None:
    from parity import figures

    drifting = [suite for suite in suites if suite["drift"]]
    return figures.draw_drift(drifting) if drifting else None


def _tabulate_suite(suite: dict[str, Any]) -> dict[str, Any]:
    heads = ["check", "recipe", "precision", "arrays", "absolute", "relative", "allowed", ""]
    rows = [
        [
            row["check"],
            row["recipe"],
            row["precision"],
            row["arrays"],
            _number(row["absolute"]),
            _number(row["relative"]),
            _number(row["allowed"]),
            "pass" if row["passed"] else "FAIL",
        ]
        for row in suite["checks"]
    ]
    failed = sum(not row["passed"] for row in suite["checks"])
    state = f"{failed} of {len(rows)} checks fail" if failed else f"all {len(rows)} checks hold"
    return {"title": f"against {suite['against']}, on {suite['data']}: {state}", "table": Table(heads, rows)}


def _environment(plan: dict[str, Any]) -> Table:
    environment = plan["environment"]
    rows = [
        ["device", environment["device"]],
        ["commit", environment["commit"] or "not from a checkout"],
        ["data", f"{plan['data']}, SHA-256 {plan['data_sha256']}"],
        *([name, version or "not installed"] for name, version in environment["versions"].items()),
        ["recipe", json.dumps(plan["method"])],
    ]
    return Table(["", ""], rows)


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.1e}"
