"""The annotations of airjax's functions are checked while the tests run: shapes, dtypes, traced arrays."""

import importlib.util

import jax
import jax.numpy as jnp
import jaxtyping
import pytest

from airjax.augment.transforms import mirror_where, take_moved
from airjax.nn.whitening import fix_signs

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("beartype") is None, reason="beartype is not installed, so no annotation is checked"
)
IMAGES = jnp.zeros((4, 8, 8, 3), jnp.uint8)
MASK = jnp.zeros(4, bool)


def test_right_shapes_and_dtypes_are_let_through() -> None:
    assert mirror_where(IMAGES, MASK).shape == (4, 8, 8, 3)


@pytest.mark.parametrize(
    ("images", "mask"),
    [(IMAGES, MASK[:3]), (IMAGES[0], MASK), (IMAGES, MASK.astype(jnp.int32)), (IMAGES, [True] * 4)],
    ids=["another length", "one axis too few", "another dtype", "no array"],
)
def test_a_wrong_argument_is_caught(images: jax.Array, mask: jax.Array) -> None:
    with pytest.raises(jaxtyping.TypeCheckError, match=r"airjax\.augment\.transforms\.mirror_where"):
        mirror_where(images, mask)


def test_a_wrong_shape_is_caught_while_a_function_is_traced() -> None:
    shapes = jax.ShapeDtypeStruct((3, 3), jnp.float32), jax.ShapeDtypeStruct((3, 4), jnp.float32)
    assert jax.jit(fix_signs).lower(shapes[0]).out_info.shape == (3, 3)
    with pytest.raises(jaxtyping.TypeCheckError, match="k k"):
        jax.jit(fix_signs).lower(shapes[1])


def test_a_vmapped_function_sees_the_arrays_of_one_network() -> None:
    examples, coins = jnp.zeros((5, 2), jnp.int32), jnp.zeros((5, 2), bool)
    move = jax.vmap(lambda *draws: take_moved(IMAGES, 0, *draws, None))
    assert move(examples, coins, coins).shape == (5, 2, 8, 8, 3)
    with pytest.raises(jaxtyping.TypeCheckError, match="examples"):
        take_moved(IMAGES, 0, examples, coins, coins, None)
