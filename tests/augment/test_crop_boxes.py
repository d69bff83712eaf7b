"""Boxes of crops: written out by hand, inside the image, and of the law that they are said to have."""

import numpy as np
import pytest

from airjax.augment.crop_boxes import UNIFORMS, centre_boxes, crop_boxes, heavy_boxes, shifted_boxes
from airjax.augment.example_draws import hash_bits, sample_mirrors, sample_order, sample_uniforms

SIZES = np.array([[375, 500], [500, 333], [60, 900], [56, 56]], np.int32)


def test_the_square_in_the_middle() -> None:
    assert centre_boxes(SIZES).tolist() == [[0, 62, 375, 375], [83, 0, 333, 333], [0, 420, 60, 60], [0, 0, 56, 56]]
    # 0.875 * 375 = 328.125
    assert centre_boxes(SIZES[:1], 0.875).tolist() == [[23, 86, 328, 328]]
    assert crop_boxes("light", SIZES, np.zeros((4, 0))).tolist() == centre_boxes(SIZES).tolist()


def test_a_square_is_shifted_along_the_longer_side_alone() -> None:
    uniforms = np.array([0.0, 0.5, 0.999999, 0.7])
    assert shifted_boxes(SIZES, uniforms).tolist() == [
        [0, 0, 375, 375],
        [84, 0, 333, 333],
        [0, 840, 60, 60],
        [0, 0, 56, 56],
    ]


def test_a_heavy_crop_is_the_first_try_that_fits() -> None:
    # Of 100x100: 0.08 + 0.92 u = 0.54 of the area, as a square: the root of 5,400 is 73.5, rounded 73.
    fits = [0.5, 0.5, 0.25, 0.75]  # top and left: a quarter and three quarters of 100 - 73 + 1 = 28
    too_wide = [0.999, 0.999, 0.5, 0.5]
    sizes = np.array([[100, 100]], np.int32)
    for tries in ([fits, too_wide], [too_wide, fits], [too_wide, too_wide, fits]):
        assert heavy_boxes(sizes, np.array([tries])).tolist() == [[7, 21, 73, 73]]


def test_where_no_try_fits_the_shape_nearest_to_the_image_s_is_in_the_middle() -> None:
    never = np.full((4, 10, 4), 0.999)
    # 500 / 375 is 4/3 exactly: all of it. 500x333 is narrower than 3/4, so 333 / 0.75 = 444 rows; 60 * 4/3 = 80.
    never[..., 0] = 1.5  # an area that is larger than any image
    assert heavy_boxes(SIZES, never).tolist() == [[0, 0, 375, 500], [28, 0, 444, 333], [0, 410, 60, 80], [0, 0, 56, 56]]


def test_heavy_crops_lie_inside_and_cover_as_much_as_their_law_says() -> None:
    sizes = np.tile(np.array([[300, 300]], np.int32), (4000, 1))
    boxes = heavy_boxes(sizes, np.random.default_rng(0).random((4000, 10, 4)))
    assert (boxes >= [0, 0, 1, 1]).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= 300).all()
    area, shape = boxes[:, 2] * boxes[:, 3] / 300**2, boxes[:, 3] / boxes[:, 2]
    assert 0.079 < area.min() < 0.09
    # A try of area a > 3/4 fits with probability -log(a) / log(4/3): the mean is 0.377 / 0.789, give or take 0.004.
    assert area.mean() == pytest.approx(0.478, abs=0.012)
    assert 0.74 < shape.min() < shape.max() < 1.35
    assert abs(np.log(shape).mean()) < 0.01


def test_numbers_of_an_example_follow_from_seed_epoch_and_example_alone() -> None:
    examples = np.array([5, 0, 1_281_166], np.int32)
    found = sample_uniforms(3, 7, examples, 40)
    assert found.shape == (3, UNIFORMS["heavy"])
    assert np.array_equal(sample_uniforms(3, 7, examples[::-1], 40), found[::-1])
    assert np.array_equal(sample_uniforms(3, 7, examples, 5), found[:, :5])
    others = [
        sample_uniforms(4, 7, examples, 40),
        sample_uniforms(3, 8, examples, 40),
        sample_uniforms(3, 7, examples, 40, 2),
    ]
    pooled = np.concatenate([found, *others])
    assert len(np.unique(pooled)) == pooled.size, "no stream meets another"
    many = sample_uniforms(0, 0, np.arange(500, dtype=np.int32), 40)
    assert ((many >= 0) & (many < 1)).all()
    # Of 20,000: a standard error of 0.002.
    assert many.mean() == pytest.approx(0.5, abs=0.008)


def test_the_numbers_are_the_same_for_good() -> None:
    # Written down when they were first drawn: a training that goes on with another numpy must see the same crops.
    assert sample_uniforms(1, 2, np.array([3], np.int32), 2)[0].tolist() == [0.72317396444792, 0.4832980657093866]
    assert sample_order(1, 2, 8).tolist() == [7, 5, 4, 0, 3, 6, 1, 2]


def test_an_order_is_a_permutation_of_each_epoch() -> None:
    first, second = (sample_order(0, epoch, 1000) for epoch in (0, 1))
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(1000))
    # Of a random permutation one example is expected to keep its place.
    assert (first == second).sum() < 10
    assert (first == np.arange(1000)).sum() < 10


def test_flips_by_hash_alternate_and_random_ones_do_not() -> None:
    examples = np.arange(2000, dtype=np.int32)
    # The MD5 sum of "0" ends in da, which is even, that of "1" in 9b.
    assert hash_bits(0, np.array([0, 1], np.int32)).tolist() == hash_bits(-40, np.array([40, 41])).tolist() == [0, 1]
    epochs = [sample_mirrors(9, epoch, examples, "alternating-hash") for epoch in range(3)]
    assert np.array_equal(epochs[0], ~epochs[1])
    assert np.array_equal(epochs[0], epochs[2])
    assert 0.45 < epochs[0].mean() < 0.55
    coins = [sample_mirrors(9, epoch, examples, "random") for epoch in range(2)]
    assert 0.45 < (coins[0] == coins[1]).mean() < 0.55
    assert not sample_mirrors(9, 0, examples, "none").any()
