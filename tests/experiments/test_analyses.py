"""What each experiment makes of networks whose accuracies are known."""

import math
import os
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import quantile, write_sweep, write_view

import airjax
from airjax.data import registry
from airjax.stats.speedup import effective_speedup, fit_errors
from airjax.sweep.plan import Setting, make_plan
from experiments.cells import Cell, read_cells
from experiments.derandomised import analyse as derandomised
from experiments.experiment import Analysis, Context, Experiment, Part, Scale
from experiments.ladder.analyse import LADDER_EXPERIMENT, SEARCHES
from experiments.ladder.features import ADDED, ALL, FEATURES, LADDER, REMOVED, WHITENED, fields_of, methods, rung
from experiments.methods.analyse import METHODS_EXPERIMENT, choose
from experiments.methods.methods import METHODS
from experiments.page import results_table
from experiments.record import draw, rows_of, save
from experiments.registry import EXPERIMENTS
from experiments.rows import Row
from experiments.table1.analyse import PAPER as TABLE1_PAPER
from experiments.table2 import analyse as table2
from experiments.table2.analyse import find_speedups
from experiments.table2.paper import ACCURACIES, SPEEDUPS
from experiments.table4 import analyse as table4
from experiments.table4 import spread
from experiments.table5.analyse import PAPER as TABLE5_PAPER
from experiments.train import folders_of, is_complete
from experiments.views import view_folder

Accuracy = Callable[[Setting, int], float]
LABELS = np.arange(500) % 10


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def other_data(monkeypatch: pytest.MonkeyPatch, toy: airjax.Dataset) -> None:
    """CIFAR-100 without its files."""
    entry = registry.REGISTRY["cifar100"]
    monkeypatch.setitem(registry.REGISTRY, "cifar100", entry._replace(load=lambda place, download=True: toy))


def make_up(experiment: Experiment, out: Path, accuracy: Accuracy, labels: Any = None) -> tuple[Path, ...]:
    """Write all that an experiment would train at CPU scale; evaluated again, a network has a point more."""
    for part in experiment.parts("cpu", out):
        plan = part.load()
        write_sweep(plan, out / part.name, accuracy, labels)
        assert is_complete(plan, out / part.name)
        for level in part.views:
            write_view(out / part.name, view_folder(out / part.name, level), level, 1.0)
    return tuple(folders_of(experiment, "cpu", out))


def analyse(name: str, out: Path, accuracy: Accuracy, scale: Scale = "cpu", labels: Any = None) -> dict[str, Row]:
    experiment = EXPERIMENTS[name]
    folders = make_up(experiment, out, accuracy, labels)
    found: Analysis = experiment.analyse(Context(scale, folders, None))
    assert found.networks == sum(part.load().num_runs for part in experiment.parts("cpu", out))
    rows = {row.cell: row for row in found.rows}
    assert len(rows) == len(found.rows)
    record = save(experiment, scale, found, out)
    assert draw(experiment, record, out)[0].read_bytes().startswith(b"\x89PNG")
    assert results_table(rows_of(record)) == results_table(found.rows)
    return rows


def test_table1_estimates_the_effect_of_each_factor_over_the_other(tmp_path: Path) -> None:
    def accuracy(setting: Setting, seed: int) -> float:
        augmentation = setting.recipe.augmentation
        effects = 2.0 * (augmentation.order == "reshuffle") + 0.5 * (augmentation.flip == "alternating")
        return 50 + effects + 1.5 * quantile(seed, 150)

    rows = analyse("table1", tmp_path, accuracy)
    assert rows["reshuffled, alternating flip"].ours == pytest.approx(52.5)
    assert rows["reshuffled, alternating flip"].verdict == "not comparable at this scale"
    order = rows["reshuffling, over both flips"]
    assert (order.ours, order.n, order.verdict) == (pytest.approx(2.0), 300, "agrees")
    assert order.paper == pytest.approx(0.525)  # (93.92 + 94.01 - 93.40 - 93.48) / 2
    flip = rows["alternating flip, over both orders"]
    assert (flip.ours, flip.n, flip.verdict) == (pytest.approx(0.5), 300, "agrees")
    assert flip.interval is not None
    # The effect of the order, which is larger, adds nothing to the spread: 1.96 sqrt(2 / 300) x 1.5, nearly.
    assert flip.interval[1] - 0.5 == pytest.approx(1.96 * math.sqrt(2 / 300) * 1.5, rel=0.03)
    assert rows["alternating flip, reshuffled"].n == 150


