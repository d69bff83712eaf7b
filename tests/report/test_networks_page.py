"""The page of a training's folder."""

import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folders import logits_of, make_networks

import airjax
from airjax.cli.train_folder import EpochLog
from airjax.report import networks
from airjax.report.figures import epoch_ticks
from airjax.report.figures_classes import describe_classes
from airjax.report.folders import render_folder
from airjax.report.networks import read_networks
from airjax.report.networks_page import draw_networks, render_networks
from airjax.report.networks_texts import changed_table, command
from airjax.report.pictures import confident_mistakes
from airjax.report.probabilities import confidence_reliability, expected_calibration_error, mean_probability, softmax
from airjax.report.survey import SurveyError
from airjax.training.events import EpochReport

needs_vega = pytest.importorskip("vl_convert", reason="vl-convert is not installed (pip install '.[report]')")
TAG = re.compile("<[^>]*>")


@pytest.fixture(autouse=True)
def _toy_tests(small_builtin: airjax.Dataset) -> None:
    """Every test here is on the toy data set."""


@pytest.fixture
def folder(tmp_path: Path, toy: airjax.Dataset) -> Path:
    return make_networks(tmp_path / "runs", toy, [60, 64, 68])


def words_of(folder: Path) -> str:
    """What a reader sees of a page."""
    text = re.sub("<script.*?</script>|<style.*?</style>", "", render_folder(folder).text, flags=re.DOTALL)
    return " ".join(html.unescape(TAG.sub(" ", text)).split())


def test_the_headline_comes_first_and_what_was_changed_next(folder: Path) -> None:
    words = words_of(folder)
    # The mean of 60, 64 and 68, and 4.303 standard errors of 4 / sqrt(3) to either side.
    headline = words.index("Accuracy 64.00% (95% interval 54.06 to 73.94%, n = 3)")
    assert "Trained in 6.0 s a network" in words
    changed = words.index("epochs 2.0 3.0")
    assert headline < changed < words.index("Learning curves") < words.index("Most confident mistakes")
    assert "airjax train --recipe tiny --seed 0 --seeds 3 --data synthetic --epochs 3.0" in words
    assert "gains +2.00 points (95% interval +2.00 to +2.00, n = 3)" in words
    assert "jax 1.2.3" in words


def test_the_commands_train_the_networks_that_are_there(folder: Path) -> None:
    networks = read_networks(folder)

    def lines(seeds: list[int], changed: dict[str, Any], **more: Any) -> list[str]:
        runs = [{"seed": seed, "accuracy": 0.5} | more for seed in seeds]
        return command(networks._replace(runs=runs), changed).splitlines()

    first, second = lines([0, 1, 2, 10], {"train_examples": 200, "precision": "float32", "mean": [0.5]})
    assert first.startswith("airjax train --recipe tiny --seed 0 --seeds 3 --data")
    assert first.endswith("--train-examples 200 --precision float32 --out DIR")
    assert "--mean" not in first
    assert second == first.replace("--seed 0 --seeds 3", "--seed 10 --seeds 1")
    (line,) = lines([1, 2], {}, batches_of=0)
    assert "--seeds 2 --group 3" in line


def test_what_the_device_chose_is_no_change(folder: Path) -> None:
    networks = read_networks(folder)
    assert changed_table(networks, {"precision": "float32"}) is None
    table = changed_table(networks, {"precision": "float32", "epochs": 3.0})
    assert table is not None
    assert [row[0] for row in table.rows] == ["epochs"]


