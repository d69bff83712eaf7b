import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from airjax.augment.draws import hash_parity, sample_draws
from airjax.augment.transforms import alternating_flip
from airjax.recipes.recipe import Recipe
from airjax.utils.seeds import check_seed, make_key, make_keys


@pytest.fixture(scope="module")
def recipe(tiny: Recipe) -> Recipe:
    return tiny.override(epochs=5.0, cutout=12, translate=2, batch_size=16)


def test_hash_parity_has_the_papers_bits() -> None:
    assert hash_parity(16).tolist() == [0, 0, 1, 0, 1, 1, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0]


def test_same_key_gives_the_same_draws_and_another_key_others(recipe: Recipe) -> None:
    first, again, other = (sample_draws(recipe, jax.random.key(seed)) for seed in (0, 0, 1))
    for ours, same in zip(first, again, strict=True):
        assert np.array_equal(ours, same)
    assert not np.array_equal(first.flips, other.flips)
    assert not np.array_equal(first.order, other.order)
    assert not np.array_equal(first.shifts, other.shifts)
    assert not np.array_equal(first.corners, other.corners)


def test_reshuffling_shows_every_example_once_an_epoch(recipe: Recipe) -> None:
    order = np.asarray(sample_draws(recipe, jax.random.key(0)).order)
    assert order.shape == (5, 256)
    assert (np.sort(order, axis=1) == np.arange(256)).all()
    assert len({tuple(epoch) for epoch in order.tolist()}) == 5


def test_replacement_repeats_examples_and_fixed_order_does_not_move(recipe: Recipe) -> None:
    order = np.asarray(sample_draws(recipe.override(order="replacement"), jax.random.key(0)).order)
    distinct = np.mean([len(set(epoch)) / 256 for epoch in order.tolist()])
    assert distinct == pytest.approx(1 - np.exp(-1), abs=0.05)
    fixed = np.asarray(sample_draws(recipe.override(order="fixed"), jax.random.key(0)).order)
    assert (fixed == np.arange(256)).all()


def test_jitter_is_uniform_around_no_change_and_leaves_all_other_draws_as_they_are(recipe: Recipe) -> None:
    jittered = recipe.override(train_examples=20_000, brightness=0.1399, contrast=0.1308)
    draws = sample_draws(jittered, jax.random.key(0))
    assert draws.jitter is not None
    assert (draws.jitter.shape, draws.jitter.dtype) == ((5, 20_000, 2), jnp.float32)
    for column, low, width in ((0, -0.1399, 0.2798), (1, 0.8692, 0.2616)):
        assert stats.kstest(np.asarray(draws.jitter[..., column]).ravel(), stats.uniform(low, width).cdf).pvalue > 1e-4
    assert abs(np.corrcoef(np.asarray(draws.jitter).reshape(-1, 2).T)[0, 1]) < 0.02
    plain = sample_draws(jittered.override(brightness=0.0, contrast=0.0), jax.random.key(0))
    assert plain.jitter is None
    for ours, same in zip(draws[:-1], plain[:-1], strict=True):
        assert np.array_equal(ours, same)
    only = sample_draws(jittered.override(brightness=0.0), jax.random.key(0)).jitter
    assert only is not None
    assert not only[..., 0].any()
    assert np.array_equal(only[..., 1], draws.jitter[..., 1])


@pytest.mark.parametrize(("field", "positions"), [("shifts", 5), ("corners", 21)])
def test_positions_are_uniform_with_both_ends(recipe: Recipe, field: str, positions: int) -> None:
    drawn = np.asarray(getattr(sample_draws(recipe.override(train_examples=20_000), jax.random.key(0)), field))
    counts = np.bincount(drawn.ravel(), minlength=positions)
    assert len(counts) == positions
    assert stats.chisquare(counts).pvalue > 1e-4
    assert abs(np.corrcoef(drawn[..., 0].ravel(), drawn[..., 1].ravel())[0, 1]) < 0.02


def test_switched_off_augmentations_draw_nothing(recipe: Recipe) -> None:
    draws = sample_draws(recipe.override(translate=0, cutout=0, flip="none"), jax.random.key(0))
    assert draws.shifts is None
    assert draws.corners is None
    assert not draws.flips.any()
    assert not draws.mirrors.any()


def test_random_flip_is_independent_between_epochs(recipe: Recipe) -> None:
    draws = sample_draws(recipe.override(flip="random", train_examples=20_000), jax.random.key(0))
    mirrors = np.asarray(draws.mirrors)
    assert not draws.flips.any()
    assert mirrors.mean(axis=1) == pytest.approx(np.full(5, 0.5), abs=0.02)
    assert (mirrors[0] == mirrors[1]).mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("flip", ["alternating", "alternating-hash"])
def test_alternating_flip_covers_all_2n_inputs_in_any_two_consecutive_epochs(recipe: Recipe, flip: str) -> None:
    draws = sample_draws(recipe.override(flip=flip), jax.random.key(3))
    # Two-pixel images (i, i + 0.5): an image and its mirror are told apart by their left pixel.
    left = np.arange(256, dtype=np.float32)
    images = jnp.asarray(np.stack([left, left + 0.5], axis=1).reshape(256, 1, 2, 1))
    for epoch in range(4):
        shown = [np.asarray(alternating_flip(images, draws.flips, e))[:, 0, 0, 0] for e in (epoch, epoch + 1)]
        assert len(set(np.concatenate(shown).tolist())) == 2 * 256
        # The draws say the same: mirrored at the start, and mirrored back in odd epochs.
        assert np.array_equal(shown[0] % 1 == 0.5, np.asarray(draws.flips ^ draws.mirrors[epoch]))


@pytest.mark.parametrize("seed", [0, 2**32 - 1, np.int64(7), np.uint8(7)])
def test_whole_numbers_of_32_bits_are_seeds(seed: Any) -> None:
    assert check_seed(seed) == int(seed)
    assert type(check_seed(seed)) is int
    np.testing.assert_array_equal(jax.random.key_data(make_key(seed)), [0, int(seed)])


@pytest.mark.parametrize("seed", [2**32, -1, 1.5, 1.0, True, "3", None, np.float32(1)])
def test_anything_else_is_no_seed(seed: Any) -> None:
    with pytest.raises(
        ValueError, match=re.escape(f"seed is {seed!r}, but it must be a whole number from 0 to 429496")
    ):
        check_seed(seed)


def test_a_seed_s_key_is_that_of_jax() -> None:
    assert make_key(7).dtype == jax.random.key(7).dtype
    np.testing.assert_array_equal(jax.random.key_data(make_keys([7])[0]), jax.random.key_data(jax.random.key(7)))


def test_clipped_cutouts_have_their_centres_at_every_pixel(recipe: Recipe) -> None:
    clipped = recipe.override(cutout_form="clipped")
    corners = np.asarray(sample_draws(clipped, jax.random.key(0)).corners)
    assert set(np.unique(corners)) == set(range(-6, 26))
    centres = corners[..., 0].ravel() + 6
    counts = np.bincount(centres, minlength=32)
    assert stats.chisquare(counts).pvalue > 1e-3
