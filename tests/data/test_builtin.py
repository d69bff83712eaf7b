import time

import numpy as np
import pytest

from airjax import train_network
from airjax.data import builtin
from airjax.data.builtin import CLASSES, load_builtin


def test_the_full_set_is_made_in_seconds_and_always_the_same() -> None:
    began = time.process_time()
    data = load_builtin()
    # Five seconds on an idle machine; processor time, so that other tests beside this one do not count.
    assert time.process_time() - began < 8
    assert data.train_images.shape == (50_000, 32, 32, 3)
    assert data.test_images.shape == (10_000, 32, 32, 3)
    assert data.content == "official"
    assert data.fingerprint == "bdbce6c50cac77a12b6db285a34afc8edfbf01cf9837cdc21dbb7bbf918ada7f"


def test_a_smaller_set_is_the_beginning_of_the_full_one() -> None:
    small, larger = load_builtin(70, 30), load_builtin(700, 600)
    assert np.array_equal(small.train_images, larger.train_images[:70])
    assert np.array_equal(small.test_labels, larger.test_labels[:30])


def test_splits_differ_and_classes_are_balanced() -> None:
    data = load_builtin(5000, 5000)
    assert not np.array_equal(data.train_images[:10], data.test_images[:10])
    counts = np.bincount(data.train_labels, minlength=len(CLASSES))
    assert counts.min() > 400
    assert 40 < data.train_images.std() < 80


def test_mini_learns_it_in_seconds() -> None:
    assert train_network("mini", load_builtin(3000, 2000)).accuracy > 0.5


def test_in_three_images_of_a_hundred_the_shape_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    # So no network is right about more than 1 - 0.9 * 0.03 of a large test set.
    images = load_builtin(1, 5000).test_images
    monkeypatch.setattr(builtin, "MISSING", 0.0)
    whole = load_builtin(1, 5000).test_images
    assert 0.025 < (images != whole).any((1, 2, 3)).mean() < 0.035
