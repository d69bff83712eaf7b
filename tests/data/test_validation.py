"""Training examples that are held out, so that nobody tunes on the test split."""

from dataclasses import replace

import numpy as np
import pytest

import airjax
from airjax.data.validation import draw_validation

DRAWN = [2, 3, 8, 11, 13, 18]  # of 20 examples of two classes in turn


def test_the_draw_is_fixed() -> None:
    labels = np.array([0, 1] * 10)
    assert np.flatnonzero(draw_validation(labels, 6)).tolist() == DRAWN
    assert np.flatnonzero(draw_validation(labels, 6, seed=1)).tolist() != DRAWN


def test_every_class_gives_its_proportion() -> None:
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    held_out = draw_validation(labels, 20)
    assert np.bincount(labels[held_out]).tolist() == [12, 6, 2]
    # 7 of 100 are 4.2, 2.1 and 0.7: the class with the largest remainder gets one more.
    assert np.bincount(labels[draw_validation(labels, 7)]).tolist() == [4, 2, 1]
    assert np.bincount(labels[draw_validation(labels, 97)]).tolist() == [59, 29, 9]


@pytest.mark.parametrize("count", [0, -1, 2.5, True, "5"])
def test_a_count_that_is_none_is_refused(count: object, toy: airjax.Dataset) -> None:
    with pytest.raises(airjax.DataError, match="must be a whole number of training examples from 1"):
        toy.with_validation(count)  # pyright: ignore[reportArgumentType]


def test_every_class_keeps_a_training_example(toy: airjax.Dataset) -> None:
    assert len(toy.with_validation(290).train_images) == 10
    with pytest.raises(airjax.DataError, match="validation is 291, but only 290 of its 300 training examples can be"):
        toy.with_validation(291)


def test_both_parts_are_the_training_split_and_keep_its_order(toy: airjax.Dataset) -> None:
    drawn = toy.with_validation(50)
    held_out = draw_validation(toy.train_labels, 50)
    assert (drawn.split, toy.split) == ("validation", "test")
    np.testing.assert_array_equal(drawn.test_images, toy.train_images[held_out])
    np.testing.assert_array_equal(drawn.test_labels, toy.train_labels[held_out])
    np.testing.assert_array_equal(drawn.train_images, toy.train_images[~held_out])
    np.testing.assert_array_equal(drawn.train_labels, toy.train_labels[~held_out])
    assert drawn.fingerprint != toy.fingerprint
    assert "250 training and 50 validation images" in repr(drawn)


def test_the_content_is_that_of_the_whole(cifar10: airjax.Dataset) -> None:
    drawn = cifar10.with_validation(5000)
    assert (drawn.name, drawn.content) == ("cifar10", "official")
    assert np.bincount(drawn.test_labels).tolist() == [500] * 10
    assert replace(drawn, split="test").content == "unknown"
    assert drawn.subset(np.arange(100)).content == "unknown"
