"""The learning rate and the averages of the last steps. (§4.10)"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from airjax.optim.lookahead import LookaheadState, lookahead_init, tail_update
from airjax.optim.schedule import learning_rate_factor
from airjax.recipes.published import RECIPES

# The published training: 32 steps in an epoch, the rate falls over 8 of 8.125 epochs.
PUBLISHED = RECIPES["94-curriculum"].override(batch_size=1536, epochs=8.125)


def test_the_rate_falls_to_its_floor_and_stays_there() -> None:
    assert (PUBLISHED.total_steps, PUBLISHED.schedule_steps) == (260, 256)
    factors = np.asarray(jax.vmap(lambda step: learning_rate_factor(PUBLISHED, step))(jnp.arange(260)))
    np.testing.assert_allclose(factors[[0, 128, 243]], [1, 0.5, 13 / 256], rtol=1e-6)
    np.testing.assert_allclose(factors[244:], 0.05, rtol=1e-6)


def test_a_schedule_that_ends_above_the_floor_keeps_its_end() -> None:
    recipe = RECIPES["94"].override(tail=True, tail_steps=6)
    factors = [float(learning_rate_factor(recipe, jnp.int32(step))) for step in (0, 469, 470, 475)]
    # A triangle over 470 steps, from 0.2 to 1 at step 108 and to 0.07.
    assert factors == pytest.approx([0.2, 1 - 0.93 * 361 / 362, 0.07, 0.07], abs=1e-6)


def test_a_schedule_of_so_many_steps_has_no_tail() -> None:
    factors = [float(learning_rate_factor(PUBLISHED, jnp.int32(step), 8)) for step in (0, 7)]
    assert factors == pytest.approx([1, 1 / 8], abs=1e-6)


def test_averages_begin_as_a_copy_before_the_schedule_s_end() -> None:
    # The network after step k is k, but for what the averages make of it.
    slow, seen = lookahead_init(jnp.float32(0)), {}
    fast = jnp.float32(0)
    for steps_done in range(245, 261):
        fast, slow = tail_update(PUBLISHED, fast + 1, slow, jnp.int32(steps_done))
        seen[steps_done] = float(fast)
        assert isinstance(slow, LookaheadState)
    assert [seen[steps] for steps in (245, 248, 251)] == [1, 4, 7]  # the copy is that of step 248
    assert seen[252] == pytest.approx(0.7 * 4 + 0.3 * 8)  # 5.2
    assert seen[255] == pytest.approx(8.2)
    assert seen[256] == pytest.approx(0.7 * 5.2 + 0.3 * 9.2)  # 6.4
    assert seen[260] == pytest.approx(0.7 * 6.4 + 0.3 * 10.4)


def test_an_average_is_also_of_the_running_statistics_and_leaves_other_steps_alone_to_the_bit() -> None:
    first = PUBLISHED.schedule_steps - 8
    trees = [{"a": jnp.float32(0.1), "b": jnp.float32(value)} for value in (0.3, 0.7)]
    _, slow = tail_update(PUBLISHED, trees[0], lookahead_init(trees[1]), jnp.int32(first))
    assert slow.slow == trees[0]
    fast, slow = tail_update(PUBLISHED, trees[1], slow, jnp.int32(first + 1))
    assert (fast, slow.slow) == (trees[1], trees[0])
    fast, slow = tail_update(PUBLISHED, trees[1], slow, jnp.int32(first + 4))
    assert float(fast["b"]) == pytest.approx(0.7 * 0.3 + 0.3 * 0.7)
    assert fast == slow.slow
    assert fast["a"] == trees[0]["a"]  # what does not change is not rounded either