def test_plain_accuracies_of_groups_and_trees_are_in_the_records(folder: Path) -> None:
    (folder / "epochs.jsonl").unlink()
    assert read_networks(folder).gains == {}
    lines = [json.loads(line) for line in (folder / "runs.jsonl").read_text().splitlines()]
    crop = {"size": 128, "accuracy": 0.5, "tta_accuracy": 0.55}
    for line, more in zip(lines, ({"plain_accuracy": 0.58}, {"test_crops": [crop]}, {}), strict=True):
        line.update(more)
    (folder / "runs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_networks(folder).gains == {0: pytest.approx((58, 60)), 1: pytest.approx((50, 55))}


@pytest.mark.parametrize(
    ("epochs", "named"),
    [
        (1, [1]),
        (3, [1, 2, 3]),
        (8, [*range(1, 9)]),
        (10, [1, 2, 4, 6, 8, 10]),
        (40, [1, 5, 10, 15, 20, 25, 30, 35, 40]),
    ],
)
def test_axes_name_whole_epochs(epochs: int, named: list[int]) -> None:
    assert epoch_ticks(epochs) == named
    assert len(epoch_ticks(200)) <= 9


def test_figures_show_what_the_folder_holds(folder: Path) -> None:
    charts = draw_networks(read_networks(folder))
    expected = {"loss", "learning", "accuracy", "stages", "gains", "classes", "confusion", "reliability", "difficulty"}
    assert set(charts) == expected
    assert [row["mean"] for row in charts["loss"]["data"]["values"]] == [2.0, 1.0]
    learning = charts["learning"]["data"]["values"]
    assert [row["mean"] for row in learning if row["setting"] == "test images"] == pytest.approx([35.0, 62.0])
    assert [row["gain"] for row in charts["gains"]["data"]["values"]] == pytest.approx([2.0, 2.0, 2.0])
    right = [row for row in charts["confusion"]["data"]["values"] if row["true"] == row["seen"]]
    assert np.mean([row["percent"] for row in right]) == pytest.approx(64, abs=4)


def test_without_the_data_set_the_page_says_what_it_leaves_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (folder / "recipe.json").read_text()
    (folder / "recipe.json").write_text(text.replace('"dataset_sha256": "', '"dataset_sha256": "0'))
    words = words_of(folder)
    assert "is not what the networks were trained on. So everything that needs" in words
    assert "Most confident mistakes" not in words
    assert "Whitening filters" in words


def test_a_folder_of_an_earlier_version_has_a_page_without_outputs(folder: Path) -> None:
    for file in (folder / "outputs").iterdir():
        file.unlink()
    (folder / "epochs.jsonl").unlink()
    words = words_of(folder)
    assert "The folder holds no outputs of its networks" in words
    assert "Learning curves" not in words
    assert "What the epochs show" in words


def test_networks_in_training_are_followed(folder: Path, toy: airjax.Dataset, tmp_path: Path) -> None:
    log = EpochLog(folder)
    log.begin([3])
    log.epoch(EpochReport(0, 2.0, 0.3, 0.35, None, 3.0))
    with (folder / "epochs.jsonl").open("a") as stream:
        stream.write('{"seeds": [4], "epo')  # a line that is being written
    assert "Seed 3 has ended epoch 1 of 3." in words_of(folder)
    begun = make_networks(tmp_path / "begun", toy, [])
    with pytest.raises(SurveyError, match=r"no network in .* is finished, nor has ended an epoch"):
        read_networks(begun)
    log = EpochLog(begun)
    log.begin([0, 1])
    log.epoch(EpochReport(0, 2.0, 0.3, None, None, 3.0))
    assert "No network is finished yet Seed 0, 1 has ended epoch 1 of 3." in words_of(begun)


def test_curves_of_groups_are_their_weighted_means_and_have_no_band(
    folder: Path, toy: airjax.Dataset, tmp_path: Path
) -> None:
    def lines(log: EpochLog, seeds: list[int], losses: list[float]) -> None:
        log.begin(seeds)
        for epoch, loss in enumerate(losses):
            log.epoch(EpochReport(epoch, loss, 0.3, 0.5, None, 3.0))

    def caption(of: Path) -> str:
        words = words_of(of)
        return words[words.index("Learning curves") : words.index("The first training examples")]

    assert "range that holds 90%" in words_of(folder).split("Loss on the training examples")[0]
    assert any(layer["mark"]["type"] == "area" for layer in draw_networks(read_networks(folder))["loss"]["layer"])
    grouped = make_networks(tmp_path / "grouped", toy, [])
    log = EpochLog(grouped)
    lines(log, [0, 1, 2, 3], [9.0, 9.0])  # given up for smaller groups, for lack of memory
    lines(log, [0, 1, 2], [2.0, 1.0])
    lines(log, [3], [4.0])
    networks = read_networks(grouped)
    loss = draw_networks(networks)["loss"]
    # Three times 2 and once 4; of the second epoch seed 3 has the mean of its first group alone.
    assert [row["mean"] for row in loss["data"]["values"]] == [2.5, (3 * 1 + 9) / 4]
    assert not any(layer["mark"]["type"] == "area" or "5% below" in json.dumps(layer) for layer in loss["layer"])
    assert "90%" not in caption(grouped)
    assert "of those that were trained as a group only the group's mean is known" in caption(grouped)
    assert [line["seeds"] for line in networks.training] == [[0, 1, 2], [3]]


def test_networks_that_are_left_out_are_counted(
    folder: Path, toy: airjax.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Each network without test-time augmentation" in words_of(folder)
    assert "the outputs of" not in words_of(folder)
    found = read_networks(folder)
    many = found._replace(gains={seed: (50.0, 50.0 + seed) for seed in range(41)})
    gains = draw_networks(many)["gains"]["data"]["values"]
    assert len(gains) == 40
    assert (gains[0]["network"], gains[-1]["network"]) == ("seed 40", "seed 0")  # from the best to the worst
    text = " ".join(render_networks(many).text.split())
    assert "40 of 41 networks, evenly spread over their ranks, without test-time augmentation" in text
    monkeypatch.setattr(networks, "MOST", 2)
    (folder / "outputs" / "0.safetensors").unlink()
    assert read_networks(folder).seeds == [1, 2]
    assert "the outputs of 2 of 3 networks, the first that finished" in words_of(folder)


def test_classes_that_are_left_out_are_counted() -> None:
    assert describe_classes(30) == "each class, the hardest first"
    assert describe_classes(1000) == "the 30 hardest of 1,000 classes"


def test_the_page_of_a_verified_record_is_that_of_its_networks(folder: Path, tmp_path: Path) -> None:
    record = tmp_path / "record"
    record.mkdir()
    (record / "plan.json").write_text('{"recipe": "tiny", "seeds": 3, "commits": []}')
    folder.rename(record / "networks")
    assert "Accuracy 64.00%" in words_of(record)


def test_probabilities_and_their_calibration() -> None:
    logits = np.log(np.array([[[8.0, 1, 1], [6, 2, 2]]], np.float32))
    assert softmax(logits[0]) == pytest.approx(np.array([[0.8, 0.1, 0.1], [0.6, 0.2, 0.2]]))
    labels = np.array([0, 1])
    # Sure by 0.8 and right, sure by 0.6 and wrong.
    assert expected_calibration_error(confidence_reliability(logits, labels)) == pytest.approx((0.2 + 0.6) / 2)
    assert np.isnan(softmax(np.array([np.inf, 0.0]))).any()


def test_the_surest_mistakes_come_first(toy: airjax.Dataset) -> None:
    logits = logits_of(toy.test_labels, 97)
    logits[98] *= 2
    pictures = confident_mistakes(mean_probability(logits[None]), toy.test_images, toy.test_labels, toy.classes)
    assert [picture.note for picture in pictures] == ["test image 98", "test image 97", "test image 99"]
    seen, true = pictures[0].bars[0], next(bar for bar in pictures[0].bars if bar.kind == "right")
    assert (seen.kind, seen.name) == ("wrong", toy.classes[(toy.test_labels[98] + 1) % 10])
    assert true.name == toy.classes[toy.test_labels[98]]
