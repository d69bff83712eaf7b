"""Checks of what changes with the size of images: scaling, the network at each size, which size is when; and the tail.

They are about recipes with a curriculum (§3) or a tail (§4.10); others have nothing to compare.
"""

import functools
from collections.abc import Iterator

import jax
import numpy as np
import torch

from airjax.augment import resize as resizing
from airjax.augment import transforms
from airjax.optim import lookahead
from airjax.training import run as airjax_run
from airjax.training.compile import compile_function
from parity.check_setup import BOTH, CheckSetup, at_precision, jax_precision, narrow
from parity.checks_network import compare_pass
from parity.checks_updates import few_channels, network_arrays, trained_part
from parity.compare import Comparison, Place, compare
from parity.states import arbitrary_state
from parity.torch_curriculum import TailAverage, image_size_at, scale
from parity.torch_implementation import load_network

SIZES = (24, 28)  # of 32


def check_resize(setup: CheckSetup) -> Iterator[Comparison]:
    """Compare images scaled down, with and without antialiasing. (§3)"""
    pixels, inputs = setup.images[:32], setup.recipe.inputs
    for precision in setup.precisions:
        place = Place("resize", setup.name, precision)
        for size, antialias in [(size, antialias) for size in SIZES for antialias in (False, True)]:
            with jax_precision(precision):
                normalized = np.array(jax.jit(lambda x, p=precision: transforms.normalize(x, inputs, p))(pixels))
                ours = jax.jit(lambda x, s=size, a=antialias: resizing.resize(x, s, antialias=a))(normalized)
            given = torch.as_tensor(normalized).permute(0, 3, 1, 2)
            exact, rounded = (scale(given.to(getattr(torch, p)), size, antialias=antialias) for p in BOTH)
            name = f"{size} pixels, {'antialiased' if antialias else 'interpolated'}"
            theirs, yardstick = (array.permute(0, 2, 3, 1).numpy() for array in (exact, rounded))
            yield compare(place, name, ours, theirs, yardstick if precision == "float32" else None)


def check_image_sizes(setup: CheckSetup) -> Iterator[Comparison]:
    """Compare a training pass on smaller images than the recipe's, with either last pool. (§1)

    Of the recipe's own size it is the check *intermediates*, of the recipe's own pool.
    """
    if setup.recipe.resolution is None:
        return
    for precision in setup.precisions:
        for size, pool in ((24, "max"), (28, "max"), (24, "mean")):
            recipe = at_precision(narrow(setup.recipe), precision).override(final_pool=pool)
            part = setup._replace(images=setup.images[:, :size, :size])
            for comparison in compare_pass(part, recipe, dict.fromkeys(CHECKED, "image-sizes")):
                yield comparison._replace(name=f"{size} pixels, {pool}: {comparison.name}")


CHECKED = ("intermediate", "loss", "gradient", "statistic")


def check_curriculum(setup: CheckSetup) -> Iterator[Comparison]:
    """Compare the size of the images of every step. (§3)"""
    recipe = setup.recipe
    if recipe.resolution is None:
        return
    parts = airjax_run.segments(recipe, by_epoch=True)
    ours = [part.image_size or recipe.inputs.image_size for part in parts for _ in range(part.num_steps)]
    theirs = [image_size_at(recipe, step) for step in range(recipe.total_steps)]
    yield compare(Place("curriculum", setup.name, "float64"), "pixels of every step", ours, theirs)


def check_tail(setup: CheckSetup) -> Iterator[Comparison]:
    """Compare the network after every one of the last steps, between which everything changes at random. (§4.10)"""
    tail = setup.recipe.ending
    if tail is None:
        return
    recipe, place = at_precision(few_channels(setup.recipe), "float64"), Place("tail", setup.name, "float64")
    first = recipe.schedule_steps - tail.tail_lead - 2
    states = [arbitrary_state(recipe, seed=(setup.seed, 5, step)) for step in range(first, recipe.total_steps + 1)]
    network = load_network(setup.reference, recipe, states[0])
    average = TailAverage(recipe, network)
    with jax_precision("float64"):
        slow = lookahead.lookahead_init(trained_part(recipe, states[0]))

        given = slow.slow, slow, np.int32(0)
        shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), given)
        update = compile_function(functools.partial(lookahead.tail_update, recipe), *shapes)
        for steps_done, moved in enumerate(states[1:], start=first + 1):
            fast, slow = update(trained_part(recipe, moved), slow, np.int32(steps_done))
            # The whitening filters are frozen, so they are the same throughout.
            network.load_state_dict({**moved, "0.weight": states[0]["0.weight"]})
            average.update(steps_done)
            ours = network_arrays(recipe, fast, states[0])
            for name, tensor in network.state_dict().items():
                if tensor.is_floating_point():
                    yield compare(place, f"{name} after {steps_done} steps", ours[name], tensor)
