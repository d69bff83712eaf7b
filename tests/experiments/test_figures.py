"""Figures 1 and 2, which are exact, and bins of accuracies."""

import jax.numpy as jnp
import numpy as np

import airjax
from airjax.report.drawing import even_edges
from experiments.fig1.analyse import count_seen, is_mirrored
from experiments.fig2.analyse import largest_correlation, normalise


def test_inputs_seen_are_counted_for_each_image() -> None:
    mirrored = np.array([[True, False, False], [True, True, False]])  # two epochs of three images
    assert count_seen(mirrored).tolist() == [1, 2, 1]


def test_alternating_flip_shows_either_input_in_turn() -> None:
    mirrored = is_mirrored("alternating")
    assert mirrored.shape == (8, 50_000)
    assert (mirrored[1] == ~mirrored[0]).all()
    assert (mirrored[2] == mirrored[0]).all()
    assert 0.49 < mirrored[0].mean() < 0.51
    random = is_mirrored("random")
    assert 0.49 < (random[1] == random[0]).mean() < 0.51


def test_filters_that_whiten_have_uncorrelated_outputs_and_others_have_not(toy: airjax.Dataset) -> None:
    images = normalise(toy, 50)
    info = toy.info
    by_hand = (toy.train_images[3, 5, 7, 1] / 255 - info.mean[1]) / info.std[1]
    np.testing.assert_allclose(images[3, 5, 7, 1], by_hand, rtol=1e-5)
    filters = np.asarray(airjax.whitening_filters(jnp.asarray(images), 5e-4)).reshape(12, 24)[:, :12]
    assert largest_correlation(images, filters) < 1e-3
    assert largest_correlation(images, np.eye(12)) > 0.5  # of pixels beside each other


def test_bins_of_accuracies_hold_equally_many_of_those_that_there_can_be() -> None:
    every = np.arange(660, 960) / 2000  # each possible accuracy once: no bin may stand out
    values = 100 * np.concatenate([every, every.astype(np.float32).astype(float)])
    counts = np.histogram(values, even_edges(values))[0]
    assert counts.sum() == len(values)
    assert set(counts[:-1].tolist()) == {20}
    assert len(counts) == 30
    assert np.histogram([50.0, 50.0], even_edges(np.array([50.0, 50.0])))[0].tolist() == [2]
