"""Seeds and their keys, whose random numbers are the same under all of JAX's settings."""

import operator
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Key

LARGEST_SEED = 2**32 - 1


def check_seed(seed: Any) -> int:
    """Return the seed as an int. Raises ValueError unless it is a whole number from 0 to 2**32 - 1."""
    try:
        number = -1 if isinstance(seed, bool) else operator.index(seed)
    except TypeError:
        number = -1
    if not 0 <= number <= LARGEST_SEED:
        raise ValueError(f"seed is {seed!r}, but it must be a whole number from 0 to {LARGEST_SEED}")
    return number


def make_key(seed: Any) -> Key[Array, ""]:
    """Return the key of a seed. Raises ValueError for what `check_seed` does not take."""
    return make_keys([check_seed(seed)])[0]


def make_keys(seeds: Sequence[int]) -> Key[Array, " k"]:
    """Return the keys of k seeds that were checked, whatever JAX's settings for random numbers are.

    They are those of `jax.random.key` with threefry, JAX's default, and no JAX_RANDOM_SEED_OFFSET.
    """
    words = np.asarray(seeds, np.uint32)
    data = jnp.asarray(np.stack([np.zeros_like(words), words], axis=-1))
    return jax.random.wrap_key_data(data, impl="threefry2x32")


def fixed_algorithm() -> AbstractContextManager[Any]:
    """Return a context in which a key gives the same random numbers whatever JAX_THREEFRY_PARTITIONABLE says.

    Functions that are traced in it keep that algorithm wherever they are compiled.
    """
    return jax.threefry_partitionable(True)
