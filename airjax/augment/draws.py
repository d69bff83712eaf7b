"""Turn keys into arrays of random draws.

This file and the network's initialisation are the only users of jax.random. Everything after them is a deterministic
function of arrays, so that the same draws can be handed to another framework, or written by hand in a test.
"""

import hashlib
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int, Key

from airjax.recipes.recipe import Recipe
from airjax.utils.reprs import one_line
from airjax.utils.seeds import fixed_algorithm

JITTER = 5  # number of the key of brightness and contrast, after those of all else, from 0


class Draws(NamedTuple):
    """Every random choice about the data of one run of E epochs over N training examples."""

    flips: Bool[Array, " n"]  # mirrored once, before cropping
    mirrors: Bool[Array, "e n"]  # mirrored in that epoch, after cropping
    shifts: Int[Array, "e n 2"] | None  # top and left of the crop in [0, 2 translate]; None without translation
    corners: Int[Array, "e n 2"] | None  # top and left of the cutout, below 0 where it is clipped; None without cutout
    order: Int[Array, "e n"]  # position in the epoch -> training example
    jitter: Float[Array, "e n 2"] | None = None  # added to normalised pixels, and then their factor; None: neither

    def __repr__(self) -> str:
        return one_line(self)


def sample_draws(recipe: Recipe, key: Key[Array, ""]) -> Draws:
    """Sample all draws of a run, from one key. (§3)"""
    epochs, examples, augmentation = math.ceil(recipe.epochs), recipe.train_examples, recipe.augmentation
    largest_shift = 2 * augmentation.translate
    with fixed_algorithm():
        flip_key, mirror_key, shift_key, corner_key, order_key = jax.random.split(key, 5)
        shifts = _sample_positions(shift_key, epochs, examples, largest_shift) if augmentation.translate else None
        corners = sample_corners(recipe, corner_key, epochs) if augmentation.cutout else None
        return Draws(
            flips=sample_flips(recipe, flip_key),
            mirrors=sample_mirrors(recipe, mirror_key, epochs),
            shifts=shifts,
            corners=corners,
            order=sample_order(recipe, order_key, epochs),
            jitter=sample_jitter(recipe, key, epochs),
        )


def sample_flips(recipe: Recipe, key: Key[Array, ""]) -> Bool[Array, " n"]:
    """Choose the examples that are mirrored before anything else, and so start an alternation mirrored. (§3)"""
    match recipe.augmentation.flip:
        case "alternating":
            return _sample_coins(key, (recipe.train_examples,))
        case "alternating-hash":
            return jnp.asarray(hash_parity(recipe.train_examples) == 0)
        case _:
            return jnp.zeros(recipe.train_examples, bool)


def sample_mirrors(recipe: Recipe, key: Key[Array, ""], epochs: int) -> Bool[Array, "{epochs} n"]:
    """Choose which examples are mirrored in which epoch, on top of `flips`. (§3)"""
    shape = (epochs, recipe.train_examples)
    match recipe.augmentation.flip:
        case "random":
            return _sample_coins(key, shape)
        case "none":
            return jnp.zeros(shape, bool)
        case _:
            odd = jnp.arange(epochs) % 2 == 1
            return jnp.broadcast_to(odd[:, None], shape)


def sample_corners(recipe: Recipe, key: Key[Array, ""], epochs: int) -> Int[Array, "{epochs} n 2"]:
    """Choose the top and left of every cutout: inside the image, or half its side before a centre at any pixel. (§3)"""
    size, augmentation = recipe.inputs.image_size, recipe.augmentation
    if augmentation.cutout_form == "inside":
        return _sample_positions(key, epochs, recipe.train_examples, size - augmentation.cutout)
    return _sample_positions(key, epochs, recipe.train_examples, size - 1) - augmentation.cutout // 2


def sample_jitter(recipe: Recipe, key: Key[Array, ""], epochs: int) -> Float[Array, "{epochs} n 2"] | None:
    """Choose what is added to an image's normalised pixels, around 0, and their factor, around 1. (§3)"""
    augmentation = recipe.augmentation
    if not augmentation.brightness and not augmentation.contrast:
        return None
    # A key of its own: splitting off one more would change those that all other draws follow from.
    key = jax.random.fold_in(key, JITTER)
    largest = jnp.array([[[augmentation.brightness, augmentation.contrast]]], jnp.float32)
    middle = jnp.array([[[0, 1]]], jnp.float32)
    uniform = jax.random.uniform(key, (epochs, recipe.train_examples, 2), jnp.float32, -1, 1)
    return middle + largest * uniform


def sample_order(recipe: Recipe, key: Key[Array, ""], epochs: int) -> Int[Array, "{epochs} n"]:
    """Choose the training example at each position of each epoch. (§3)"""
    examples = recipe.train_examples
    match recipe.augmentation.order:
        case "reshuffle":
            keys = jax.random.split(key, epochs)
            return jax.vmap(lambda k: jax.random.permutation(k, jnp.arange(examples, dtype=jnp.int32)))(keys)
        case "replacement":
            return jax.random.randint(key, (epochs, examples), 0, examples, jnp.int32)
        case "fixed":
            return jnp.broadcast_to(jnp.arange(examples, dtype=jnp.int32), (epochs, examples))


def hash_parity(num_examples: int) -> Int[np.ndarray, " {num_examples}"]:
    """Compute the paper's pseudo-random bit of each example index; parity 0 starts mirrored. (§3)"""
    digests = (hashlib.md5(str(42 * index).encode(), usedforsecurity=False) for index in range(num_examples))
    return np.array([int(digest.hexdigest()[-8:], 16) % 2 for digest in digests])


def _sample_coins(key: Array, shape: tuple[int, ...]) -> Array:
    # The type of the probability is that of the numbers drawn: jax_enable_x64 would change a Python float's.
    return jax.random.bernoulli(key, jnp.float32(0.5), shape)


def _sample_positions(key: Array, epochs: int, examples: int, largest: int) -> Array:
    dtype = jnp.int8 if largest <= 127 else jnp.int16
    return jax.random.randint(key, (epochs, examples, 2), 0, largest + 1, dtype)
