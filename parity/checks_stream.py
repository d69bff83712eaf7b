"""Checks of trainings on trees of images: boxes, their resizing, resolution and rate over time, whole steps. (§9)

They are about the recipes for ImageNet, whichever recipes the suite is run for.
"""

import functools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from airjax.augment import area, crop_boxes
from airjax.optim import schedule
from airjax.optim.hyperparameters import hyperparameters
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Recipe
from airjax.training.backend import backend_of
from airjax.training.step import init_state
from airjax.training.stream_data import StreamBatch
from airjax.training.stream_step import stream_step
from parity.check_setup import CheckSetup, jax_precision
from parity.compare import Comparison, Place, compare
from parity.convert import to_state_dict, to_variables
from parity.reference import train_step
from parity.run import run
from parity.states import arbitrary_state
from parity.torch_crops import area_mean, centre_box, heavy_box
from parity.torch_imagenet import normalized, rate_at, resolution_at
from parity.torch_network import build_network
from parity.torch_optimizer import make_optimizer, reduction_of, schedule_step

IMAGES = 400  # of which boxes are compared
RAMPS = {"imagenet-resnet18-16": (11, 13), "imagenet-resnet18-20": (13.75, 16.25), "imagenet-resnet18-88": (65, 76)}
SIZES = (24, 32)  # pixels of the images in the steps that are compared


def check_boxes(setup: CheckSetup) -> Iterator[Comparison]:
    """Compare the boxes of heavy crops from the same random numbers, and of both test crops, pixel by pixel."""
    generator, place = np.random.default_rng((setup.seed, 8)), Place("boxes", setup.name, "float64")
    sizes = generator.integers(40, 600, (IMAGES, 2)).astype(np.int32)
    sizes[::10, 1] *= 4  # panoramas, in which many tries do not fit
    uniforms = generator.random((IMAGES, crop_boxes.UNIFORMS["heavy"]))
    tries = torch.from_numpy(uniforms).reshape(IMAGES, -1, 4)
    theirs = [heavy_box(height, width, one) for (height, width), one in zip(sizes.tolist(), tries, strict=True)]
    yield compare(place, "heavy", crop_boxes.crop_boxes("heavy", sizes, uniforms), theirs)
    for fraction in (0.875, 1.0):
        theirs = [centre_box(height, width, fraction) for height, width in sizes.tolist()]
        yield compare(place, f"centre, {fraction}", crop_boxes.centre_boxes(sizes, fraction), theirs)


def check_area(setup: CheckSetup) -> Iterator[Comparison]:
    """Compare boxes made smaller, and mirrored, with means of areas before they are rounded to bytes."""
    generator, place = np.random.default_rng((setup.seed, 9)), Place("area", setup.name, "float64")
    pixels, mirrors = setup.images[:32], np.arange(32) % 2 == 1
    corners = generator.integers(0, 12, (32, 2))
    boxes = np.concatenate([corners, generator.integers(11, 33 - corners)], axis=1).astype(np.int32)
    for size in (7, 10):
        resize = functools.partial(area.resize_boxes, size=size)
        ours = run(resize, *map(jnp.asarray, (pixels, boxes, mirrors)))
        means = [area_mean(torch.from_numpy(image), tuple(box), size) for image, box in zip(pixels, boxes, strict=True)]
        theirs = [mean.flip(1) if mirror else mean for mean, mirror in zip(means, mirrors, strict=True)]
        yield compare(place, f"{size} pixels", ours, torch.stack(theirs))


