"""Rows of the record table, from lines that are written by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import record_cli
from benchmarks.record import RESULTS
from benchmarks.record_rows import own_rows, published_rows, sort_rows
from benchmarks.record_tables import NONE_YET, others_table, records, records_table, rules_table
from benchmarks.timing_rules import AIRBENCH, FULCRUM, HIVERGE, RULES, WHOLE_PROCESS, seconds_by
from tests.record_logs import check_logs

VERIFIED = [0.9411, 0.9412, 0.9413]


def line(**changes: Any) -> dict[str, Any]:
    accuracies = changes.get("accuracy", VERIFIED)
    return {
        "recipe": "94",
        "changed": {"precision": "bfloat16"},
        "dataset": "cifar10",
        "content": "official",
        "dataset_sha256": "a",
        "seeds": list(range(len(accuracies))),
        "accuracy": accuracies,
        "mean": sum(accuracies) / len(accuracies),
        "n": len(accuracies),
        "target": 0.94,
        "target_met": "confirmed",
        "seconds": {"compile": 30.0, "whiten": 0.3, "train": 6.0, "evaluate": 0.6},
        "device": "a GPU",
        "versions": {"python": "3.11.7", "airjax": "0.2.0", "jax": "0.10.1", "jaxlib": None},
        "commit": "abc",
        "date": "2026-11-26",
    } | changes


def test_a_row_has_the_numbers_of_its_line() -> None:
    [row] = own_rows([line()])
    assert (row.name, row.target, row.n, row.verdict) == ("94, bfloat16", 0.94, 3, "verified")
    # t = 12 sqrt(3), of 2 degrees of freedom; half of the interval is 4.3027 standard errors.
    assert row.p == pytest.approx((1 - (432 / 434) ** 0.5) / 2, rel=1e-6)
    assert row.interval == pytest.approx((0.9412 - 0.0001 * 4.30265 / 3**0.5, 0.9412 + 0.0001 * 4.30265 / 3**0.5))
    assert row.seconds == pytest.approx(2.3)  # without compilation, a network
    assert (row.rule, row.whole_process, row.versions) == ("airbench", None, "airjax 0.2.0, jax 0.10.1")
    assert not row.is_record
    assert "verified, but its networks were not planned before: no record" in others_table([line()])


def test_a_verified_line_has_its_whole_process_log_and_target() -> None:
    changes = {
        "claim": {"target": 0.942},
        "whole_process": {"seconds": 40.0, "compile": 30.0},
        "log": "records/x.jsonl",
    }
    [row] = own_rows([line(**changes)])
    assert (row.whole_process, row.compile, row.source, row.target) == (40.0, 30.0, "records/x.jsonl", 0.942)
    assert row.verdict == "refuted"
    assert "| 40 s, 30 s of it compiling |" in others_table([line(**changes)])
    assert "refuted ([log](../benchmarks/results/records/x.jsonl))" in others_table([line(**changes)])


@pytest.mark.parametrize(
    "changes",
    [{"changed": {"epochs": 1.0}}, {"dataset": "builtin", "target_met": "not evaluated"}, {"recipe": "mini"}],
)
def test_lines_that_test_no_claim_are_no_rows(changes: dict[str, Any]) -> None:
    if changes.get("recipe") == "mini":
        changes |= {"target": None, "target_met": "not evaluated"}
    assert own_rows([line(**changes)]) == []
    assert len(own_rows([line()])) == 1


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"accuracy": [0.9416]}, "| 1 |  | 6.9 | airbench |  | a GPU | "),
        ({"accuracy": [0.9416]}, "not resolved at this n (about 2,136 needed)"),
        ({"accuracy": [0.9387, 0.9388, 0.9389]}, "| refuted |"),
        ({"claim": {"target": 0.94}, "target_met": "not evaluated"}, "verified, but not on all test images"),
    ],
)
def test_a_row_that_is_not_verified_is_no_record(changes: dict[str, Any], shown: str) -> None:
    lines = [line(**changes)]
    assert "airjax 94" not in records_table(lines)
    assert shown in others_table(lines)


def test_a_verified_row_that_was_planned_is_a_record_among_the_published() -> None:
    planned = line(claim={"target": 0.94})
    assert (
        "| 94% | **airjax 94, bfloat16** | 94.12% | 94.10% to 94.14% | 3 | 0.0012 | 2.3 | airbench |"
        in records_table([planned])
    )
    assert others_table([planned]) == NONE_YET
    names = [row.name for row in records([planned])]
    assert names.index("Hiverge") < names.index("94, bfloat16") < names.index("airbench94_muon")


def test_rows_are_sorted_by_target_and_then_by_time() -> None:
    keys = [(row.target, row.seconds) for row in sort_rows([*published_rows(), *own_rows([line()])])]
    assert keys == sorted(keys)
    assert len({target for target, _ in keys}) == 4


def test_published_rows_are_marked_and_never_tested() -> None:
    rows = {row.name: row for row in published_rows()}
    assert {row.verdict for row in rows.values()} == {"as published"}
    assert all(row.p is None and row.source.startswith("https://") for row in rows.values())
    assert (rows["airbench94_muon"].mean, rows["airbench94_muon"].n, rows["airbench94_muon"].seconds) == (
        0.9401,
        200,
        2.59,
    )
    assert (rows["airbench96_faster"].seconds, rows["airbench96_faster"].rule) == (27.3, "airbench")
    assert {row.rule for row in rows.values()} == {"", *RULES}


def test_a_published_row_by_an_unknown_rule_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "published.toml"
    file.write_text('[[record]]\nname = "x"\nrule = "stopwatch"\n')
    with pytest.raises(ValueError, match="x: unknown timing rule 'stopwatch'"):
        published_rows(file)


def test_a_rule_adds_up_its_stages_and_no_others() -> None:
    seconds = {"compile": 8.0, "whiten": 1.0, "train": 2.0, "evaluate": 4.0}
    assert (seconds_by(AIRBENCH, seconds), seconds_by(FULCRUM, seconds)) == (7.0, 3.0)
    for rule in (HIVERGE, WHOLE_PROCESS):
        with pytest.raises(ValueError, match="no sum of the stages"):
            seconds_by(rule, seconds)
    assert all(f"| {name} |" in rules_table([]) for name in RULES)


def test_the_evidence_that_was_kept_before_is_in_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert record_cli.main(["--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    [first] = [row for row in rows if row["name"] == "94, float32" and row["commit"] == "60b96401b103"]
    assert (first["mean"], first["n"], first["is_record"]) == (0.9416, 1, False)
    assert record_cli.main([]) == 0
    shown = capsys.readouterr().out
    assert shown.index("airbench94_muon") < shown.index("Our rows that are no records") < shown.index("94, float32")


def test_kept_rows_are_what_their_raw_logs_say() -> None:
    logs = list((RESULTS / "records").glob("*.jsonl"))
    assert check_logs(RESULTS) == len(logs)
