import jax
import jax.numpy as jnp
import numpy as np
import pytest

import airjax
from airjax.augment.transforms import normalize
from airjax.kernels.convolution import conv
from airjax.nn.whitening import SIGN_RATIO, fix_signs, second_moment, whitening_filters
from airjax.recipes.inputs import Inputs
from airjax.recipes.published import RECIPES


def patches_of(images: np.ndarray) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(images, (2, 2), axis=(1, 2))  # [N,31,31,C,2,2]
    return windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, 4 * images.shape[-1]).astype(np.float64)


def test_second_moment_is_that_of_all_patches(toy: airjax.Dataset) -> None:
    images = np.asarray(normalize(jnp.asarray(toy.train_images[:50]), Inputs(), jnp.float32))
    patches = patches_of(images)
    assert np.allclose(second_moment(jnp.asarray(images)), patches.T @ patches / len(patches), atol=1e-5)


def assert_whitens(images: jax.Array) -> None:
    epsilon = 5e-4
    values = np.linalg.eigvalsh(np.asarray(second_moment(images), np.float64))[::-1]
    filters = whitening_filters(images, epsilon)
    outputs = np.asarray(conv(images, filters, ((0, 0), (0, 0))), np.float64).reshape(-1, 24)
    moment = outputs.T @ outputs / len(outputs)
    # Identity, but for the epsilon that each eigenvalue competes with; the negatives are exact.
    assert np.allclose(moment[:12, :12], np.diag(values / (values + epsilon)), atol=2e-3)
    assert np.array_equal(np.asarray(filters)[..., 12:], -np.asarray(filters)[..., :12])


def test_filters_by_ascending_eigenvalue_are_the_others_in_reverse(toy: airjax.Dataset) -> None:
    images = normalize(jnp.asarray(toy.train_images[:50]), Inputs(), jnp.float32)
    descending, ascending = (whitening_filters(images, 5e-4, ascending=order) for order in (False, True))
    first, negative = ascending[..., :12], ascending[..., 12:]
    np.testing.assert_array_equal(first, descending[..., 11::-1])
    np.testing.assert_array_equal(negative, -first)
    assert float(jnp.abs(first[..., 0]).max()) > float(jnp.abs(first[..., 11]).max())  # of the smallest eigenvalue


def test_whitened_patches_have_identity_second_moment(toy: airjax.Dataset) -> None:
    assert_whitens(normalize(jnp.asarray(toy.train_images[:100]), Inputs(), jnp.float32))


def test_whitened_patches_of_cifar10_have_identity_second_moment(cifar10: airjax.Dataset) -> None:
    assert_whitens(normalize(jnp.asarray(cifar10.train_images[:1000]), Inputs(), jnp.float32))


def test_signs_do_not_depend_on_the_library() -> None:
    vectors = jnp.asarray(np.linalg.qr(np.random.default_rng(0).normal(size=(12, 12)))[0], jnp.float32)
    flips = jnp.asarray(np.random.default_rng(1).choice([-1.0, 1.0], (1, 12)), jnp.float32)
    fixed = fix_signs(vectors)
    np.testing.assert_array_equal(fix_signs(vectors * jnp.broadcast_to(flips, (12, 12))), fixed)
    np.testing.assert_array_equal(abs(fixed), abs(vectors))


def test_no_sign_of_cifar10_is_near_the_edge(cifar10: airjax.Dataset) -> None:
    weights = SIGN_RATIO ** np.arange(12)
    for first in (0, 20_000):
        images = normalize(jnp.asarray(cifar10.train_images[first : first + 3000]), Inputs(), jnp.float32)
        vectors = np.linalg.eigh(np.asarray(second_moment(images), np.float64))[1]
        # Rounding moves an eigenvector by a thousandth at most.
        assert (abs(weights @ vectors) / np.linalg.norm(weights)).min() > 0.03


def test_images_need_not_be_square() -> None:
    images = jax.random.normal(jax.random.key(0), (20, 8, 10, 3))
    patches = patches_of(np.asarray(images))
    assert len(patches) == 20 * 7 * 9
    np.testing.assert_allclose(second_moment(images), patches.T @ patches / len(patches), atol=1e-5)


def test_an_epsilon_of_nothing_is_refused() -> None:
    # Grey images have eigenvalues of 0, by rounding a little less.
    with pytest.raises(ValueError, match=r"whiten-epsilon is 0\.0, but it must be a number more than 0 and at most 1"):
        RECIPES["94"].override(whiten_epsilon=0.0)
