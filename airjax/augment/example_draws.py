"""Random numbers about single examples, from (seed, epoch, example) alone: any process can draw those of any batch.

`draws` draws a whole run at once, which does for data that fit into memory; here a batch draws what it needs. The
numbers are those of Philox, a generator that counts: numpy keeps its stream stable for good.
"""

import hashlib
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

Flip = Literal["none", "random", "alternating-hash"]
ORDER, CROP, MIRROR = 0, 1, 2  # what numbers are for; each has a stream of its own


def sample_order(seed: int, epoch: int, count: int) -> Int[np.ndarray, " {count}"]:
    """Choose the example at each position of an epoch: a permutation, by the order of `count` random numbers."""
    return np.argsort(_generator(seed, ORDER, epoch, 0).random_raw(count), kind="stable").astype(np.int32)


def sample_uniforms(
    seed: int, epoch: int, examples: Int[np.ndarray, " n"], count: int, purpose: int = CROP
) -> Float[np.ndarray, "n {count}"]:
    """Draw so many numbers from [0, 1) for each of the examples in an epoch."""
    if count == 0:
        return np.zeros((len(examples), 0))
    raw = [_generator(seed, purpose, epoch, int(example)).random_raw(count) for example in examples]
    return (np.array(raw, np.uint64).reshape(len(examples), count) >> np.uint64(11)) * 2.0**-53


def sample_mirrors(seed: int, epoch: int, examples: Int[np.ndarray, " n"], flip: Flip) -> Bool[np.ndarray, " n"]:
    """Choose which of the examples are mirrored in an epoch.

    none: none of them. random: each with probability a half. alternating-hash: each in every second epoch, in the even
    or in the odd ones by a hash of its index. (Table 3)
    """
    match flip:
        case "none":
            return np.zeros(len(examples), bool)
        case "random":
            return sample_uniforms(seed, epoch, examples, 1, MIRROR)[:, 0] < 0.5
        case "alternating-hash":
            return (hash_bits(seed, examples) + epoch) % 2 == 0


def hash_bits(seed: int, examples: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Compute a pseudo-random bit of each example: the last bit of the MD5 sum of its index plus the seed, as text."""
    sums = (hashlib.md5(str(int(example) + seed).encode(), usedforsecurity=False) for example in examples)
    return np.array([one.digest()[-1] % 2 for one in sums], np.int64)


def _generator(seed: int, purpose: int, epoch: int, example: int) -> np.random.Philox:
    # The counter's lowest word counts blocks of four numbers, so that no two streams meet.
    return np.random.Philox(
        key=np.array([seed, purpose], np.uint64), counter=np.array([0, example, epoch, 0], np.uint64)
    )
