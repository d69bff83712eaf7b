"""The worked studies, on sweeps whose outcome is made up."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import airjax
from airjax.sweep.plan import Subsets
from airjax.sweep.store import Writer

pytest.importorskip("matplotlib", reason="matplotlib is not installed (pip install '.[report]')")

from benchmarks import studies

POOL, IMAGES, SUBSETS = 60, 40, {"count": 220, "fraction": 0.5, "seed": 0}


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch, toy: airjax.Dataset) -> list[dict[str, Any]]:
    """What the command keeps; its data set is the toy."""
    records: list[dict[str, Any]] = []
    monkeypatch.setattr(studies, "save", lambda folder, file, record: records.append(record))
    monkeypatch.setattr(studies, "find_data", lambda name, source, folder: toy)
    return records


def write_sweep(out: Path, arrays: list[dict[str, np.ndarray]], labels: np.ndarray, subsets: Any = None) -> Path:
    writer = Writer(out, "a")
    for number, one in enumerate(arrays):
        record = {"id": f"s-{number}", "setting": "s", "seed": 0, "subset": number, "changes": {}, "environment": "e"}
        accuracy = float((one["predictions"] == labels).mean())
        writer.add(record | {"accuracy": accuracy, "diverged": False, "error": None, "seconds": 2.0}, one)
    plan = {
        "recipe": "tiny",
        "seeds": [0],
        "settings": {"s": {}},
        "num_runs": len(arrays),
        "subsets": subsets,
        "pools": {"s": POOL},
        "recipes": [{"train_examples": 30}],
    }
    plan["data"] = {"cifar10": {"fingerprint": "f", "content": "official", "place": None}}
    (out / "plan.json").write_text(json.dumps(plan))
    return out


def test_variance_tells_what_runs_have_in_common_from_chance(
    tmp_path: Path, toy: airjax.Dataset, kept: list[dict[str, Any]]
) -> None:
    generator = np.random.default_rng(0)
    labels = toy.test_labels
    # Runs differ by 5 points all over the test set, and beyond that image by image.
    skills = 0.6 + 0.05 * generator.normal(size=300)
    right = generator.random((300, len(labels))) < skills[:, None]
    arrays = [{"predictions": np.where(one, labels, (labels + 1) % 10).astype(np.uint8)} for one in right]
    out = write_sweep(tmp_path / "sweep", arrays, labels)
    assert studies.main(["variance", str(out), "--figures", str(tmp_path)]) == 0
    (record,) = kept
    assert record["n"] == 300
    assert record["content"] == "official"  # as the sweep's folder says
    assert record["mean"] == pytest.approx(60, abs=1)
    assert record["independent_sd"] == pytest.approx(100 * np.sqrt(0.24 / len(labels)), rel=0.05)
    assert record["distribution_sd"] == pytest.approx(5, rel=0.2)
    low, high = record["distribution_variance_interval"]
    assert low < 0.05**2 < high
    assert record["halves_correlation"] > 0.2
    pictures = {"accuracies", "halves", "examples", "calibration"}
    assert {file.name for file in tmp_path.glob("*.png")} == {f"variance-{name}.png" for name in pictures}


def test_attribution_finds_the_images_that_help(
    tmp_path: Path, toy: airjax.Dataset, kept: list[dict[str, Any]]
) -> None:
    generator = np.random.default_rng(0)
    labels = toy.test_labels[:IMAGES]
    # An image of a class helps the test images of that class, and has effects of its own.
    effects = (toy.train_labels[:POOL, None] == labels) + 0.5 * generator.normal(size=(POOL, IMAGES))
    arrays = []
    for number in range(SUBSETS["count"]):
        seen = Subsets(**SUBSETS).indices(number, POOL)
        logits = generator.normal(size=(IMAGES, 10)) * 0.1
        logits[np.arange(IMAGES), labels] += effects[seen].sum(0)
        arrays.append({"predictions": logits.argmax(1).astype(np.uint8), "logits": logits.astype(np.float16)})
    out = write_sweep(tmp_path / "sweep", arrays, labels, SUBSETS)
    assert studies.main(["attribution", str(out), "--figures", str(tmp_path)]) == 0
    (record,) = kept
    assert (record["fitted"], record["held_out"]) == (120, 100)
    assert record["held_out_correlation"] > 0.9
    assert 0.2 < record["class_counts_correlation"] < record["held_out_correlation"]
    assert record["beyond_classes_correlation"] > 0.9
    assert record["beyond_classes_positive"] == 1
    assert record["beyond_classes_chance_sd"] < 0.1
    assert record["weight_same_class"] > 0.5
    assert abs(record["weight_other_class"]) < 0.1
    pictures = {f"attribution-{name}.png" for name in ("correlations", "images")}
    assert {file.name for file in tmp_path.glob("*.png")} == pictures


def test_an_unfinished_sweep_is_refused(
    tmp_path: Path, toy: airjax.Dataset, kept: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = [{"predictions": toy.test_labels.astype(np.uint8)}]
    out = write_sweep(tmp_path / "sweep", arrays, toy.test_labels)
    plan = json.loads((out / "plan.json").read_text())
    (out / "plan.json").write_text(json.dumps(plan | {"num_runs": 2}))
    assert studies.main(["variance", str(out)]) == 1
    assert "1 of 2 networks are finished" in capsys.readouterr().err
    assert kept == []