def test_table2_finds_the_speedup_that_the_curves_have(tmp_path: Path) -> None:
    def accuracy(setting: Setting, seed: int) -> float:
        recipe = setting.recipe
        # Alternating flip does in e epochs what random flip does in 1.25 e.
        epochs = recipe.epochs * (1.25 if recipe.augmentation.flip == "alternating" else 1)
        worse = 5.0 if recipe.augmentation.flip == "none" else 0.0
        return 100 - (20 + 200 / epochs) - worse + 0.3 * quantile(seed, 12)

    rows = analyse("table2", tmp_path, accuracy)
    speedup = rows["effective speedup at 8 epochs, mini, no cutout, no TTA"]
    assert speedup.ours == pytest.approx(25, rel=0.05)
    assert speedup.interval is not None
    assert speedup.interval[0] < 25 < speedup.interval[1]
    assert (speedup.n, speedup.paper, speedup.verdict) == (300, 15.0, "agrees")
    assert not [cell for cell in rows if cell.startswith("effective") and "mini, cutout" in cell]  # of three lengths
    augmented = rows["random, 8 epochs, mini, no cutout, TTA"]
    assert augmented.ours == pytest.approx(100 - 45 + 1)
    assert (augmented.paper, augmented.verdict) == (93.9488, "not comparable at this scale")
    none = rows["random minus none, 16 epochs, mini, cutout, no TTA"]
    assert (none.ours, none.verdict, none.n) == (pytest.approx(5.0), "agrees", 20)
    assert none.paper == pytest.approx(93.3825 - 92.8474)


def make_up_paper(name: str, out: Path, accuracy: Accuracy, networks: int) -> Analysis:
    """Analyse what an experiment would train at the paper's scale, with fewer networks of each cell."""
    experiment, folders = EXPERIMENTS[name], []
    for part in experiment.parts("paper", out):
        plan = make_plan(tomllib.loads(part.plan.read_text()) | {"seeds": networks}, "cpu")
        folders.append(out / part.name)
        write_sweep(plan, folders[-1], accuracy)
    return experiment.analyse(Context("paper", tuple(folders), None))


def test_table2_at_the_papers_scale_has_a_speedup_wherever_the_paper_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def accuracy(setting: Setting, seed: int) -> float:
        recipe = setting.recipe
        epochs = recipe.epochs * (1.25 if recipe.augmentation.flip == "alternating" else 1)
        return 100 - (5 + 20 / epochs) + 0.1 * quantile(seed, 40)

    monkeypatch.setattr(table2, "RESAMPLES", 20)
    found = make_up_paper("table2", tmp_path, accuracy, 3).rows
    speedups = [row for row in found if row.cell.startswith("effective speedup")]
    assert len(speedups) == sum(value is not None for values in SPEEDUPS.values() for value in values) == 23
    for row in speedups:
        assert row.ours == pytest.approx(25, rel=0.02)
    accuracies = [row for row in found if "minus" not in row.cell and row not in speedups]
    assert len(accuracies) == 48  # Table 6, of 94
    assert not [row for row in found if row.verdict == "not comparable at this scale"]


def test_at_the_papers_scale_the_papers_accuracies_agree(tmp_path: Path) -> None:
    def like_table1(setting: Setting, seed: int) -> float:
        augmentation = setting.recipe.augmentation
        return TABLE1_PAPER[augmentation.order, augmentation.flip] + 0.002 * quantile(seed, 4)

    def like_fig3(setting: Setting, seed: int) -> float:
        return {9.9: 94.01, 15.0: 95.01, 40.0: 96.05}.get(setting.recipe.epochs, 90.0) + 0.002 * quantile(seed, 4)

    for name, accuracy, count in (("table1", like_table1, 7), ("fig3", like_fig3, 3)):
        rows = make_up_paper(name, tmp_path / name, accuracy, 4).rows
        assert [row.verdict for row in rows] == ["agrees"] * count
        worse = make_up_paper(name, tmp_path / f"{name}-worse", lambda s, n, of=accuracy: of(s, n) - 0.2, 4).rows
        assert [row.verdict for row in worse if row.unit == "%"].count("differs") == min(count, 4)