def check_ramp(setup: CheckSetup) -> Iterator[Comparison]:
    """Compare the resolution of every epoch, and the learning rate of every step, with what FFCV interpolates."""
    place = Place("ramp", setup.name, "float64")
    for name, (start, end) in RAMPS.items():
        recipe = RECIPES[name].override(precision="float64")
        assert recipe.cropping is not None
        ours = recipe.cropping.epoch_sizes(recipe.epochs)
        yield compare(place, f"sizes of {name}", ours, [resolution_at(epoch, start, end) for epoch in range(len(ours))])
        steps = np.arange(recipe.total_steps)
        with jax_precision("float64"):
            rates = recipe.sgd_learning_rate * schedule.learning_rate_factor(recipe, jnp.asarray(steps))
        theirs = [rate_at(step, recipe.steps_per_epoch, recipe.epochs) for step in steps.tolist()]
        yield compare(place, f"rates of {name}", rates, theirs)


def check_stream_step(setup: CheckSetup) -> Iterator[Comparison]:
    """Compare every tensor after each of a few steps on the same batches, of two sizes, some of them mirrored."""
    recipe, place = _small_recipe(setup), Place("stream-step", setup.name, "float64")
    state = arbitrary_state(recipe, seed=(setup.seed, 10))
    batches = _batches(recipe, setup)
    pairs = zip(_airjax(recipe, state, batches), _torch(recipe, state, batches), strict=True)
    for steps_done, (ours, theirs) in enumerate(pairs, start=1):
        for name, tensor in theirs.items():
            yield compare(place, f"{name} after {steps_done} steps", ours[name], tensor)


def _small_recipe(setup: CheckSetup) -> Recipe:
    # A decay that shows in a few steps, which are among those in which the rate rises.
    inputs = replace(RECIPES["imagenet-resnet18-16"].inputs, num_classes=setup.recipe.inputs.num_classes)
    return RECIPES["imagenet-resnet18-16"].override(
        **{"widths": (16, 16, 16, 24), "batch_size": 8, "train_examples": 32, "weight_decay": 0.05, "inputs": inputs},
        precision="float64",
    )


def _batches(recipe: Recipe, setup: CheckSetup) -> list[StreamBatch]:
    found = []
    for step, size in enumerate(SIZES):
        part = slice(step * recipe.batch_size, (step + 1) * recipe.batch_size)
        mirrors = np.random.default_rng((setup.seed, 11, step)).random((recipe.batch_size, 1)) < 0.5
        host: Any = setup.images[part, :size, :size], setup.labels[part].astype(np.int32), mirrors
        found.append(StreamBatch(*host))
    return found


def _airjax(recipe: Recipe, state: dict[str, Any], batches: list[StreamBatch]) -> list[dict[str, np.ndarray]]:
    states = []
    with jax_precision("float64"):
        backend, hyper = backend_of(recipe), hyperparameters(recipe)
        one = init_state(recipe, backend, to_variables(recipe, state), hyper)
        many, rates = jax.tree.map(lambda leaf: leaf[None], (one, hyper))
        for batch in batches:
            step = functools.partial(stream_step, recipe, backend)
            many, _ = run(step, many, jax.tree.map(jnp.asarray, batch), rates)
            variables = {"params": many.params, "frozen": {}, "batch_stats": many.batch_stats}
            found = to_state_dict(recipe, jax.tree.map(lambda leaf: leaf[0], variables))
            states.append({name: tensor.numpy() for name, tensor in found.items()})
    return states


def _torch(recipe: Recipe, state: dict[str, Any], batches: list[StreamBatch]) -> list[dict[str, np.ndarray]]:
    network = build_network(recipe)
    network.load_state_dict(state)
    network.train()
    optimizer = make_optimizer(recipe, network)
    how: Any = {"label_smoothing": recipe.loss.label_smoothing, "reduction": reduction_of(recipe)}
    states = []
    for step, batch in enumerate(batches):
        schedule_step(recipe, optimizer, step)
        images, labels, mirrors = (torch.from_numpy(np.ascontiguousarray(array)) for array in batch)
        train_step(network, optimizer, normalized(images, mirrors[:, 0], torch.float64), labels.long(), **how)
        tensors = network.state_dict().items()
        states.append({name: tensor.numpy().copy() for name, tensor in tensors if tensor.is_floating_point()})
    return states
