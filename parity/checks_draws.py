"""Checks of random draws: what follows from a part of them, by the laws of the recipe, is all the rest."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from airjax.augment.draws import Draws, sample_draws
from airjax.recipes.published import RECIPES
from airjax.utils.seeds import make_key
from parity.check_setup import CheckSetup
from parity.compare import Comparison, Place, compare
from parity.torch_draws import even_cells

SIDE, EXAMPLES = 5, 24
CROPS = SIDE * SIDE  # with a translation of 2
SQUARE = 28  # of which there are as many places inside an image


def check_draws(setup: CheckSetup) -> Iterator[Comparison]:
    """Compare flips, crops, cutouts and orders over the epochs with what their laws leave no choice about. (§3)"""
    place = Place("draws", setup.name, "float32")
    plain = _draw(setup, "random")
    shown = plain.flips ^ plain.mirrors
    alternating = [shown[0] ^ bool(epoch % 2) for epoch in range(len(shown))]
    yield compare(place, "alternating flip", shown, np.stack(alternating))
    turned = _draw(setup, "random", order="flip-flop").order
    yield compare(place, "flip-flop order", turned[1::2], turned[0::2, ::-1])
    for sampling in ("random", "without-replacement", "low-discrepancy"):
        draws = _draw(setup, sampling, antithetic=True)
        for name, positions in (("crops", draws.shifts), ("cutouts", draws.corners)):
            opposite = SIDE - 1 - positions[0::2]
            yield compare(place, f"antithetic {name}, {sampling}", positions[1::2], opposite)
    once = _draw(setup, "without-replacement")
    for name, positions in (("crops", once.shifts), ("cutouts", once.corners)):
        found = _numbered(positions).reshape(-1, CROPS, EXAMPLES)
        yield compare(place, f"{name} without replacement", np.sort(found, 1), _everything(found))
    joint = _draw(setup, "joint")
    views = (_numbered(joint.shifts) + CROPS * (joint.flips ^ joint.mirrors)).reshape(-1, 2 * CROPS, EXAMPLES)
    yield compare(place, "flips and crops jointly", np.sort(views, 1), _everything(views))
    even = _draw(setup, "low-discrepancy")
    cells = even_cells(SIDE).numpy()[None, :, None]
    for name, positions in (("crops", even.shifts), ("cutouts", even.corners)):
        cycles = positions.reshape(-1, CROPS, EXAMPLES, 2)
        yield compare(place, f"low-discrepancy {name}", cycles, (cycles[:, :1] + cells) % SIDE)


def _draw(setup: CheckSetup, sampling: str, **changes: Any) -> Any:
    # Four cycles. A Draws of numpy arrays, in whole numbers that do not overflow.
    recipe = RECIPES["tiny"].override(epochs=4.0 * CROPS, train_examples=EXAMPLES, batch_size=2, translate=2)
    square = "random" if sampling == "joint" else sampling
    recipe = recipe.override(crop_sampling=sampling, cutout=SQUARE, cutout_sampling=square, **changes)
    drawn: Draws = jax.device_get(sample_draws(recipe, make_key(setup.seed)))
    return drawn._replace(shifts=np.asarray(drawn.shifts, int), corners=np.asarray(drawn.corners, int))


def _numbered(positions: np.ndarray) -> np.ndarray:
    return positions[..., 0] * SIDE + positions[..., 1]


def _everything(found: np.ndarray) -> np.ndarray:
    # Every number once, in ascending order, for each cycle and example.
    return np.broadcast_to(np.arange(found.shape[1])[None, :, None], found.shape)
