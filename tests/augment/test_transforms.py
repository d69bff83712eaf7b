import jax
import jax.numpy as jnp
import numpy as np
import pytest

from airjax.augment import transforms as im
from airjax.augment.batch import batch_at
from airjax.augment.draws import sample_draws
from airjax.augment.views import sides_of, take_view, views_of
from airjax.recipes.inputs import Inputs
from airjax.recipes.recipe import Recipe
from airjax.training.backend import resolve_precision


def test_normalize_is_mean_and_deviation_per_channel(random_images: np.ndarray) -> None:
    expected = (random_images / 255 - np.array([0.4914, 0.4822, 0.4465])) / np.array([0.2470, 0.2435, 0.2616])
    assert np.allclose(im.normalize(jnp.asarray(random_images), Inputs(), jnp.float32), expected, atol=1e-6)


def test_half_precision_rounds_its_constants_and_after_each_operation(random_images: np.ndarray) -> None:
    mean, std = (np.array(values, np.float16) for values in (Inputs().mean, Inputs().std))
    assert mean == pytest.approx([0.491455, 0.482178, 0.446533], abs=1e-6)
    assert std == pytest.approx([0.246948, 0.243530, 0.261719], abs=1e-6)
    expected = (random_images.astype(np.float16) / np.float16(255) - mean) / std
    found = np.asarray(im.normalize(jnp.asarray(random_images), Inputs(), jnp.float16))
    assert (found.dtype, expected.dtype) == (np.float16, np.float16)
    # XLA's quotients are off by a unit in the last place here and there; near zero that of the first one counts.
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=4e-3)
    exact = (random_images / 255 - np.array(Inputs().mean)) / np.array(Inputs().std)
    assert abs(found - exact).max() > 1.5 * abs(exact.astype(np.float16) - exact).max(), "it rounds once"


def test_reflect_pad_does_not_repeat_the_edge() -> None:
    row = jnp.arange(4.0).reshape(1, 1, 4, 1)
    padded = im.reflect_pad(jnp.concatenate([row] * 3, axis=1), 2)
    assert padded[0, 0, :, 0].tolist() == [2, 1, 0, 1, 2, 3, 2, 1]


@pytest.mark.parametrize("pixels", [1, 2, 4])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("mirror", [False, True])
def test_moved_images_are_flipped_padded_cropped_and_mirrored_at_every_shift(
    pixels: int, flip: bool, mirror: bool, random_images: np.ndarray
) -> None:
    steps = 2 * pixels + 1
    shifts = np.stack(np.meshgrid(np.arange(steps), np.arange(steps), indexing="ij"), axis=-1).reshape(-1, 2)
    examples = np.resize(np.arange(len(random_images))[::-1], len(shifts)).astype(np.int32)
    alike = (jnp.full(len(shifts), flip), jnp.full(len(shifts), mirror), jnp.asarray(shifts, jnp.int8))
    moved = im.take_moved(jnp.asarray(random_images), pixels, jnp.asarray(examples), *alike)
    flipped = random_images[examples][:, :, ::-1] if flip else random_images[examples]
    padded = np.pad(flipped, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)), mode="reflect")
    cut = np.stack([image[t : t + 32, s : s + 32] for image, (t, s) in zip(padded, shifts, strict=True)])
    assert np.array_equal(moved, cut[:, :, ::-1] if mirror else cut)
    assert moved.dtype == jnp.uint8


def test_without_translation_images_are_only_flipped_and_mirrored(random_images: np.ndarray) -> None:
    flips, mirrors = jnp.arange(16) % 2 == 0, jnp.arange(16) % 4 < 2
    moved = im.take_moved(jnp.asarray(random_images), 2, jnp.arange(16), flips, mirrors, None)
    both = np.asarray(flips ^ mirrors)[:, None, None, None]
    assert np.array_equal(moved, np.where(both, random_images[:, :, ::-1], random_images))


def test_mirror_swaps_left_and_right_only(random_images: np.ndarray) -> None:
    mask = np.arange(16) % 3 == 0
    expected = np.where(mask[:, None, None, None], random_images[:, :, ::-1], random_images)
    assert np.array_equal(im.mirror_where(jnp.asarray(random_images), jnp.asarray(mask)), expected)


