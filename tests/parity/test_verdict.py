import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from airjax.stats.agreement import compare_examples
from airjax.stats.equivalence import compare_means
from airjax.utils.records import plain
from parity.study import FRAMEWORKS, RunOutcome, Study, add_run, load_study, open_study
from parity.verdict import analyse

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
EXAMPLES = 2000
MakeStudy = Callable[..., Study]


@pytest.fixture
def make_study(tmp_path: Path, plan: dict[str, Any]) -> MakeStudy:
    """A study of made-up networks: each test image has a rate at which it is classified right, and each run a luck."""

    def make(runs: int = 40, *, shift: float = 0.0, luck: tuple[float, float] = (0.0, 0.0), **changes: Any) -> Study:
        generator = np.random.default_rng(0)
        rates = generator.uniform(0.85, 1.0, EXAMPLES)
        file = tmp_path / f"{len(list(tmp_path.iterdir()))}.jsonl"
        study = open_study(file, plan | {"runs": runs} | changes)
        for framework, seed in study.missing():
            sd = luck[FRAMEWORKS.index(framework)]
            higher = (
                (shift if framework == "airjax" else 0.0) + generator.normal(0, sd)
                if sd
                else shift * (framework == "airjax")
            )
            correct = generator.random(EXAMPLES) < rates + higher / 100
            add_run(file, study, framework, seed, RunOutcome(correct, False, {"train": 1.0, "evaluate": 0.5}))
        return study

    return make


def test_equal_frameworks_are_equivalent_at_a_margin_that_the_runs_can_show(make_study: MakeStudy) -> None:
    result = analyse(make_study(margin=0.6))
    assert result["verdict"] == "equivalent"
    assert "reach the same mean accuracy on mini, to within the ±0.6 points fixed in advance" in result["sentence"]
    assert "no difference was found" in result["sentence"]
    assert result["means"]["power"] > 0.9
    assert min(result["p_adjusted"].values()) > 0.05


def test_a_margin_beyond_the_runs_is_not_called_equivalent(make_study: MakeStudy) -> None:
    result = analyse(make_study(margin=0.05))
    assert result["verdict"] == "open"
    assert result["sentence"].startswith("These runs do not decide whether")
    assert f"{result['means']['runs_needed']:,} networks of each" in result["sentence"]


def test_a_shift_is_found_and_named(make_study: MakeStudy) -> None:
    result = analyse(make_study(100, shift=-0.6, margin=0.3))
    assert result["verdict"] == "different"
    assert "do not reach the same mean accuracy" in result["sentence"]
    assert result["means"]["difference"] < -0.3
    assert result["p_adjusted"]["mann-whitney"] < 0.05
    assert "do differ in" in result["sentence"]


def test_a_difference_within_the_margin_is_mentioned(make_study: MakeStudy) -> None:
    result = analyse(make_study(100, shift=-0.6, margin=1.5))
    assert result["verdict"] == "equivalent"
    assert "A difference smaller than the margin is there" in result["sentence"]


def test_other_spread_is_found_at_equal_means(make_study: MakeStudy) -> None:
    result = analyse(make_study(100, luck=(0.1, 2.0), margin=2.0))
    assert result["p_adjusted"]["brown-forsythe"] < 0.05
    assert "the spread (Brown-Forsythe)" in result["sentence"]


def test_an_unfinished_study_is_described_but_not_tested(make_study: MakeStudy) -> None:
    study = make_study(10)
    del study.runs["airjax", 9]
    result = analyse(study)
    assert result["verdict"] == "incomplete"
    assert "means" not in result
    assert "10 of 10 PyTorch and 9 of 10 airjax networks" in result["sentence"]


def test_diverged_networks_are_not_passed_over(make_study: MakeStudy) -> None:
    study = make_study(10)
    study.runs["airjax", 3] |= {"diverged": True, "accuracy": None}
    result = analyse(study)
    assert result["verdict"] == "diverged"
    assert result["diverged"] == {"torch": 0, "airjax": 1}
    assert "1 of 10 airjax" in result["sentence"]


def test_the_result_is_json(make_study: MakeStudy) -> None:
    result = plain(analyse(make_study(6)))
    assert json.loads(json.dumps(result, allow_nan=False)) == json.loads(json.dumps(result))
    assert plain({"a": (float("nan"), [float("inf"), 1.0])}) == {"a": [None, [None, 1.0]]}


def test_the_released_package_is_called_by_its_name(make_study: MakeStudy) -> None:
    versions = {"versions": {"airbench": "0.1.8"}, "device": "a processor", "commit": None}
    result = analyse(make_study(6, reference="upstream", environment=versions))
    assert "airbench 0.1.8" in result["sentence"]


def test_the_study_before_the_signs_were_fixed_still_shows_it() -> None:
    # Real networks: equal means, but three whitening filters had another sign in each framework.
    study = load_study(RESULTS / "parity-mini-library-signs.jsonl")
    means = compare_means(study.accuracies("torch"), study.accuracies("airjax"), 0.6)
    assert means.difference_p > 0.05
    examples = compare_examples(study.correct("torch"), study.correct("airjax"))
    assert examples.p < 0.001
    assert examples.across > 1.2 * examples.within
    # Once both frameworks fixed the signs, it was gone.
    study = load_study(RESULTS / "parity-mini-shuffled.jsonl")
    result = analyse(study)
    assert result["verdict"] == "equivalent"
    assert result["p_adjusted"]["examples"] > 0.05
    # Nothing of the kind between the networks of one framework with even and with odd seeds.
    for framework in FRAMEWORKS:
        correct = study.correct(framework)
        assert compare_examples(correct[::2], correct[1::2]).p > 0.01
