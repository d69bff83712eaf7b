import jax.numpy as jnp
import numpy as np
import pytest

from airjax.augment.resize import interpolation_weights, resize


def test_weights_are_those_of_the_two_nearest_pixels() -> None:
    # The centres of three pixels, scaled to two: at 1/4 of the first and 3/4 of the second, and at 7/4.
    np.testing.assert_allclose(interpolation_weights(3, 2), [[0.75, 0.25, 0], [0, 0.25, 0.75]], rtol=1e-12)
    assert np.array_equal(interpolation_weights(4, 4), np.eye(4))


def test_antialiased_weights_are_a_triangle_as_wide_as_two_new_pixels() -> None:
    # The centre of the first of two is between the first two of four, and the triangle is 0 two pixels from there.
    expected = np.array([[3, 3, 1, 0], [0, 1, 3, 3]]) / 7
    np.testing.assert_allclose(interpolation_weights(4, 2, antialias=True), expected, rtol=1e-12)


def test_rows_and_columns_are_scaled_alike() -> None:
    image = jnp.arange(9, dtype=jnp.float32).reshape(1, 3, 3, 1)  # 3 row + column
    assert np.asarray(resize(image, 2))[0, :, :, 0].tolist() == [[1.0, 2.5], [5.5, 7.0]]


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("size", [24, 28])
def test_one_colour_stays_and_half_precision_is_rounded_once(size: int, antialias: bool) -> None:
    images = np.random.default_rng(0).standard_normal((2, 32, 32, 3)).astype(np.float32)
    grey = resize(jnp.full((1, 32, 32, 1), 0.7), size, antialias=antialias)
    assert grey.shape == (1, size, size, 1)
    np.testing.assert_allclose(grey, 0.7, rtol=1e-6)
    half = jnp.asarray(images, jnp.bfloat16)
    exact = resize(half.astype(jnp.float32), size, antialias=antialias)
    scaled = resize(half, size, antialias=antialias)
    assert scaled.dtype == jnp.bfloat16
    assert np.array_equal(scaled, exact.astype(jnp.bfloat16))