def test_cutout_zeroes_one_square_inside_the_image() -> None:
    corners = np.array([[0, 0], [20, 20], [3, 17]])
    result = np.asarray(im.cutout(jnp.ones((3, 32, 32, 3)), jnp.asarray(corners, jnp.int8), 12))
    for image, (top, left) in zip(result, corners, strict=True):
        assert (image[top : top + 12, left : left + 12] == 0).all()
        assert image.sum() == (32 * 32 - 12 * 12) * 3


def test_batch_is_flip_pad_crop_mirror_cutout_of_the_epochs_order(tiny: Recipe, random_images: np.ndarray) -> None:
    recipe = resolve_precision(tiny.override(cutout=9, batch_size=5, train_examples=16, epochs=4.0))
    draws = jax.tree.map(np.asarray, sample_draws(recipe, jax.random.key(0)))
    labels = np.arange(16, dtype=np.int32) % 10
    normalized = np.asarray(im.normalize(jnp.asarray(random_images), Inputs(), jnp.float32))
    for step in (0, 4, 11):
        epoch, position = divmod(step, 3)
        batch = batch_at(
            recipe,
            jnp.asarray(random_images),
            jnp.asarray(labels),
            jax.tree.map(jnp.asarray, draws),
            jnp.int32(step),
        )
        chosen = draws.order[epoch, position * 5 : position * 5 + 5]
        assert np.array_equal(batch.labels, labels[chosen])
        for index, image in zip(chosen, batch.images, strict=True):
            expected = normalized[index, :, ::-1] if draws.flips[index] else normalized[index]
            expected = np.pad(expected, ((2, 2), (2, 2), (0, 0)), mode="reflect")
            top, left = draws.shifts[epoch, index]
            expected = expected[top : top + 32, left : left + 32]
            expected = (expected[:, ::-1] if epoch % 2 else expected).copy()
            top, left = draws.corners[epoch, index]
            expected[top : top + 9, left : left + 9] = 0
            assert np.array_equal(image, expected)


def test_a_batch_goes_on_into_the_next_epoch_where_nothing_is_dropped(tiny: Recipe, random_images: np.ndarray) -> None:
    changes = {"batch_size": 5, "train_examples": 16, "epochs": 2.0, "translate": 0, "drop_remainder": False}
    recipe = resolve_precision(tiny.override(**changes))
    draws = sample_draws(recipe, jax.random.key(0))
    # The fourth batch is the last example of the first epoch, and four of the second, in which all are mirrored.
    batch = batch_at(recipe, jnp.asarray(random_images), jnp.arange(16, dtype=jnp.int32), draws, jnp.int32(3))
    order = np.asarray(draws.order)
    chosen = [order[0, 15], *order[1, :4]]
    assert batch.labels.tolist() == chosen
    normalized = np.asarray(im.normalize(jnp.asarray(random_images), Inputs(), jnp.float32))[chosen]
    mirrored = np.asarray(draws.flips)[chosen] ^ np.array([False, True, True, True, True])
    assert np.array_equal(batch.images, np.where(mirrored[:, None, None, None], normalized[:, :, ::-1], normalized))
    shown = [
        batch_at(recipe, jnp.asarray(random_images), jnp.arange(16, dtype=jnp.int32), draws, jnp.int32(step)).labels
        for step in range(6)
    ]
    assert np.array_equal(np.concatenate(shown), order.ravel()[:30])


def tta_views(images: jax.Array, level: int, *, uniform: bool = False) -> list[tuple[float, jax.Array]]:
    views = views_of(level, uniform=uniform)
    plain, mirrored = sides_of(images, level, views)
    return [(view.weight, take_view(plain, mirrored, view, level)) for view in views]