def test_speedups_of_the_papers_own_accuracies_are_the_papers() -> None:
    for (cutout, augmented), cells in ACCURACIES.items():
        random, alternating = ([np.array([row[column]]) for row in cells] for column in (1, 2))
        found, _ = find_speedups([10.0, 20.0, 40.0, 80.0], random, alternating, resamples=1)
        reported = list(SPEEDUPS["94", cutout, augmented])
        if (cutout, augmented) == (False, True):
            reported[1] = 24.6  # the paper prints 21.3, which its Table 6 does not give
        assert found == pytest.approx(reported, rel=0.02, abs=0.3)


def test_a_speedup_without_an_effect_is_none_where_the_sign_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths, means = [8.0, 16.0, 32.0, 64.0], (50.0, 57.0, 60.0, 61.0)  # which no power law goes through
    spread = 0.1 * np.array([-1.0, 0.0, 1.0])
    random = [mean + spread for mean in means]
    by_paper, _ = find_speedups(lengths, random, random, 3)
    assert abs(by_paper).max() > 1
    found, resampled = find_speedups(lengths, random, random, 200, relative=True)
    assert (found == 0).all()
    for low, high in np.percentile(resampled[:, :2], (2.5, 97.5), axis=0).T:
        assert low < 0 < high
    better, _ = find_speedups(lengths, random, [random[1] + 1.0], 3, [16.0], relative=True)
    assert better[0] > 0
    # Of the same seeds both move together: without an effect the speedup is none in every resample.
    _, together = find_speedups(lengths, random, random, 200, relative=True, paired=[True] * 4)
    assert (together == 0).all()
    monkeypatch.setattr(table2, "RESAMPLES", 20)
    monkeypatch.setattr(derandomised, "RESAMPLES", 20)
    panel = table2.Panel("94", False, False, lengths, {"random": random, "alternating": random}, [False] * 4)
    rows = {scale: list(table2._speedup_rows(panel, scale)) for scale in ("cpu", "paper")}
    assert [row.ours for row in rows["cpu"]] == [0.0] * 4
    assert [row.ours for row in rows["paper"]] == pytest.approx(list(by_paper))
    by_length = dict(zip(lengths, random, strict=True))
    others, common = {"none": by_length}, {"none": set(lengths)}  # of the same seeds
    drawn = derandomised._speedups(derandomised.PANELS["paper"][0], by_length, others, common, "paper")
    assert [row.ours for row in drawn["none"].values()] == [0.0] * 4


def test_a_method_that_the_other_never_reaches_is_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table2, "RESAMPLES", 50)
    spread = 0.1 * np.array([-1.0, 0.0, 1.0, 0.5])
    random = [mean + spread for mean in (40.0, 50.0, 55.0, 57.5)]
    panel = table2.Panel(
        "mini", False, False, [8.0, 16.0, 32.0, 64.0], {"random": random, "alternating": []}, [False] * 4
    )
    panel.by_flip["alternating"] = [mean + 6.0 for mean in random]
    *_, last = table2._speedup_rows(panel, "cpu")
    assert (last.ours, last.interval, last.verdict) == (1000.0, (1000.0, 1000.0), "agrees")
    assert last.note == "1,000% stands for any larger effect, and for no end"


def test_resampled_means_of_few_networks_spread_as_their_mean_does() -> None:
    lengths, means = [1.0, 2.0, 4.0, 8.0], (40.0, 50.0, 55.0, 57.5)
    random = [np.array([mean, mean + 1e-9]) for mean in means]  # a curve that hardly moves
    few = [mean + 0.1 * np.array([-1.0, 1.0, -1.0, 1.0]) for mean in means]
    _, resampled = find_speedups(lengths, random, few, 500)
    curve = fit_errors(np.array(lengths), 100 - np.array(means))
    below, above = (100 * effective_speedup(curve, 1.0, 60.0 + error) for error in (-0.01, 0.01))
    standard_error = 0.1 * np.sqrt(4 / 3) / np.sqrt(4)
    assert resampled[:, 0].std() == pytest.approx(standard_error * (below - above) / 0.02, rel=0.1)


