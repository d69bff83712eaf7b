from pathlib import Path
from typing import Any

import numpy as np
import pytest

from airjax.report import summary
from airjax.report.summary import load_curves, sum_logits, summarize
from airjax.stats.variance import run_variance
from airjax.sweep.store import Results, Writer, load

LABELS = np.arange(100, dtype=np.int32) % 10


def write(folder: Path, right: list[int], **arrays: list[np.ndarray]) -> Results:
    """Networks that classify the first so many of 100 images right, and the others as the next class."""
    writer = Writer(folder, "a")
    for number, count in enumerate(right):
        record: dict[str, Any] = {"id": f"s-{number}", "accuracy": count / 100, "diverged": False, "error": None}
        predictions = np.where(np.arange(100) < count, LABELS, (LABELS + 1) % 10).astype(np.uint8)
        mine = {name: values[number] for name, values in arrays.items()}
        writer.add(record | {"environment": "e", "seconds": 1.0 + number}, {"predictions": predictions} | mine)
    return load(folder)


def test_numbers_by_hand(tmp_path: Path) -> None:
    found, details = summarize(write(tmp_path, [60, 62, 64, 66]), LABELS)
    assert (found.networks, found.lowest, found.highest, found.seconds) == (4, 60, 66, 2.5)
    # Student with 3 degrees of freedom: 63 -+ 3.182 * 2.582 / 2.
    assert found.mean.value == pytest.approx(63)
    assert found.mean.interval == pytest.approx((58.89, 67.11), abs=0.005)
    assert found.sd is not None
    assert found.sd.value == pytest.approx(np.sqrt(20 / 3))
    # Of six pairs of networks 3, 4 and 3 differ on two images each.
    assert found.disagreement is not None
    assert found.disagreement.value == pytest.approx(2 * (3 + 4 + 3) / 6)
    # Images 62 and 63 tie between their class and the next one, and the lower class wins.
    assert (found.ensemble, found.ensemble_of) == (64, "votes")
    np.testing.assert_array_equal(details.votes[61], [0, 3, 1, 0, 0, 0, 0, 0, 0, 0])
    assert details.class_accuracies is not None
    # Of class 0, images 0, 10, ... 60: the last is right with 3 of 4 networks.
    np.testing.assert_allclose(details.class_accuracies[:, 0], [60, 70, 70, 70])


def test_the_gain_of_test_time_augmentation_is_that_of_pairs(tmp_path: Path) -> None:
    found = write(tmp_path, [60, 62, 64])
    assert summarize(found, LABELS)[0].gain is None
    rows = [row | {"plain_accuracy": plain} for row, plain in zip(found.rows, (0.58, 0.61, 0.61), strict=True)]
    gain = summarize(found._replace(rows=rows), LABELS)[0].gain
    # Gains of 2, 1 and 3 points, and 4.303 standard errors of 1 / sqrt(3) to either side.
    assert gain is not None
    assert (gain.value, gain.interval) == (pytest.approx(2), pytest.approx((-0.484, 4.484), abs=0.001))


def test_the_distribution_is_a_signed_root(tmp_path: Path) -> None:
    right = [50, 50, 51, 51]
    found, _ = summarize(write(tmp_path, right), LABELS)
    correct = np.arange(100) < np.array(right)[:, None]
    assert found.distribution_sd is not None
    assert found.distribution_sd.value == pytest.approx(100 * run_variance(correct).distribution_sd, abs=1e-9)
    assert found.distribution_sd.interval is not None
    assert found.distribution_sd.interval[0] < 0 < found.distribution_sd.interval[1]


def test_what_needs_labels_or_more_networks_is_none(tmp_path: Path) -> None:
    found, details = summarize(write(tmp_path / "a", [60, 62]), None)
    assert (found.distribution_sd, found.calibration, found.ensemble, details.class_accuracies) == (None,) * 4
    assert found.disagreement == (pytest.approx(2), None)
    found, _ = summarize(write(tmp_path / "b", [60]), LABELS)
    assert found.mean == (60, None)
    assert (found.sd, found.distribution_sd, found.calibration, found.disagreement) == (None,) * 4
    assert found.ensemble == 60


def test_logits_are_summed_a_few_networks_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "GROUP", 2)
    logits = [np.random.default_rng(seed).normal(size=(100, 10)).astype(np.float16) for seed in range(5)]
    results = write(tmp_path, [60] * 5, logits=logits)
    total = sum_logits(results)
    np.testing.assert_allclose(total, np.sum(logits, 0, dtype=np.float64))
    found, _ = summarize(results, LABELS)
    assert found.ensemble_of == "logits"
    assert found.ensemble == pytest.approx(100 * np.mean(np.sum(logits, 0, dtype=np.float64).argmax(1) == LABELS))


def test_logits_that_are_not_finite_add_nothing(tmp_path: Path) -> None:
    sound, broken = np.ones((100, 10), np.float16), np.ones((100, 10), np.float16)
    broken[:50, 3] = np.nan
    broken[50:60, 3] = np.inf
    total = sum_logits(write(tmp_path, [60, 60], logits=[sound, broken]))
    np.testing.assert_array_equal(total, np.r_[np.ones((60, 10)), np.full((40, 10), 2)])


def test_curves_are_in_percent_and_not_where_there_are_none(tmp_path: Path) -> None:
    curves = [np.array([[2.0, 0.5], [np.inf, 0.25]], np.float32)]
    np.testing.assert_array_equal(load_curves(write(tmp_path / "a", [60], curves=curves)), [[[2, 50], [np.nan, 25]]])
    assert load_curves(write(tmp_path / "b", [60])) is None
