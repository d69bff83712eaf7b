"""A distribution study, and the ladder where it is given, as one HTML page that needs nothing else."""

import json
from pathlib import Path
from typing import Any

from airjax.report.page import Table, fill_template
from airjax.utils.records import read_lines, write_atomically
from parity.study import ARMS, Study, StudyError, load_study
from parity.tables import arm_table, power_sentence, test_table
from parity.verdict import analyse

TEMPLATE = Path(__file__).with_name("report.html")
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
    tested = "means" in result
    values = {
        "title": f"airjax against {name}: {result['recipe']}",
        "verdict": result["verdict"],
        "headline": TITLES[result["verdict"]],
        "sentence": result["sentence"],
        "arms": arm_table(result),
        "figures": _draw_distributions(study, result, name) if tested else {},
        "tests": test_table(result) if tested else None,
        "power": power_sentence(result) if tested else "",
        "other": name,
        "drift": _draw_drift(ladders),
        "ladders": [_tabulate_ladder(ladder) for ladder in ladders],
        "environment": _environment(study.plan),
    }
    return fill_template(TEMPLATE, values)


def _draw_distributions(study: Study, result: dict[str, Any], name: str) -> dict[str, str]:
    from parity import figures

    torch, airjax = study.accuracies("torch"), study.accuracies("airjax")
    fractions = [study.correct(arm).mean(0) for arm in ARMS]
    return {
        "histograms": figures.draw_histograms(torch, airjax, name),
        "quantiles": figures.draw_quantiles(torch, airjax, name),
        "difference": figures.draw_difference(result["means"]),
        "examples": figures.draw_examples(fractions[0], fractions[1], name),
    }


def _draw_drift(ladders: list[dict[str, Any]]) -> str | None:
    from parity import figures

    drifting = [ladder for ladder in ladders if ladder["drift"]]
    return figures.draw_drift(drifting) if drifting else None


def _tabulate_ladder(ladder: dict[str, Any]) -> dict[str, Any]:
    heads = ["rung", "recipe", "precision", "arrays", "absolute", "relative", "allowed", ""]
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
    return {"title": f"against {ladder['against']}, on {ladder['data']}: {state}", "table": Table(heads, rows)}


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
