"""The committed plans: each can be read, and has networks enough for what its experiment says."""

import tomllib
from pathlib import Path

import pytest

from airjax.recipes.published import RECIPES
from airjax.stats.power import runs_for_equivalence, runs_to_resolve
from airjax.sweep.plan import Setting, load_plan, make_plan
from experiments.derandomised.analyse import CONTROL, DERANDOMISED, RANDOM
from experiments.experiment import HERE, SCALES, Scale, in_precision
from experiments.known import pilot_sd, study_sd
from experiments.ladder.analyse import CLOSE
from experiments.ladder.features import ALL, REMOVED, changes_of, methods
from experiments.pilot.analyse import pooled_sd
from experiments.registry import EXPERIMENTS
from experiments.table1.analyse import RUNS
from experiments.train import format_plan

PLANS = sorted(HERE.glob("*/*.toml"))


@pytest.mark.parametrize("file", PLANS, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_a_plan_can_be_read(file: Path) -> None:
    assert load_plan(file, "cpu").num_runs > 0


@pytest.mark.parametrize("scale", SCALES)
def test_every_plan_is_of_an_experiment_and_every_experiment_has_its_plans(scale: Scale, tmp_path: Path) -> None:
    used = [part.plan for one in EXPERIMENTS.values() for part in one.parts(scale, tmp_path) if part.content is None]
    assert sorted(used) == [file for file in PLANS if file.name.startswith(f"{scale}-")]
    assert len(used) > 10


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_plan_has_networks_enough_for_what_it_is_to_find(name: str) -> None:
    for one in EXPERIMENTS[name].resolutions():
        assert one.runs >= one.needed, one
        assert one.needed > 2


def test_the_numbers_of_networks_are_those_of_the_plans() -> None:
    def runs(file: str) -> int:
        return len(load_plan(HERE / file, "cpu").seeds)

    shortest, short, middle, long, longest = (one.runs for one in EXPERIMENTS["table2"].resolutions())
    assert runs("table1/cpu-cells.toml") == RUNS == 150
    assert runs("table2/cpu-shortest.toml") == shortest == 300
    assert {runs(f"table2/cpu-{name}.toml") for name in ("none", "cutout")} == {short}
    assert {runs(f"table2/cpu-{name}.toml") for name in ("middle", "cutout-middle")} == {middle}
    assert {runs(f"table2/cpu-{name}.toml") for name in ("long", "cutout-long")} == {long}
    assert runs("table2/cpu-longest.toml") == longest
    assert {runs(f"fig3/cpu-{name}.toml") for name in ("small", "medium", "large")} == {12}
    assert [runs(f"table4/cpu-{name}.toml") for name in ("base", "longer", "larger")] == [1000, 300, 300]
    gains, cutouts, long = (one.runs for one in EXPERIMENTS["derandomised"].resolutions())
    assert {runs(f"derandomised/cpu-{name}.toml") for name in ("middle", "cutout")} == {gains} == {cutouts}
    assert runs("derandomised/cpu-long.toml") == long
    assert runs("derandomised/paper-94-crops.toml") == 110 >= runs_to_resolve(0.07, 0.157, 0.157)
    assert runs("precision/cpu-mini.toml") == 150 >= runs_for_equivalence(pilot_sd(16.0), pilot_sd(16.0), 0.4)
    assert runs("precision/paper-94.toml") == 205 >= runs_for_equivalence(0.14, 0.14, 0.05, alpha=0.025)
    assert CLOSE == 42


def test_what_the_paper_says_of_96_is_of_its_own_version() -> None:
    of_96 = [file for file in PLANS if file.parent.name == "table2" and file.name.startswith("paper-96")]
    assert {load_plan(file, "cpu").base for file in (*of_96, HERE / "fig3" / "paper-large.toml")} == {"96-paper"}
    assert len(of_96) == 2


def test_derandomised_plans_have_the_draws_that_the_analysis_names() -> None:
    changes = [setting.changes for file in PLANS if file.parent.name == "derandomised" for setting in plan_of(file)]
    drawn = {name: {one[name] for one in changes if name in one} for name in RANDOM}
    for name, usual in RANDOM.items():
        wanted = {one[name] for one in (*DERANDOMISED.values(), CONTROL) if name in one}
        assert wanted <= drawn[name] <= wanted | {usual}, name


def plan_of(file: Path) -> tuple[Setting, ...]:
    return load_plan(file, "cpu").settings


def test_the_assumed_spreads_are_those_of_the_results() -> None:
    assert study_sd() == 1.63  # docs/studies/variance.md
    assert pilot_sd(8.0) == 1.5


def test_a_pooled_standard_deviation_by_hand() -> None:
    import numpy as np

    # Squares about the means 1 and 12: 1 + 0 + 1 and 4 + 4, of 2 + 1 degrees of freedom.
    sd, (low, high) = pooled_sd([np.array([0.0, 1.0, 2.0]), np.array([10.0, 14.0])])
    assert sd == pytest.approx((10 / 3) ** 0.5)
    assert low == pytest.approx((10 / 9.3484) ** 0.5, rel=1e-4)  # quantiles of chi-squared with 3 degrees
    assert high == pytest.approx((10 / 0.21580) ** 0.5, rel=1e-4)


def test_the_ladder_removes_from_94_what_docs_recipes_says() -> None:
    baseline = RECIPES["94"].override(**{k: None if v == "none" else v for k, v in changes_of(frozenset()).items()})
    assert baseline.network.whitening is None
    assert baseline.averaging is None
    assert (baseline.optimizer.learning_rate, baseline.optimizer.bias_scale) == (10.0, 1.0)
    assert (baseline.schedule.schedule_peak, baseline.schedule.schedule_end) == (0.2, 0.0)
    assert (baseline.augmentation.flip, baseline.evaluation.tta_level, baseline.network.dirac) == ("random", 1, False)
    assert changes_of(ALL) == {}
    assert all(ALL - {feature} in methods() for feature in REMOVED)


def test_a_plan_that_is_written_reads_as_it_was() -> None:
    content = {
        "recipe": "mini",
        "seeds": [0, 5],
        "set": {"tta_level": 0, "whiten": False},
        "keep": {"networks": True},
        "cases": [{"flip": "random", "epochs": 2.5}, {"flip": "none", "widths": [8, 8, 8]}],
    }
    assert tomllib.loads(format_plan(content)) == content
    assert make_plan(content, "cpu").num_runs == 4


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_in_a_precision_trains_the_same_networks_in_it(name: str, tmp_path: Path) -> None:
    experiment = EXPERIMENTS[name]
    half = in_precision(experiment, "bfloat16")
    if name == "precision":
        with pytest.raises(ValueError, match="precision compares precisions; leave --precision out"):
            list(half.parts("cpu", tmp_path))
        return
    for one, plain in zip(half.parts("cpu", tmp_path), experiment.parts("cpu", tmp_path), strict=True):
        assert one.content is not None
        assert tomllib.loads(format_plan(one.content)) == one.content
        plan, expected = one.load(), plain.load()
        assert [setting.recipe for setting in plan.settings] == [
            setting.recipe.override(precision="bfloat16") for setting in expected.settings
        ]
        assert (plan.num_runs, plan.keep, one.views) == (expected.num_runs, expected.keep, plain.views)
        assert one.plan.parent == tmp_path
    for training in half.trainings("cpu"):
        assert training.load().precision == "bfloat16"
