import jax
import jax.numpy as jnp
import numpy as np
import pytest

import airjax
from airjax.images import normalize
from airjax.model import apply_eval, init_variables
from airjax.precision import resolve_precision
from airjax.recipe import Recipe
from airjax.tta import tta_logits


@pytest.mark.parametrize("level", [0, 1, 2])
def test_logits_are_averaged_with_the_methods_weights(tiny: Recipe, toy: airjax.Dataset, level: int) -> None:
    recipe = resolve_precision(tiny)
    variables = init_variables(recipe, jax.random.key(0))
    variables["frozen"]["whiten"]["kernel"] = jax.random.normal(jax.random.key(1), (2, 2, 3, 24))
    images = jnp.asarray(toy.test_images[:3])
    x = np.asarray(normalize(images, jnp.float32))

    def net(view: np.ndarray) -> np.ndarray:
        return np.asarray(apply_eval(recipe, variables, jnp.asarray(view)))

    def mirrored(view: np.ndarray) -> np.ndarray:
        return 0.5 * net(view) + 0.5 * net(view[:, :, ::-1])

    expected = net(x) if level == 0 else mirrored(x)
    if level == 2:
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
        expected = 0.5 * expected + 0.25 * mirrored(padded[:, :32, :32]) + 0.25 * mirrored(padded[:, 2:, 2:])
    assert np.allclose(tta_logits(recipe, variables, images, level), expected, atol=1e-5)