def test_tta_views_are_weighted_windows_and_mirrors(random_images: np.ndarray) -> None:
    images = jnp.asarray(random_images)
    assert [len(tta_views(images, level)) for level in (0, 1, 2)] == [1, 2, 6]
    weights, views = zip(*tta_views(images, 2), strict=True)
    assert weights == (0.25, 0.25, 0.125, 0.125, 0.125, 0.125)
    padded = np.pad(random_images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    first, last = padded[:, :32, :32], padded[:, 2:, 2:]
    expected = [random_images, random_images[:, :, ::-1], first, first[:, :, ::-1], last, last[:, :, ::-1]]
    for view, wanted in zip(views, expected, strict=True):
        assert np.array_equal(view, wanted)


def test_zero_padding_moves_black_pixels_in_and_is_mirrored_with_the_image() -> None:
    images = jnp.arange(1, 10, dtype=jnp.uint8).reshape(1, 3, 3, 1)
    nobody, example = jnp.zeros(1, bool), jnp.zeros(1, jnp.int32)

    def moved(top: int, left: int, *, flip: bool = False, mirror: bool = False) -> list:
        shifts = jnp.array([[top, left]], jnp.int8)
        moves = nobody | flip, nobody | mirror, shifts
        return im.take_moved(images, 2, example, *moves, "zero")[0, :, :, 0].tolist()

    assert moved(2, 2) == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert moved(0, 2) == [[0, 0, 0], [0, 0, 0], [1, 2, 3]]
    assert moved(3, 1) == [[0, 4, 5], [0, 7, 8], [0, 0, 0]]
    assert moved(3, 1, flip=True) == [[0, 6, 5], [0, 9, 8], [0, 0, 0]]
    assert moved(3, 1, mirror=True) == [[5, 4, 0], [8, 7, 0], [0, 0, 0]]


def test_a_cutout_beyond_the_border_is_clipped() -> None:
    ones = jnp.ones((3, 4, 4, 1))
    cut = im.cutout(ones, jnp.array([[-1, -1], [3, 1], [-2, 3]], jnp.int8), 2)[..., 0]
    zeros = [np.argwhere(np.asarray(image) == 0).tolist() for image in cut]
    assert zeros == [[[0, 0]], [[3, 1], [3, 2]], []]


def test_jitter_adds_a_number_to_each_image_and_then_multiplies_by_another() -> None:
    images = jnp.arange(12.0).reshape(2, 2, 1, 3)
    out = im.jitter(images, jnp.array([[1.0, 2.0], [-0.5, 1.0]]))
    assert out[0].ravel().tolist() == [2, 4, 6, 8, 10, 12]
    assert out[1].ravel().tolist() == [5.5, 6.5, 7.5, 8.5, 9.5, 10.5]
    assert im.jitter(images.astype(jnp.bfloat16), jnp.zeros((2, 2))).dtype == jnp.bfloat16


def test_a_batch_is_jittered_by_its_epoch_s_draws_before_the_square_is_cut(
    tiny: Recipe, random_images: np.ndarray
) -> None:
    recipe = resolve_precision(tiny).override(
        train_examples=16, batch_size=4, brightness=0.2, contrast=0.1, cutout=12, flip="none", translate=0
    )
    draws = sample_draws(recipe, jax.random.key(0))
    assert draws.jitter is not None
    images, labels = jnp.asarray(random_images), jnp.arange(16)
    batch = batch_at(recipe, images, labels, draws, jnp.asarray(5))  # the second of the second epoch
    plain = batch_at(recipe, images, labels, draws._replace(jitter=None, corners=None), jnp.asarray(5)).images
    chosen = np.asarray(draws.order[1, 4:8])
    summand, factor = np.asarray(draws.jitter)[1, chosen].T[:, :, None, None, None]
    cut = np.asarray(batch.images) == 0
    assert (cut.sum((1, 2, 3)) == 12 * 12 * 3).all()
    np.testing.assert_allclose(batch.images, np.where(cut, 0, (np.asarray(plain) + summand) * factor), atol=1e-6)


def test_uniform_views_all_weigh_the_same(random_images: np.ndarray) -> None:
    for level, count in ((0, 1), (1, 2), (2, 6)):
        plain = tta_views(jnp.asarray(random_images), level)
        uniform = tta_views(jnp.asarray(random_images), level, uniform=True)
        assert [weight for weight, _ in uniform] == pytest.approx([1 / count] * count)
        assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(uniform, plain, strict=True))