def test_speedups_of_networks_without_spread_have_no_interval() -> None:
    spread = 0.1 * np.array([-1.0, 0.0, 1.0])
    lengths, random = [1.0, 2.0, 4.0, 8.0], [mean + spread for mean in (40.0, 50.0, 55.0, 57.5)]
    single = [random[0][:1], *random[1:]]
    found, resampled = find_speedups(lengths, random, single, 3)
    assert np.isfinite(found).all()
    assert np.isnan(resampled).all(0).tolist() == [True, False, False, False]
    assert np.isnan(find_speedups(lengths, single, random, 3)[1]).all()


def test_speedups_of_errors_that_rise_are_none() -> None:
    rising = [np.array([value, value]) for value in (60.0, 50.0, 40.0, 30.0)]
    found, resampled = find_speedups([1.0, 2.0, 4.0, 8.0], rising, rising, resamples=3)
    assert np.isnan(found).all()
    assert np.isnan(resampled).all()


def test_derandomised_draws_are_compared_with_random_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gains = {"without-replacement": 0.8, "low-discrepancy": 2.0, "joint": 1.0, "random": 0.0}

    def accuracy(setting: Setting, seed: int) -> float:
        augmentation = setting.recipe.augmentation
        # What low-discrepancy crops add is what training 1.25 times as long does; an order backwards harms.
        epochs = setting.recipe.epochs * (1.25 if augmentation.crop_sampling == "low-discrepancy" else 1)
        gain = 0 if augmentation.crop_sampling == "low-discrepancy" else gains[augmentation.crop_sampling]
        gain -= 3.0 * (augmentation.order == "flip-flop") + 1.5 * (augmentation.flip == "random")
        # What a seed does to all cells alike, and what it does to each.
        own = 0.05 * np.random.default_rng([seed, *repr(augmentation).encode()]).normal()
        return 100 - (20 + 200 / epochs) + gain + 0.3 * quantile(seed, 110 if setting.recipe.epochs == 16 else 12) + own

    monkeypatch.setattr(derandomised, "RESAMPLES", 400)  # enough for a p-value that Holm's method leaves below 0.05
    rows = analyse("derandomised", tmp_path, accuracy)
    control = rows["alternating minus random flip (control), 16 epochs, mini, no cutout, no TTA"]
    assert (control.ours, control.n, control.verdict) == (pytest.approx(1.5, abs=0.03), 110, "agrees")
    assert control.interval is not None
    assert control.interval[1] - control.interval[0] < 0.05  # of pairs: 0.3 points are common to both
    assert control.paper == pytest.approx(93.8652 - 93.7446)
    crops = rows["crops without replacement minus random, 16 epochs, mini, no cutout, no TTA"]
    assert (crops.ours, crops.n, crops.paper, crops.verdict) == (pytest.approx(0.8, abs=0.03), 110, None, "agrees")
    assert crops.note.startswith("of 4, by Holm: p = ")
    joint = rows["flips and crops jointly minus random, 32 epochs, mini, no cutout, no TTA"]
    assert (joint.ours, joint.n, joint.note[:4]) == (pytest.approx(1.0, abs=0.05), 32, "of 5")
    assert rows["flip-flop order minus random, 16 epochs, mini, no cutout, no TTA"].verdict == "differs"
    none = rows["antithetic crops minus random, 16 epochs, mini, no cutout, no TTA"]
    assert (none.ours, none.verdict) == (pytest.approx(0.0, abs=0.03), "not resolved at this n")
    assert rows["low-discrepancy cutouts minus random, 16 epochs, mini, cutout, no TTA"].n == 110
    speedup = rows["effective speedup of low-discrepancy crops, 16 epochs, mini, no cutout, no TTA"]
    assert (speedup.ours, speedup.paper, speedup.verdict) == (pytest.approx(25, rel=0.05), None, "agrees")
    assert not [cell for cell in rows if cell.startswith("effective") and "mini, cutout" in cell]  # of one length


