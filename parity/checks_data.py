"""Checks without a network: normalisation, augmentation, schedule, whitening."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from airjax.augment import draws as airjax_draws
from airjax.augment import transforms
from airjax.augment.draws import Draws
from airjax.nn import whitening as whiten
from airjax.optim import schedule
from airjax.optim.schedule import lookahead_decay
from airjax.recipes.inputs import Inputs
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Recipe
from airjax.utils.seeds import make_key
from parity import torch_optimizer
from parity.check_setup import BOTH, CheckSetup, at_precision, jax_precision
from parity.compare import Comparison, Place, compare, measured


def check_normalize(setup: CheckSetup) -> Iterator[Comparison]:
    """Compare every value of every channel, normalised by both. (§3)"""
    values = np.arange(32 * 32 * 3, dtype=np.int64) // 3 % 256
    pixels = values.astype(np.uint8).reshape(1, 32, 32, 3)
    theirs = {p: setup.reference.augment(plain_draws_recipe(setup.recipe, p, 1), pixels, _no_draws(1), 0) for p in BOTH}
    for precision in setup.precisions:
        with jax_precision(precision):
            ours = jax.jit(lambda x, p=precision: transforms.normalize(x, Inputs(), p))(pixels)
        place = Place("normalize", setup.name, precision)
        yield compare(place, "pixels", ours, theirs["float64"], theirs["float32"] if precision == "float32" else None)


def check_augmentation(setup: CheckSetup) -> Iterator[Comparison]:
    """Flip, crop, mirror, cutout and jitter one by one, and composed in an even and an odd epoch. (§3)"""
    count = 96  # more images than there are shifts, so that every shift occurs
    place, augmentation = Place("augmentation", setup.name, "float32"), setup.recipe.augmentation
    base = plain_draws_recipe(setup.recipe, "float32", count)
    jittered = base.override(brightness=augmentation.brightness, contrast=augmentation.contrast)
    full = jittered.override(translate=augmentation.translate, cutout=augmentation.cutout)
    square = full.override(cutout=augmentation.cutout or 12)
    drawn = jax.device_get(airjax_draws.sample_draws(square, make_key(setup.seed)))
    shifts = np.stack([np.arange(count) % (2 * full.augmentation.translate + 1)] * 2, 1)
    shifts[:, 1] = np.arange(count) // (2 * full.augmentation.translate + 1)
    shifts = np.minimum(shifts, 2 * full.augmentation.translate).astype(np.int8)
    nothing = _no_draws(count)
    odd = nothing.mirrors.at[1].set(True)
    cases: dict[str, tuple[Recipe, Draws, int]] = {
        "flip": (base, nothing._replace(flips=drawn.flips), 0),
        "crop": (
            base.override(translate=augmentation.translate),
            nothing._replace(shifts=jnp.asarray(np.stack([shifts] * 2))),
            0,
        ),
        "mirror": (base, nothing._replace(mirrors=odd), 1),
        "cutout": (base.override(cutout=square.augmentation.cutout), nothing._replace(corners=drawn.corners), 0),
    }
    if drawn.jitter is not None:
        cases["jitter"] = (jittered, nothing._replace(jitter=drawn.jitter), 0)
    whole = drawn._replace(corners=drawn.corners if full.augmentation.cutout else None)
    cases |= {"even epoch": (full, whole, 0), "odd epoch": (full, whole, 1)}
    pixels = setup.images[:count]
    for name, (recipe, draws, epoch) in cases.items():
        moved = np.array(jax.jit(_move_with(recipe, draws, epoch))(pixels))
        # Normalised by PyTorch for both, so that only what moves pixels is compared, to the bit.
        normalized = setup.reference.augment(base, moved, nothing, 0)
        ours = jax.jit(_cut_with(recipe, draws, epoch))(normalized)
        yield compare(place, name, ours, setup.reference.augment(recipe, pixels, draws, epoch))


def check_schedule(setup: CheckSetup) -> Iterator[Comparison]:
    """Compare the learning-rate factor and the lookahead decay of every step of the recipe. (§4.5, §4.7)"""
    place, recipe = Place("schedule", setup.name, "float64"), at_precision(setup.recipe, "float64")
    with jax_precision("float64"):
        steps = jnp.arange(recipe.total_steps + 1)
        factors = schedule.learning_rate_factor(recipe, steps[:-1])
        decays = None if recipe.averaging is None else lookahead_decay(recipe, steps)
    yield compare(place, "learning-rate factors", factors, setup.reference.factors(recipe))
    if decays is None:
        return
    theirs = [torch_optimizer.lookahead_decay(recipe, step) for step in range(recipe.total_steps + 1)]
    yield compare(place, "lookahead decays", decays, theirs)


def check_whitening(setup: CheckSetup) -> Iterator[Comparison]:
    """Compare the filters up to sign, their Gram matrix (which knows neither sign nor order), and what they do. (§2)

    That the second half is the negative of the first is compared exactly.

    Rounding errs alike in every direction of patches, and the filters divide by the square roots of the eigenvalues. So
    what is compared is multiplied by them again: else the smallest eigenvalue's error alone would decide.
    """
    pixels = setup.images[:200]
    exact, exact_moment = None, None
    if not setup.recipe.network.examples_at_start:
        return
    epsilon, ascending = setup.recipe.value_of("whiten_epsilon"), setup.recipe.value_of("whiten_ascending")
    for precision in sorted(setup.precisions, reverse=True):  # float64 first: it is float32's yardstick
        place, recipe = Place("whitening", setup.name, precision), at_precision(setup.recipe, precision)
        theirs = setup.reference.filters(recipe, pixels).astype(np.float64).reshape(24, -1)
        with jax_precision(precision):
            normalized = transforms.normalize(jnp.asarray(pixels), recipe.inputs, precision)
            filters = np.asarray(whiten.whitening_filters(normalized, epsilon, ascending=ascending), np.float64)
            moment = np.asarray(whiten.second_moment(normalized), np.float64)
        ours = filters.transpose(3, 2, 0, 1).reshape(24, -1)
        order = np.arange(12).reshape(2, 2, 3).transpose(2, 0, 1).reshape(-1)  # (row, col, channel) -> torch's
        moment = moment[np.ix_(order, order)]
        if precision == "float64":
            exact, exact_moment = theirs, moment
        if exact is None or exact_moment is None:
            raise ValueError("the float32 rows of this check are measured against float64: compute both")
        # What follows knows no signs.
        yield measured(place, "second half beside the first, negated", float(np.abs(ours[12:] + ours[:12]).max()), 0.0)
        rounded = None if precision == "float64" else theirs
        yield compare(place, "inverse Gram matrix", _inverse_gram(ours), _inverse_gram(exact), _inverse_gram(rounded))
        values = np.linalg.eigvalsh(exact_moment)[:: 1 if ascending else -1]
        resolved = _resolution(values, epsilon)
        aligned = None if rounded is None else resolved * _with_signs_of(rounded, exact)
        yield compare(place, "filters up to sign", resolved * _with_signs_of(ours, exact), resolved * exact, aligned)
        # Whitened patches have the second moment value / (value + epsilon), uncorrelated.
        sizes = np.sqrt(values + epsilon)[:, None]
        yardstick = None if rounded is None else _whitened(sizes, rounded, exact_moment)
        yield compare(place, "whitened moment", _whitened(sizes, ours, exact_moment), np.diag(values), yardstick)


def plain_draws_recipe(recipe: Recipe, precision: str, count: int) -> Recipe:
    """Return the recipe on count examples without translation or cutout, for two epochs."""
    changes = RECIPES["tiny"].override(train_examples=max(count, 2), batch_size=2, translate=0)
    kinds = {name: recipe.value_of(name) for name in ("flip", "padding", "cutout_form")}
    return at_precision(changes.override(epochs=2.0, **kinds), precision)


def _no_draws(count: int) -> Draws:
    nobody, order = jnp.zeros((2, count), bool), jnp.broadcast_to(jnp.arange(count, dtype=jnp.int32), (2, count))
    return Draws(flips=nobody[0], mirrors=nobody, shifts=None, corners=None, order=order)


def _move_with(recipe: Recipe, draws: Draws, epoch: int):
    def moved(images: jax.Array) -> jax.Array:
        shifts = None if draws.shifts is None else jnp.asarray(draws.shifts)[epoch]
        flips, mirrors = jnp.asarray(draws.flips), jnp.asarray(draws.mirrors)[epoch]
        examples, augmentation = jnp.arange(len(images), dtype=jnp.int32), recipe.augmentation
        moves = flips, mirrors, shifts, augmentation.padding
        return transforms.take_moved(images, augmentation.translate, examples, *moves)

    return moved


def _cut_with(recipe: Recipe, draws: Draws, epoch: int):
    def cut(images: jax.Array) -> jax.Array:
        if draws.jitter is not None:
            images = transforms.jitter(images, jnp.asarray(draws.jitter)[epoch])
        if draws.corners is None:
            return images
        return transforms.cutout(images, jnp.asarray(draws.corners)[epoch], recipe.augmentation.cutout)

    return cut


def _inverse_gram(filters: np.ndarray | None) -> np.ndarray | None:
    # Half of the patches' second moment, plus the epsilon.
    return None if filters is None else np.linalg.inv(filters.T @ filters)


def _with_signs_of(filters: np.ndarray, like: np.ndarray) -> np.ndarray:
    return filters * np.sign((filters * like).sum(1, keepdims=True))


def _whitened(sizes: np.ndarray, filters: np.ndarray, moment: np.ndarray) -> np.ndarray:
    return sizes * (filters[:12] @ moment @ filters[:12].T) * sizes.T


def _resolution(values: np.ndarray, epsilon: float) -> np.ndarray:
    # Factors [24,1] of the filters of these eigenvalues, which ascend or descend. Rounding turns an eigenvector by the
    # moment's error over the gap to the nearest other one; where two nearly tie, a last bit decides how both lie.
    gaps = np.pad(np.abs(np.diff(values)), 1, constant_values=np.inf)
    factors = np.minimum(gaps[:-1], gaps[1:]) / values.max() * np.sqrt(values + epsilon)
    return np.tile(factors, 2)[:, None]
