"""Table 3's cells: what trains them, and what is made of networks whose accuracies are known."""

import json
from pathlib import Path

import pytest

from airjax.cli import train
from airjax.cli.train_options import parse
from airjax.sweep.store import ResultsError
from experiments.experiment import SCALES, Context, Scale
from experiments.forecast import forecast
from experiments.page import results_table
from experiments.record import draw, rows_of, save
from experiments.table3.analyse import TABLE3_EXPERIMENT, trainings
from experiments.table3.paper import TABLE3
from experiments.train import folders_of
from experiments.trainings import Training, train_cells


def write_cells(scale: Scale, out: Path) -> None:
    """Networks of which alternating flip has a point more than random flip, and mirrored views two more."""
    for training in trainings(scale):
        (out / training.name).mkdir(parents=True)
        (out / training.name / "recipe.json").write_text(json.dumps({"recipe": training.load().to_dict()}))
        with (out / training.name / "runs.jsonl").open("w") as stream:
            for seed in range(training.seeds):
                accuracy = 0.5 + 0.001 * seed + 0.01 * training.name.endswith("alternating-hash")
                crop = {"fraction": 1.0, "accuracy": accuracy, "tta_accuracy": accuracy + 0.02}
                crops = [crop | {"size": 256}, crop | {"size": 192, "accuracy": accuracy - 0.1}]
                stream.write(json.dumps({"seed": seed, "test_crops": crops, "environment": "here"}) + "\n")


@pytest.mark.parametrize("scale", SCALES)
def test_every_cell_is_a_command_that_can_be_given(scale: Scale, tmp_path: Path) -> None:
    for training in trainings(scale):
        options, name = parse(training.arguments(tmp_path, Path("TREE")))
        assert (name, options.seeds, options.data) == (training.recipe, training.seeds, "imagenet")
        recipe = training.load()
        recipe.require_crops()
        assert {field: options.method.value_of(field) for field in training.changes} == training.changes
        assert recipe.override(train_examples=1_281_167, test_examples=50_000) == options.method


def test_the_paper_s_cells_take_so_many_hours_as_ffcv_publishes(tmp_path: Path) -> None:
    found = forecast(TABLE3_EXPERIMENT, "paper", tmp_path)
    assert (found.planned, found.finished) == (44, 0)
    assert found.seconds == pytest.approx(3600 * 57.4, rel=0.01)
    assert forecast(TABLE3_EXPERIMENT, "cpu", tmp_path).seconds is None


@pytest.mark.parametrize("scale", SCALES)
def test_differences_of_flips_and_all_accuracies_are_found(scale: Scale, tmp_path: Path) -> None:
    write_cells(scale, tmp_path)
    folders = tuple(folders_of(TABLE3_EXPERIMENT, scale, tmp_path))
    found = TABLE3_EXPERIMENT.analyse(Context(scale, folders, None))
    rows = {row.cell: row for row in found.rows}
    assert len(rows) == len(found.rows)
    assert found.networks == sum(training.seeds for training in trainings(scale)) == (60 if scale == "cpu" else 44)
    name = "light crop, 16 epochs, tested on 7/8 of the shorter side"
    gain = rows[f"alternating-hash minus random, {name}"]
    assert (gain.ours, gain.paper) == (pytest.approx(1.0), pytest.approx(0.35))
    assert gain.verdict == ("agrees" if scale == "cpu" else "differs")
    assert rows[f"random minus none, {name}"].ours == pytest.approx(0.0)
    plain, views = (rows[f"random, {test}"] for test in (name, f"{name}, mirrored views"))
    assert views.ours - plain.ours == pytest.approx(2.0)
    # With heavy crops the paper claims no difference, whatever the signs of its last digits.
    heavy = rows["alternating-hash minus random, heavy crop, 16 epochs, tested on 7/8 of the shorter side"]
    assert heavy.verdict == ("not resolved in the paper" if scale == "cpu" else "differs")
    smaller = rows["random, light crop, 16 epochs, tested on the whole shorter side"]
    assert plain.ours - smaller.ours == pytest.approx(10.0)
    assert sum(1 for row in found.rows if " minus " not in row.cell) == (24 if scale == "cpu" else 29)
    record = save(TABLE3_EXPERIMENT, scale, found, tmp_path)
    assert draw(TABLE3_EXPERIMENT, record, tmp_path)[0].read_bytes().startswith(b"\x89PNG")
    assert results_table(rows_of(record)) == results_table(found.rows)
    assert len(TABLE3) == 10


def test_networks_of_another_recipe_or_environment_are_not_taken_for_a_cell_s(tmp_path: Path) -> None:
    write_cells("cpu", tmp_path)
    folders = tuple(folders_of(TABLE3_EXPERIMENT, "cpu", tmp_path))
    file = tmp_path / "heavy-16-random" / "runs.jsonl"
    text = file.read_text()
    file.write_text(text.replace("here", "there", 1))
    with pytest.raises(ResultsError, match="2 environments; --mixed"):
        TABLE3_EXPERIMENT.analyse(Context("cpu", folders, None))
    assert TABLE3_EXPERIMENT.analyse(Context("cpu", folders, None, mixed=True)).networks == 60
    file.write_text(text)
    cell = trainings("cpu")[1]
    recipe = file.with_name("recipe.json")
    for change in ({"train_examples": 640}, {"precision": "bfloat16"}):  # of another tree, or asked for
        recipe.write_text(json.dumps({"recipe": cell.load().override(**change).to_dict()}))
        TABLE3_EXPERIMENT.analyse(Context("cpu", folders, None))
    recipe.write_text(json.dumps({"recipe": cell.load().override(learning_rate=0.1).to_dict()}))
    with pytest.raises(ResultsError, match=r"heavy-16-random has networks of learning_rate = 0.1, but .* now has 0.05"):
        TABLE3_EXPERIMENT.analyse(Context("cpu", folders, None))
    recipe.write_text("[]")
    with pytest.raises(ResultsError, match=r"recipe.json is not the recipe of a training"):
        TABLE3_EXPERIMENT.analyse(Context("cpu", folders, None))


def test_a_cell_that_lacks_networks_is_named(tmp_path: Path) -> None:
    write_cells("cpu", tmp_path)
    file = tmp_path / "heavy-16-random" / "runs.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:7]))
    folders = tuple(folders_of(TABLE3_EXPERIMENT, "cpu", tmp_path))
    with pytest.raises(ResultsError, match=r"heavy-16-random has 7 of 10 networks; rerunning the experiment trains"):
        TABLE3_EXPERIMENT.analyse(Context("cpu", folders, None))
    assert forecast(TABLE3_EXPERIMENT, "cpu", tmp_path).finished == 57


def test_a_cell_that_fails_does_not_keep_the_others_from_being_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes, called = iter((0, 1, 0, 130, 0)), list[str]()

    def main(arguments: list[str], _: str) -> int:
        called.append(arguments[arguments.index("--out") + 1])
        return next(codes)

    monkeypatch.setattr(train, "main", main)
    cells = [Training(f"cell-{number}", "tiny", {}, 2) for number in range(5)]
    assert train_cells(cells[:3], tmp_path, None) == 1
    assert len(called) == 3
    assert train_cells(cells[3:], tmp_path, None) == 130  # who stops it stops it
    assert len(called) == 4