def test_a_gain_of_several_is_resolved_by_its_adjusted_p_value() -> None:
    spread = np.array([quantile(seed, 50) for seed in range(50)])
    panel, random = derandomised.PANELS["cpu"][0], {16.0: 60 + spread}
    gains = {"one": {16.0: 60.45 + spread}, "two": {16.0: 60.45 + spread}}
    none = {key: set[float]() for key in gains}  # of the same seeds
    alone = derandomised._gains(panel, random, {"one": gains["one"]}, none, "cpu")
    both = derandomised._gains(panel, random, gains, none, "cpu")
    row = both["one"][16.0]
    assert (alone["one"][16.0].verdict, row.verdict) == ("agrees", "not resolved at this n")
    assert row.p is not None
    assert row.p < 0.05 < 2 * row.p
    assert row.note == f"of 2, by Holm: p = {2 * row.p:.2g}"


def test_a_speedup_of_several_is_resolved_by_its_adjusted_p_value() -> None:
    spread = np.array([quantile(seed, 50) for seed in range(50)])
    panel = derandomised.PANELS["cpu"][0]
    random = {e: 100 - (20 + 200 / e) + spread for e in (8.0, 16.0, 32.0, 64.0)}
    one = {16.0: random[16.0] + 0.45}
    several = {"one": one, **{f"none {n}": {16.0: random[16.0]} for n in range(30)}}
    common = {key: set[float]() for key in several}
    alone = derandomised._speedups(panel, random, {"one": one}, common, "cpu")["one"][16.0]
    row = derandomised._speedups(panel, random, several, common, "cpu")["one"][16.0]
    assert (alone.verdict, row.verdict) == ("agrees", "not resolved at this n")
    assert row.p is not None
    assert row.p < 0.05 < 31 * row.p
    assert row.note.startswith("of 31, by Holm: p = ")
    assert not derandomised._speedups(panel, {16.0: random[16.0]}, {"one": one}, common, "cpu")  # no curve


@pytest.mark.parametrize(("more", "verdict"), [(0.1, "agrees"), (0.4, "differs"), (0.9, "differs")])
def test_precisions_agree_where_their_difference_is_within_the_margin(
    tmp_path: Path, more: float, verdict: str
) -> None:
    def accuracy(setting: Setting, seed: int) -> float:
        half = setting.recipe.precision == "bfloat16"
        return 64 + (more if half else 0.0) + (1.0 if half else 0.9) * quantile(seed, 150)

    rows = analyse("precision", tmp_path, accuracy)
    difference = rows["bfloat16 minus float32"]
    assert (difference.ours, difference.n, difference.paper) == (pytest.approx(more), 150, None)
    assert difference.verdict == verdict
    ratio = rows["standard deviation of bfloat16 over that of float32"]
    assert (ratio.ours, ratio.verdict) == (pytest.approx(1 / 0.9), "not resolved at this n")


def test_derandomised_draws_have_a_row_for_every_cell_at_the_papers_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def accuracy(setting: Setting, seed: int) -> float:
        return 100 - (5 + 20 / setting.recipe.epochs) + 0.1 * quantile(seed, 3)

    monkeypatch.setattr(derandomised, "RESAMPLES", 5)
    found = make_up_paper("derandomised", tmp_path, accuracy, 3).rows
    gains = [row for row in found if "minus random," in row.cell]
    assert len(gains) == 2 * (4 * 4 + 2) + 3 * 4  # of 94 without and with test-time augmentation; of 96
    assert sum(row.cell.startswith("effective speedup of") for row in found) == len(gains)
    assert sum("(control)" in row.cell for row in found) == 2 * 4
    assert {row.verdict for row in gains} == {"not resolved at this n"}


def test_the_ladder_compares_these_methods() -> None:
    assert len(methods()) == 7 + 5 + 4  # two of the removed and added ones are steps of the ladder, too
    assert rung(0) == frozenset()
    assert rung(len(FEATURES)) == ALL
    assert list(LADDER)[1:] == list(FEATURES)
    assert len({tuple(fields_of(method).items()) for method in methods()}) == len(methods())
    assert fields_of(WHITENED) == {
        **{"whiten": True, "dirac": False, "bias_scale": 1.0},
        **{"lookahead": False, "tta_level": 1, "flip": "random"},
    }


