"""The library's main functions: train a network, evaluate it, run it on images."""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from airjax.data.dataset import Dataset
from airjax.recipes.recipe import Recipe
from airjax.training.arguments import check_data, check_images, shown
from airjax.training.arrays import fit_recipe
from airjax.training.backend import backend_of
from airjax.training.checkpoint import Model
from airjax.training.data_parallel import Devices
from airjax.training.evaluate import batched_logits, level_of
from airjax.training.events import Callbacks, EpochReport, Stage
from airjax.training.loop import train
from airjax.training.snapshots import NOTHING_KEPT, Keeping
from airjax.training.step import StepMetrics
from airjax.utils.reprs import one_line
from airjax.utils.seeds import check_seed


class Trained(NamedTuple):
    """A trained network and how it did."""

    model: Model
    # In [0, 1], with the recipe's test-time augmentation, on as many of the test images as the recipe uses: the first
    # 2,000 of mini, where `evaluate` takes all of a data set.
    accuracy: float
    logits: Float[np.ndarray, "m l"]  # of these images
    losses: Float[np.ndarray, " t"]  # mean training loss of every step
    seconds: dict[str, float]  # compile, whiten, train, evaluate

    def __repr__(self) -> str:
        return one_line(self)


def train_network(
    recipe: Recipe | str,
    data: Dataset,
    *,
    seed: int = 0,
    epochs: float | None = None,
    validate: bool = False,
    progress: bool | None = None,
    on_phase: Callable[[Stage], None] | None = None,
    on_step: Callable[[int, StepMetrics], None] | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
    keeping: Keeping = NOTHING_KEPT,
    devices: Devices | None = None,
) -> Trained:
    """Train one network.

    Args:
        recipe: a recipe or the name of one. It uses no more examples than the data has.
        data: the data set; `data.subset(indices)` trains on some of its examples.
        seed: everything random follows from it: a whole number from 0 to 2**32 - 1.
        epochs: overrides the recipe's.
        validate: also evaluate without test-time augmentation after every epoch, for on_epoch; outside the clock.
        progress: show a line with what is being done; None does so on a terminal and in notebooks.
        on_phase: called with what begins, before it does: "compile", "whiten", "train" or "evaluate".
        on_step: called for every few steps with the number of steps done and the metrics of the latest of them.
        on_epoch: called after every epoch with its `airjax.EpochReport`.
        keeping: where and how often snapshots are taken: `airjax.Keeping(folder, every=2)`. Rerunning the
            same call resumes from the last, to the same bits.
        devices: how many devices share every batch, or "all"; None: one. After `jax.distributed.initialize`, those of
            all processes, which make the same call.

    Raises:
        airjax.DivergedError: a loss is not finite, or a logit of a test image.
        airjax.DeviceError: more devices than there are.
        ValueError: an unknown recipe, another seed, fewer examples than one batch, or a batch that the devices cannot
            share equally.
        TypeError: a recipe or data of another type.
    """
    from airjax.training.progress import progress_line

    seed, data = check_seed(seed), check_data(data)
    recipe = fit_recipe(recipe, data)
    if epochs is not None:
        recipe = recipe.override(epochs=epochs)
    with progress_line(recipe, 1, progress, Callbacks(on_phase, on_step, on_epoch)) as called:
        done = train(
            recipe,
            data,
            seed,
            validate=validate,
            on_phase=called.on_phase,
            on_step=called.on_step,
            on_epoch=called.on_epoch,
            keeping=keeping,
            devices=devices,
        )
    model = Model(done.recipe, done.variables, data.classes)
    return Trained(model, done.accuracy, done.logits, np.asarray(done.metrics.loss), done.seconds)


def train94(data: Dataset, *, seed: int = 0, epochs: float | None = None, progress: bool | None = None) -> Trained:
    """`train_network` with the 94 recipe: 94% in 9.9 epochs."""
    return train_network("94", data, seed=seed, epochs=epochs, progress=progress)


def train95(data: Dataset, *, seed: int = 0, epochs: float | None = None, progress: bool | None = None) -> Trained:
    """`train_network` with the 95 recipe: 95% in 15 epochs."""
    return train_network("95", data, seed=seed, epochs=epochs, progress=progress)


def train96(data: Dataset, *, seed: int = 0, epochs: float | None = None, progress: bool | None = None) -> Trained:
    """`train_network` with the 96 recipe: 96% in 37 epochs."""
    return train_network("96", data, seed=seed, epochs=epochs, progress=progress)


def model_of(model: Any) -> Model:
    """Return the model, or that of a training. Raises TypeError for anything else."""
    if isinstance(model, Trained):
        return model.model
    if not isinstance(model, Model):
        raise TypeError(f"model is {shown(model)}, but it must be a Model, as load(file) returns it, or a Trained")
    return model


def infer(
    model: Model | Trained, images: UInt8[np.ndarray, "n h w c"], *, tta_level: int | None = None
) -> Float[np.ndarray, "n l"]:
    """Compute the logits of images, with the recipe's level of test-time augmentation or another one.

    Where the recipe gives all views to some images alone (94-hiverge), these are the least certain of the images of
    this call: an image's logits then depend on the others.

    Raises ValueError for images of another shape or type or a level other than 0, 1 or 2, and TypeError for what is
    no model.
    """
    model, images = model_of(model), np.asarray(images)
    check_images("images", images, model.recipe.inputs)
    recipe = model.recipe
    return batched_logits(recipe, backend_of(recipe), model.variables, images, level_of(recipe, tta_level))


def _compare_classes(model: Model, data: Dataset) -> None:
    # A label is a place among the classes. Numbers are what classes without names are called.
    ours, theirs = tuple(model.classes), tuple(data.classes)
    if len(ours) != len(theirs):
        raise ValueError(
            f"the model has {len(ours)} classes, but {data.name} has {len(theirs)}: it cannot be right on it"
        )
    numbers = tuple(map(str, range(len(ours))))
    differing = [place for place, pair in enumerate(zip(ours, theirs, strict=True)) if pair[0] != pair[1]]
    if differing and numbers not in (ours, theirs):
        first = differing[0]
        warnings.warn(
            f"class {first} is {ours[first]!r} of the model and {theirs[first]!r} of {data.name}: the accuracy counts "
            "them as the same",
            stacklevel=3,
        )


def evaluate(model: Model | Trained, data: Dataset, *, tta_level: int | None = None) -> float:
    """Compute the accuracy in [0, 1] on the whole test split of the data.

    Raises ValueError for a test split without images, another number of classes than the model's, or a level of
    test-time augmentation other than 0, 1 or 2, and TypeError for what is no model or no data set. Warns where classes
    have other names.
    """
    model, data = model_of(model), check_data(data)
    _compare_classes(model, data)
    if not len(data.test_images):
        raise ValueError(f"{data.name} has no test images to evaluate on")
    return float((infer(model, data.test_images, tta_level=tta_level).argmax(1) == data.test_labels).mean())
