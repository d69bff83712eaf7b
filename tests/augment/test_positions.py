"""Derandomised draws: what never repeats, what lies evenly, what comes in pairs; and each epoch alone is as random."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from airjax.augment.draws import Draws, sample_draws
from airjax.augment.positions import antithetic, flip_flop, low_discrepancy, without_replacement
from airjax.augment.transforms import take_moved
from airjax.recipes.inputs import Inputs
from airjax.recipes.recipe import Recipe

LIKELY = 1e-4  # p-values of fixed seeds that count as chance


def draw(recipe: Recipe, epochs: float, examples: int = 16, seed: int = 0, **changes: Any) -> Draws:
    changed = recipe.override(epochs=epochs, train_examples=examples, batch_size=8, **changes)
    return jax.tree.map(np.asarray, sample_draws(changed, jax.random.key(seed)))


def numbered(positions: Any, side: int) -> np.ndarray:
    """The cells of a square as one number each: [e,n]."""
    assert 0 <= positions.min() <= positions.max() < side
    return positions[..., 0].astype(int) * side + positions[..., 1]


def views(draws: Draws, translate: int) -> list[int]:
    """How many different pictures the epochs show of each example."""
    size, examples = 2 * translate + 2, draws.order.shape[1]
    pixels = jnp.arange(size * size, dtype=jnp.int32).reshape(1, size, size, 1)
    images, chosen = jnp.broadcast_to(pixels, (examples, size, size, 1)), jnp.arange(examples)
    shown = [
        np.asarray(take_moved(images, translate, chosen, *map(jnp.asarray, (draws.flips, mirrors, shifts))))
        for mirrors, shifts in zip(draws.mirrors, draws.shifts, strict=True)
    ]
    return [len({epoch[example].tobytes() for epoch in shown}) for example in range(examples)]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_every_sequence_without_repetition_has_digits_of_its_own(count: int) -> None:
    digits = np.array(list(itertools.product(*(range(4 - i) for i in range(count)))), np.int32).T
    found = np.asarray(without_replacement(jnp.asarray(digits))).T.tolist()
    assert sorted(map(tuple, found)) == sorted(itertools.permutations(range(4), count))


def test_digits_say_which_of_the_remaining_numbers_comes_next() -> None:
    # Of 0 1 2 3 4 the third, 2; of 0 1 3 4 the fourth, 4; of 0 1 3 the first, 0; of 1 3 the second, 3; then 1.
    assert without_replacement(jnp.array([[2], [3], [0], [1], [0]]))[:, 0].tolist() == [2, 4, 0, 3, 1]


def test_the_first_cells_by_hand() -> None:
    # Of a square of three: with d the distance, 2 * 9 * (3/2 - d (1 - d)) is 27 for none and 23 for one or two thirds.
    # After (0, 0) a cell of another row and column costs 23 * 23, one that shares either 27 * 23. After (1, 1) besides,
    # only (2, 2) shares nothing with both. Then all cells cost the same, and (0, 1) is the first.
    assert low_discrepancy(3, 4).tolist() == [[0, 0], [1, 1], [2, 2], [0, 1]]
    assert low_discrepancy(5, 5).tolist() == [[0, 0], [2, 2], [3, 4], [1, 3], [4, 1]]  # each row and column once


@pytest.mark.parametrize("side", [1, 2, 5, 9, 21])
def test_the_sequence_visits_every_cell_once(side: int) -> None:
    cells = low_discrepancy(side, side * side)
    assert sorted(map(tuple, cells.tolist())) == list(itertools.product(range(side), repeat=2))


def test_few_cells_lie_more_evenly_than_ones_drawn_without_replacement() -> None:
    generator, middles = np.random.default_rng(0), np.stack(np.divmod(np.arange(25), 5), axis=1) / 5 + 0.1

    def uneven(points: np.ndarray) -> float:
        return float(stats.qmc.discrepancy(points, method="WD"))  # does not see where the square begins

    for count in range(3, 21):
        drawn = [uneven(generator.permutation(middles)[:count]) for _ in range(200)]
        assert uneven(low_discrepancy(5, count) / 5 + 0.1) <= np.quantile(drawn, 0.05), count


@pytest.mark.parametrize("sampling", ["without-replacement", "low-discrepancy"])
@pytest.mark.parametrize("translate", [1, 2, 4])
def test_each_image_sees_each_crop_once_in_as_many_epochs_as_there_are(
    tiny: Recipe, sampling: str, translate: int
) -> None:
    side = 2 * translate + 1
    cycle = side * side
    seen = numbered(draw(tiny, 2.0 * cycle, translate=translate, crop_sampling=sampling).shifts, side)
    for part in (seen[:cycle], seen[cycle:]):
        assert (np.sort(part, axis=0) == np.arange(cycle)[:, None]).all()
    # The second time in another order, but for the few whose start is the same again.
    assert (seen[:cycle] != seen[cycle:]).any(0).mean() > 0.5
    assert len(set(map(tuple, seen[:cycle].T.tolist()))) > 1  # and other images in others
    random = numbered(draw(tiny, float(cycle), translate=translate).shifts, side)
    assert all(len(set(image)) < cycle for image in random.T.tolist())


@pytest.mark.parametrize("flip", ["alternating", "alternating-hash"])
@pytest.mark.parametrize("translate", [1, 2])
def test_jointly_every_pair_of_flip_and_crop_is_shown_once(tiny: Recipe, flip: str, translate: int) -> None:
    cycle = (2 * translate + 1) ** 2
    draws = draw(tiny, 4.0 * cycle, translate=translate, crop_sampling="joint", flip=flip)
    assert draws.shifts is not None
    assert (draws.mirrors[0] != draws.mirrors[1]).all()  # as alternating flip does
    for begin in (0, 2 * cycle):
        part = slice(begin, begin + 2 * cycle)
        assert set(views(draws._replace(mirrors=draws.mirrors[part], shifts=draws.shifts[part]), translate)) == {
            2 * cycle
        }
        crops = numbered(draws.shifts[begin : begin + cycle], 2 * translate + 1)
        assert (np.sort(crops, axis=0) == np.arange(cycle)[:, None]).all()  # and no crop twice in either half
    assert (draws.shifts[: 2 * cycle] != draws.shifts[2 * cycle :]).any((0, 2)).all()
    alone = draw(tiny, 2.0 * cycle, translate=translate, crop_sampling="without-replacement", flip=flip)
    assert max(views(alone, translate)) < 2 * cycle


def test_jointly_without_translation_is_alternating_flip(tiny: Recipe) -> None:
    joint, alternating = (draw(tiny, 4.0, translate=0, crop_sampling=how) for how in ("joint", "random"))
    assert joint.shifts is None
    np.testing.assert_array_equal(joint.flips ^ joint.mirrors, alternating.flips ^ alternating.mirrors)


def test_images_that_must_not_be_mirrored_see_each_crop_once_and_no_mirror_image(tiny: Recipe) -> None:
    digits = tiny.override(crop_sampling="joint", antithetic=False).fit_to(256, 100, symmetric=False)
    draws = draw(digits, 18.0, translate=1)
    assert not draws.flips.any()
    assert not draws.mirrors.any()
    assert draws.shifts is not None
    for part in (draws.shifts[:9], draws.shifts[9:]):
        assert (np.sort(numbered(part, 3), axis=0) == np.arange(9)[:, None]).all()
    assert (draws.shifts[:9] != draws.shifts[9:]).any((0, 2)).all()


@pytest.mark.parametrize("sampling", ["random", "without-replacement", "low-discrepancy", "joint"])
def test_antithetic_pairs_are_on_opposite_sides_of_the_middle(tiny: Recipe, sampling: str) -> None:
    draws = draw(tiny, 5.0, crop_sampling=sampling, cutout=12, antithetic=True)
    assert draws.shifts is not None
    assert draws.corners is not None
    assert draws.shifts.shape == (5, 16, 2)
    assert (draws.shifts[0:4:2] + draws.shifts[1:4:2] == 4).all()  # 2 is no shift
    assert (draws.corners[0:4:2] + draws.corners[1:4:2] == 20).all()  # 10 is the middle of 32 - 12
    assert (draws.mirrors[0] != draws.mirrors[1]).all()
    assert (draws.shifts[1] + draws.shifts[2] != 4).any()  # the next pair is another one
    clipped = draw(tiny, 2.0, cutout=12, cutout_form="clipped", antithetic=True).corners + 6
    assert (clipped[0] + clipped[1] == 31).all()


@pytest.mark.parametrize("sampling", ["without-replacement", "joint"])
def test_antithetic_pairs_without_replacement_show_every_pair_of_flip_and_crop_once(
    tiny: Recipe, sampling: str
) -> None:
    draws = draw(tiny, 36.0, translate=1, crop_sampling=sampling, antithetic=True)
    assert draws.shifts is not None
    for part in (slice(0, 18), slice(18, 36)):
        assert set(views(draws._replace(mirrors=draws.mirrors[part], shifts=draws.shifts[part]), 1)) == {18}


@pytest.mark.parametrize("sampling", ["without-replacement", "low-discrepancy"])
@pytest.mark.parametrize(("form", "side"), [("inside", 5), ("clipped", 9)])
def test_cutouts_are_where_they_were_not_before(tiny: Recipe, sampling: str, form: str, side: int) -> None:
    small = tiny.override(inputs=Inputs(image_size=9), cutout=4 if form == "clipped" else 5, translate=0)
    cycle = side * side
    corners = draw(small, 2.0 * cycle, cutout_form=form, cutout_sampling=sampling).corners
    seen = numbered(corners + (2 if form == "clipped" else 0), side)
    for part in (seen[:cycle], seen[cycle:]):
        assert (np.sort(part, axis=0) == np.arange(cycle)[:, None]).all()


@pytest.mark.parametrize("in_pairs", [False, True])
@pytest.mark.parametrize("sampling", ["without-replacement", "joint", "low-discrepancy"])
def test_every_epoch_is_uniform_and_images_are_independent(tiny: Recipe, sampling: str, in_pairs: bool) -> None:
    draws = draw(tiny, 27.0, 20_000, translate=2, crop_sampling=sampling, antithetic=in_pairs)
    seen = numbered(draws.shifts, 5)
    for epoch in (0, 1, 2, 12, 24, 25, 26):
        assert stats.chisquare(np.bincount(seen[epoch], minlength=25)).pvalue > LIKELY, epoch
        neighbours = np.bincount(seen[epoch, ::2] * 25 + seen[epoch, 1::2], minlength=625)
        assert stats.chisquare(neighbours).pvalue > LIKELY, epoch
    # What an epoch shows says nothing of which images are mirrored.
    flips = np.bincount(seen[0] * 2 + draws.flips, minlength=50)
    assert stats.chisquare(flips).pvalue > LIKELY


def test_flip_flop_shows_the_examples_backwards_in_every_other_epoch(tiny: Recipe) -> None:
    order = draw(tiny, 4.5, order="flip-flop").order
    assert order.shape == (5, 16)
    assert (np.sort(order, axis=1) == np.arange(16)).all()
    for even in (0, 2):
        assert order[even + 1].tolist() == order[even].tolist()[::-1]
    assert len({tuple(order[even].tolist()) for even in (0, 2, 4)}) == 3
    assert flip_flop(jnp.array([[1, 2, 3], [2, 1, 3]])).tolist() == [[1, 2, 3], [3, 2, 1], [2, 1, 3], [3, 1, 2]]
    assert antithetic(jnp.array([[[0, 3]], [[2, 2]]]), 4).tolist() == [[[0, 3]], [[4, 1]], [[2, 2]], [[2, 2]]]


DERANDOMISED: dict[str, Any] = {
    **{"crop_sampling": "joint", "cutout_sampling": "low-discrepancy", "antithetic": True},
    **{"order": "flip-flop", "cutout": 8},
}


def test_a_seed_has_one_set_of_draws_whichever_way_networks_are_grouped(tiny: Recipe) -> None:
    recipe = tiny.override(epochs=3.5, train_examples=64, **DERANDOMISED)
    keys = jax.random.split(jax.random.key(0), 3)
    together = jax.vmap(functools.partial(sample_draws, recipe))(keys)
    for number, key in enumerate(keys):
        own = jax.tree.leaves(sample_draws(recipe, key))
        for group, one in zip(jax.tree.leaves(together), own, strict=True):
            np.testing.assert_array_equal(group[number], one)
    with jax.enable_x64(True):
        wide, first = sample_draws(recipe, keys[0]), jax.tree.map(lambda group: group[0], jax.device_get(together))
        jax.tree.map(np.testing.assert_array_equal, wide, first)
    assert together.shifts is not None
    assert together.corners is not None
    for field in (together.shifts, together.corners, together.order):
        assert len({np.asarray(one).tobytes() for one in field}) == 3


def test_what_is_not_random_by_default_is_as_it_was(tiny: Recipe) -> None:
    plain = {
        name: value
        for name, value in tiny.to_dict()["augmentation"].items()
        if name not in ("crop_sampling", "cutout_sampling", "antithetic")
    }
    assert Recipe.from_dict(tiny.to_dict() | {"augmentation": plain}) == tiny
    changed = tiny.override(**DERANDOMISED)
    assert Recipe.from_dict(changed.to_dict()) == changed != tiny