def test_the_ladder_finds_the_epochs_that_each_method_needs(tmp_path: Path) -> None:
    needs = {method: 4.0 + 2.0 * (len(FEATURES) - len(method)) for method in methods()}
    by_fields = {tuple(fields_of(method).items()): epochs for method, epochs in needs.items()}

    def accuracy(setting: Setting, seed: int) -> float:
        recipe = setting.recipe
        method = tuple((name, recipe.value_of(name)) for name in fields_of(ALL))
        return 50 + 15 * math.log(recipe.epochs / by_fields[method]) + quantile(seed, 10)

    rows = analyse("ladder", tmp_path, accuracy)
    assert rows["epochs, ladder, baseline"].ours == pytest.approx(16.0, rel=0.02)
    assert rows["epochs, ladder, + alternating flip"].ours == pytest.approx(4.0, rel=0.02)
    assert rows["epochs, all but dirac"].ours == pytest.approx(6.0, rel=0.02)
    saved = rows["epochs saved by dirac, in the whole method"]
    assert saved.ours == pytest.approx(100 / 3, abs=1.5)
    assert (saved.verdict, saved.paper) == ("agrees", pytest.approx(100 * (1 - 9.9 / 12.7)))
    assert rows["epochs, ladder, baseline"].verdict == "not comparable at this scale"
    close = SEARCHES["cpu"].rounds
    assert saved.n == sum(one.networks * len(one.factors) for one in close)
    assert len([cell for cell in rows if cell.startswith("epochs saved by")]) == 6 + len(REMOVED) + len(ADDED)


def test_a_round_of_the_ladder_waits_for_the_one_before(tmp_path: Path) -> None:
    parts = LADDER_EXPERIMENT.parts("cpu", tmp_path)
    first = next(parts)
    assert first.name == "round-0"
    assert list(parts) == []
    write_sweep(
        first.load(), tmp_path / first.name, lambda setting, seed: 50 + 10 * math.log(setting.recipe.epochs / 6)
    )
    names = [part.name for part in LADDER_EXPERIMENT.parts("cpu", tmp_path)]
    assert names == ["round-0", "round-1"]
    second = list(LADDER_EXPERIMENT.parts("cpu", tmp_path))[1].load()
    assert {setting.recipe.epochs for setting in second.settings} == {5.1, 6.0, 7.2}
    assert not set(second.seeds) & set(first.load().seeds)


def test_methods_are_compared_at_their_best_learning_rates_by_steps_and_operations(tmp_path: Path) -> None:
    def accuracy(setting: Setting, seed: int) -> float:
        recipe = setting.recipe
        muon, hiverge = recipe.value_of("newton_schulz_steps") is not None, recipe.value_of("activation") == "silu"
        deep = "96" if recipe.value_of("convs_per_block") == 3 else "sgd"
        family = "hiverge" if hiverge else "muon" if muon else "proxy" if recipe.selection is not None else deep
        needed = {"sgd": 6.0, "96": 6.0, "proxy": 5.0, "muon": 4.0, "hiverge": 3.5}[family]
        best = {"sgd": 11.5, "96": 18.0, "proxy": 36.0, "muon": 0.48, "hiverge": 0.1025}[family]
        needed *= 0.9 if recipe.augmentation.crop_sampling == "low-discrepancy" else 1.0
        wrong = abs(math.log2(recipe.value_of("learning_rate") / best))
        return 50 + 14 * math.log(recipe.epochs / needed) - 5 * wrong + 0.3 * quantile(seed, 14)

    folders = make_up(METHODS_EXPERIMENT, tmp_path, accuracy)
    assert len(folders) == 3 * 5
    found = METHODS_EXPERIMENT.analyse(Context("cpu", folders, None))
    rows = {row.cell: row for row in found.rows}
    assert found.networks == 12 * (20 * 2 + 3 * 4 + 3 * 10)
    assert rows["steps to 50%, sgd"].ours == pytest.approx(6 * 60, rel=0.01)
    assert rows["steps to 50%, muon"].ours == pytest.approx(4 * 30, rel=0.01)
    rates = {one["name"]: one["learning_rate"] for one in found.series["methods"]}
    assert (rates["sgd"], rates["muon"], rates["hiverge"], rates["proxy"]) == (11.5, 0.48, 0.1025, 36.0)
    best = rows["best learning rate, proxy"]
    assert (best.ours, best.note) == (4.0, "an end of those tried")
    assert (rows["best learning rate, 96"].ours, rows["best learning rate, 96"].note) == (2.0, "")
    # Half the images of each batch are learnt from, for the proxy's own cost; and five sixths of the epochs.
    assert (rows["operations saved by proxy over 96"].ours or 0) > 100 / 6
    assert not {"operations saved by 96 over sgd", "operations saved by proxy over sgd"} & set(rows)
    saved = rows["operations saved by sgd + low-discrepancy crops over sgd"]
    assert saved.ours == pytest.approx(10, abs=1)
    assert (saved.verdict, saved.paper, saved.n) == ("agrees", None, 42)
    whole, small = (rows[f"operations to 50%, {name}"] for name in ("muon", "muon + curriculum"))
    assert (whole.ours, small.ours) != (None, None)
    # Thirds of 24, 28 and 32 pixels, whose blocks have 11, 13 and 15 pixels a side, and so on.
    assert 0.7 < (small.ours or 0) / (whole.ours or 1) < 0.85
    draw(METHODS_EXPERIMENT, save(METHODS_EXPERIMENT, "cpu", found, tmp_path / "results"), tmp_path / "results")


