import jax
import jax.numpy as jnp
import numpy as np
import pytest

from airjax.optim.schedule import learning_rate_factor, lookahead_decay
from airjax.recipes.published import RECIPES

# (§4.5): warm-up steps, f(0), f(1), f(T-1), sum of f
TABLE = [
    ("94", 109, 0.2, 0.207339, 0.072534, 261.81),
    ("95", 165, 0.2, 0.204848, 0.071676, 395.99),
    ("96-paper", 441, 0.2, 0.201814, 0.070629, 1055.93),
    ("96", 177, 0.2, 0.204520, 0.000625, 905.80),
]


@pytest.mark.parametrize(("name", "warmup", "first", "second", "last", "total"), TABLE)
def test_triangle_has_the_methods_values(
    name: str, warmup: int, first: float, second: float, last: float, total: float
) -> None:
    recipe = RECIPES[name]
    factors = np.asarray(jax.vmap(lambda step: learning_rate_factor(recipe, step))(jnp.arange(recipe.total_steps)))
    assert factors[[0, 1, -1]] == pytest.approx([first, second, last], abs=1e-6)
    assert factors.argmax() == warmup
    assert factors[warmup] == 1
    assert factors.astype(np.float64).sum() == pytest.approx(total, abs=0.01)


def test_lookahead_decay_has_the_methods_values() -> None:
    decays = [float(lookahead_decay(RECIPES["94"], jnp.int32(k))) for k in (5, 115, 235, 475, 476)]
    assert decays[0] == pytest.approx(9.0e-7, rel=0.01)
    assert decays[1:] == pytest.approx([0.0109, 0.0931, 0.76891, 0.77378094], abs=5e-5)
