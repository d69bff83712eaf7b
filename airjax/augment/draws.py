"""Turn keys into arrays of random draws.

This file and the network's initialisation are the only users of jax.random. Everything after them is a deterministic
function of arrays, so that the same draws can be handed to another framework, or written by hand in a test.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Bool, Float, Int, Key

from airjax.augment.example_draws import hash_bits
from airjax.augment.positions import antithetic, flip_flop, low_discrepancy, without_replacement
from airjax.recipes.augmentation import CropSampling
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
    epochs, augmentation = math.ceil(recipe.epochs), recipe.augmentation
    with fixed_algorithm():
        flip_key, mirror_key, shift_key, corner_key, order_key = jax.random.split(key, 5)
        shifts = sample_shifts(recipe, shift_key, epochs) if augmentation.translate else None
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


def sample_shifts(recipe: Recipe, key: Key[Array, ""], epochs: int) -> Int[Array, "{epochs} n 2"]:
    """Choose the top and left of every crop in the padded image, uniform in each epoch for itself. (§3)"""
    augmentation = recipe.augmentation
    return sample_positions(
        key,
        (epochs, recipe.train_examples),
        2 * augmentation.translate,
        augmentation.crop_sampling,
        in_pairs=augmentation.antithetic,
        walks=num_walks(recipe),
    )


def num_walks(recipe: Recipe) -> int:
    """Return how often an image goes through one sequence of its shifts before it gets another one. (§3)

    Jointly with an alternating flip twice: the number of shifts is odd, so each comes first one way round and then the
    other. Of antithetic pairs the second one is mirrored anyway.
    """
    augmentation = recipe.augmentation
    mirrored = augmentation.flip != "none" and not augmentation.antithetic
    return 2 if augmentation.crop_sampling == "joint" and mirrored else 1


def sample_corners(recipe: Recipe, key: Key[Array, ""], epochs: int) -> Int[Array, "{epochs} n 2"]:
    """Choose the top and left of every cutout: inside the image, or half its side before a centre at any pixel. (§3)"""
    size, augmentation = recipe.inputs.image_size, recipe.augmentation
    shape, sampling = (epochs, recipe.train_examples), augmentation.cutout_sampling
    if augmentation.cutout_form == "inside":
        return sample_positions(key, shape, size - augmentation.cutout, sampling, in_pairs=augmentation.antithetic)
    centres = sample_positions(key, shape, size - 1, sampling, in_pairs=augmentation.antithetic)
    return centres - augmentation.cutout // 2


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
            return _sample_permutations(key, epochs, examples)
        case "flip-flop":
            return flip_flop(_sample_permutations(key, math.ceil(epochs / 2), examples))[:epochs]
        case "replacement":
            return jax.random.randint(key, (epochs, examples), 0, examples, jnp.int32)
        case "fixed":
            return jnp.broadcast_to(jnp.arange(examples, dtype=jnp.int32), (epochs, examples))


def sample_positions(
    key: Key[Array, ""],
    shape: tuple[int, int],
    largest: int,
    sampling: CropSampling = "random",
    *,
    in_pairs: bool = False,
    walks: int = 1,
) -> Int[Array, "e n 2"]:
    """Choose a row and a column in [0, largest] for every epoch and example: shape [e,n]. (§3)

    In each epoch for itself they are uniform, and independent between examples; sampling says how those of one example
    follow each other. What repeats none begins anew once every position has come, after so many walks through the same
    sequence. In pairs, every other epoch has the opposite of the position before.
    """
    epochs, examples = shape
    if in_pairs:
        half = math.ceil(epochs / 2)
        first = sample_positions(key, (half, examples), largest, sampling, walks=walks)
        return antithetic(first, largest)[:epochs]
    if sampling == "random":
        return _sample_independent(key, shape, largest)
    length = min(epochs, (largest + 1) ** 2)
    cycles = math.ceil(epochs / (walks * length))
    positions = _sample_cycles(key, (cycles, length, examples), largest, sampling)
    repeated = jnp.concatenate([positions] * walks, axis=1)
    return repeated.reshape(cycles * walks * length, examples, 2)[:epochs]


def hash_parity(num_examples: int) -> Int[np.ndarray, " {num_examples}"]:
    """Compute the paper's pseudo-random bit of each example index; parity 0 starts mirrored. (§3)"""
    return hash_bits(0, 42 * np.arange(num_examples))


def _sample_coins(key: Array, shape: tuple[int, ...]) -> Array:
    # The type of the probability is that of the numbers drawn: jax_enable_x64 would change a Python float's.
    return jax.random.bernoulli(key, jnp.float32(0.5), shape)


def _sample_permutations(key: Array, epochs: int, examples: int) -> Array:
    keys = jax.random.split(key, epochs)
    return jax.vmap(lambda k: jax.random.permutation(k, jnp.arange(examples, dtype=jnp.int32)))(keys)


def _sample_independent(key: Array, shape: tuple[int, int], largest: int) -> Array:
    return jax.random.randint(key, (*shape, 2), 0, largest + 1, _dtype_for(largest))


def _sample_cycles(key: Array, shape: tuple[int, int, int], largest: int, sampling: CropSampling) -> Array:
    # So many cycles of so many epochs, in each of which no position comes twice: [cycles, epochs, examples, 2].
    cycles, length, examples = shape
    side = largest + 1
    if sampling == "low-discrepancy":
        # One sequence for all, moved over the borders by each image's own distance (Cranley and Patterson 1976).
        starts = jax.random.randint(key, (cycles, 1, examples, 2), 0, side, jnp.int32)
        cells = jnp.asarray(low_discrepancy(side, length))[None, :, None]
        return ((starts + cells) % side).astype(_dtype_for(largest))
    left = side**2 - jnp.arange(length, dtype=jnp.int32)[:, None]
    digits = jax.random.randint(key, (length, cycles * examples), 0, left, jnp.int32)
    numbers = without_replacement(digits).reshape(length, cycles, examples).swapaxes(0, 1)
    return jnp.stack(jnp.divmod(numbers, side), axis=-1).astype(_dtype_for(largest))


def _dtype_for(largest: int) -> DTypeLike:
    return jnp.int8 if largest <= 127 else jnp.int16