@pytest.mark.parametrize(("level", "telling"), [(60.0, 1.5), (20.0, 12.0)])
def test_of_learning_rates_that_need_as_many_epochs_the_most_accurate_is_kept(
    tmp_path: Path, level: float, telling: float
) -> None:
    # All pass 50% before the shortest length, or none passes; where that does not tell, accuracy at the other end would
    # choose another rate.
    def accuracy(setting: Setting, seed: int) -> float:
        rate, epochs = setting.recipe.value_of("learning_rate"), setting.recipe.epochs
        return level + math.log(epochs) - abs(math.log2(rate / (23.0 if epochs == telling else 5.75)))

    folders = []
    for part in METHODS_EXPERIMENT.parts("cpu", tmp_path):
        if part.name == "round-0-sgd":
            write_sweep(part.load(), tmp_path / part.name, accuracy)
            folders.append(tmp_path / part.name)
    assert choose(read_cells(folders), METHODS[0]).learning_rate == 23.0


def test_fig3_compares_lengths_and_sizes(tmp_path: Path) -> None:
    def accuracy(setting: Setting, seed: int) -> float:
        width = setting.recipe.value_of("widths")[1]
        return 30 + 5 * math.log2(setting.recipe.epochs) + (width - 32) / 16 + 0.5 * quantile(seed, 12)

    rows = analyse("fig3", tmp_path, accuracy)
    assert rows["small: 8 epochs minus 4"].ours == pytest.approx(5.0)
    assert rows["medium minus small, 32 epochs"].ours == pytest.approx(1.0)
    assert {row.verdict for row in rows.values()} == {"agrees"}
    assert len(rows) == 3 * 3 + 2


def test_table4_tells_spread_of_the_test_set_from_that_of_the_distribution() -> None:
    generator = np.random.default_rng(0)
    # Runs differ by 2 points all over the test set, and beyond that image by image.
    skills = 0.6 + 0.02 * generator.normal(size=(200, 1))
    correct = generator.random((200, 2000)) < skills
    assert spread.test_set_sd(correct) == pytest.approx(100 * math.sqrt(0.02**2 + 0.24 / 2000), rel=0.15)
    assert spread.distribution_sd(correct) == pytest.approx(2.0, rel=0.2)
    # Means of 1 and 1/2; of the examples one differs: 2 (1/8 - (1/2) / 4) = 0.
    assert spread.distribution_sd(np.array([[True, True], [True, False]])) == pytest.approx(0)


