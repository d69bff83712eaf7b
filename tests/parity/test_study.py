import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.study import (
    FRAMEWORKS,
    RunOutcome,
    StudyError,
    add_run,
    load_study,
    open_study,
    pack_bits,
    unpack_bits,
)

Plan = dict[str, Any]


def outcome(seed: int) -> RunOutcome:
    correct = np.random.default_rng(seed).random(101) < 0.5
    return RunOutcome(correct, False, {"train": 1.23456})


def test_frameworks_alternate_and_so_does_which_begins(tmp_path: Path, plan: Plan) -> None:
    study = open_study(tmp_path / "study.jsonl", plan)
    order = [("torch", 0), ("airjax", 0), ("airjax", 1), ("torch", 1), ("torch", 2), ("airjax", 2)]
    assert study.missing() == order


def test_a_study_resumes_where_it_stopped(tmp_path: Path, plan: Plan) -> None:
    file = tmp_path / "new" / "study.jsonl"
    study = open_study(file, plan)
    for framework, seed in study.missing()[:3]:
        add_run(file, study, framework, seed, outcome(seed))
    again = open_study(file, plan)
    assert again.missing() == [("torch", 1), ("torch", 2), ("airjax", 2)]
    np.testing.assert_array_equal(again.correct("airjax"), [outcome(seed).correct for seed in (0, 1)])
    assert again.accuracies("airjax") == pytest.approx([100 * outcome(seed).correct.mean() for seed in (0, 1)])


def test_runs_of_an_earlier_version_count(tmp_path: Path, plan: Plan) -> None:
    file = tmp_path / "study.jsonl"
    study = open_study(file, plan)
    for framework, seed in study.missing()[:3]:
        add_run(file, study, framework, seed, outcome(seed))
    file.write_text(file.read_text().replace('"framework": ', '"arm": '))
    assert '"framework"' not in file.read_text()
    assert open_study(file, plan).missing() == [("torch", 1), ("torch", 2), ("airjax", 2)]


def test_a_line_cut_short_is_run_again_and_nothing_else(tmp_path: Path, plan: Plan) -> None:
    file = tmp_path / "study.jsonl"
    study = open_study(file, plan)
    for framework, seed in study.missing()[:2]:
        add_run(file, study, framework, seed, outcome(seed))
    file.write_bytes(file.read_bytes()[:-20])
    study = open_study(file, plan)
    assert study.missing()[0] == ("airjax", 0)
    for framework, seed in study.missing():
        add_run(file, study, framework, seed, outcome(seed))
    whole = load_study(file)
    assert not whole.missing()
    assert all(len(whole.accuracies(framework)) == 3 for framework in FRAMEWORKS)


@pytest.mark.parametrize(("name", "value"), [("runs", 4), ("margin", 0.05), ("data_sha256", "11"), ("reference", "up")])
def test_what_was_fixed_at_the_beginning_stays(tmp_path: Path, plan: Plan, name: str, value: Any) -> None:
    file = tmp_path / "study.jsonl"
    open_study(file, plan)
    before = file.read_bytes()
    with pytest.raises(StudyError, match=f"a study with {name} .* fixed when it began"):
        open_study(file, plan | {name: value})
    assert file.read_bytes() == before


def test_runs_of_other_versions_are_not_mixed_in(tmp_path: Path, plan: Plan) -> None:
    open_study(tmp_path / "study.jsonl", plan)
    newer = plan["environment"] | {"versions": {"jax": "2"}}
    with pytest.raises(StudyError, match="environment"):
        open_study(tmp_path / "study.jsonl", plan | {"environment": newer})


def test_another_file_is_not_taken_for_a_study(tmp_path: Path, plan: Plan) -> None:
    file = tmp_path / "other.jsonl"
    file.write_text(json.dumps({"recipe": "94"}) + "\n")
    with pytest.raises(StudyError, match="is not the record of a study"):
        open_study(file, plan)
    with pytest.raises(StudyError, match="is not the record of a study"):
        load_study(tmp_path / "missing.jsonl")


def test_a_diverged_network_is_kept_and_counted_but_has_no_accuracy(tmp_path: Path, plan: Plan) -> None:
    file = tmp_path / "study.jsonl"
    study = open_study(file, plan)
    for seed in range(3):
        add_run(file, study, "torch", seed, outcome(seed)._replace(diverged=seed == 1))
    study = load_study(file)
    assert study.diverged("torch") == 1
    assert study.accuracies("torch") == pytest.approx([100 * outcome(seed).correct.mean() for seed in (0, 2)])
    assert ("torch", 1) not in study.missing()


@pytest.mark.parametrize("count", [1, 8, 2000, 2003])
def test_bits_survive_packing(count: int) -> None:
    correct = np.random.default_rng(0).random(count) < 0.5
    np.testing.assert_array_equal(unpack_bits(pack_bits(correct), count), correct)