def test_a_paired_difference_has_no_spread_where_the_runs_do_not_differ() -> None:
    generator = np.random.default_rng(0)
    correct = generator.random((30, 100)) < 0.7
    paired = spread.bootstrap_difference(spread.test_set_sd, correct, correct, paired=True, resamples=50)
    assert (paired == 0).all()
    unpaired = spread.bootstrap_difference(spread.test_set_sd, correct, correct, paired=False, resamples=50)
    assert unpaired.std() > 0


def small_table4(scale: Scale, out: Path) -> Iterator[Part]:
    """Table 4's parts with 40 networks each."""
    for part in table4.TABLE4.parts(scale, out):
        yield part._replace(content=tomllib.loads(part.plan.read_text()) | {"seeds": 40})


def test_table4_compares_sizes_and_evaluations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(cell: Cell, place: Path | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        predictions = cell.results.array("predictions")
        return predictions == LABELS, predictions, LABELS

    monkeypatch.setattr(table4, "read_correct", read)
    monkeypatch.setitem(EXPERIMENTS, "table4", table4.TABLE4._replace(parts=small_table4))
    rows = analyse("table4", tmp_path, lambda setting, seed: 60 + 10 * (setting.recipe.epochs > 3), labels=LABELS)
    assert len(rows) == 4 * (6 + 3 + 4)
    augmented = rows["change of mean accuracy by TTA, 2x epochs"]
    assert (augmented.ours, augmented.paper) == (pytest.approx(1.0), pytest.approx(94.65 - 93.86))
    longer = rows["change of mean accuracy by 2x epochs, no TTA"]
    assert (longer.ours, longer.verdict, longer.n) == (pytest.approx(10, abs=1), "agrees", 40)
    # All networks are right in as many images, whichever: nothing but chance of the test set.
    spread = rows["test-set sd, 1x epochs, 1x width, no TTA"]
    assert spread.ours == pytest.approx(100 * math.sqrt(0.24 / 500), rel=0.3)
    assert rows["change of CACE by TTA, 2x epochs"].ours == 0  # of the same votes


def test_table5_says_whether_large_networks_begin_to_learn(
    tmp_path: Path, other_data: None, monkeypatch: pytest.MonkeyPatch, toy: airjax.Dataset
) -> None:
    import experiments.table5.analyse as table5

    monkeypatch.setattr(table5, "load_data_of", lambda cell, place: toy)

    def accuracy(setting: Setting, seed: int) -> float:
        return 60 + (setting.recipe.augmentation.cutout > 0) + 0.1 * quantile(seed, 6)

    rows = analyse("table5", tmp_path, accuracy)
    cutout = rows["cutout minus none, mini, cifar100"]
    assert (cutout.ours, cutout.n, cutout.verdict) == (pytest.approx(1.0), 6, "agrees")
    start = rows["mean loss, resnet18-80, one epoch of CIFAR-100"]
    # The losses that are made up: 2.0 over the epoch and 1.0 at its end, less than log 10 of the toy's classes.
    assert (start.ours, start.verdict) == (2.0, "not comparable at this scale")
    last = rows["loss of the last step, 96-paper, one epoch of CIFAR-100"]
    assert (last.ours, last.note) == (1.0, "below the mean: the loss falls")


@pytest.mark.parametrize(("sd", "verdict"), [(0.01, "agrees"), (0.11, "not resolved at this n")])
def test_table5_compares_the_networks_at_the_papers_scale(tmp_path: Path, sd: float, verdict: str) -> None:
    def accuracy(setting: Setting, seed: int) -> float:
        network = "airbench" if setting.recipe.value_of("tta_level") else "resnet"
        cutout = setting.recipe.augmentation.cutout > 0
        return TABLE5_PAPER[network, setting.data, cutout] + sd * quantile(seed, 5)

    rows = {row.cell: row for row in make_up_paper("table5", tmp_path, accuracy, 5).rows}
    differences = {cell: row for cell, row in rows.items() if cell.startswith("airbench minus ResNet-18")}
    assert [round(row.paper or 0, 2) for row in differences.values()] == [0.06, 0.04, 1.73, 1.72]
    assert all(row.ours == pytest.approx(row.paper) for row in differences.values())
    assert {row.verdict for row in differences.values()} == {verdict}
    assert {row.verdict for row in rows.values() if " minus " not in row.cell} == {"agrees"}
    assert len(rows) == 4 + 6 + 12
