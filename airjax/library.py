"""The short way in: train a network, evaluate it, run it on images."""

import dataclasses
from typing import NamedTuple

import numpy as np

from airjax.checkpoint import Model
from airjax.data.dataset import Dataset
from airjax.driver import batched_logits, train
from airjax.recipe import Recipe, get_recipe
from airjax.reprs import one_line


class Trained(NamedTuple):
    """A trained network and how it did."""

    model: Model
    accuracy: float  # on the test split, with the recipe's test-time augmentation, in [0, 1]
    logits: np.ndarray  # [M,10] of the test images
    losses: np.ndarray  # [T] mean training loss of every step
    seconds: dict[str, float]  # compile, whiten, train, evaluate

    def __repr__(self) -> str:
        return one_line(self)


def train_network(recipe: Recipe | str, data: Dataset, *, seed: int = 0, epochs: float | None = None) -> Trained:
    """Train one network.

    Args:
        recipe: a recipe or the name of one. It uses no more examples than the data has.
        data: the data set; `data.subset(indices)` trains on some of its examples.
        seed: everything random follows from it.
        epochs: overrides the recipe's.

    Raises:
        airjax.DivergedError: the loss is not finite.
        ValueError: an unknown recipe, or fewer examples than one batch.
    """
    recipe = get_recipe(recipe) if isinstance(recipe, str) else recipe
    recipe = recipe.fit_to(len(data.train_images), len(data.test_images))
    if epochs is not None:
        recipe = dataclasses.replace(recipe, epochs=epochs)
    done = train(recipe, data, seed)
    model = Model(done.recipe, done.variables, data.classes)
    return Trained(model, done.accuracy, done.logits, np.asarray(done.metrics.loss), done.seconds)


def train94(data: Dataset, *, seed: int = 0, epochs: float | None = None) -> Trained:
    """`train_network` with the 94 recipe: 94% in 9.9 epochs."""
    return train_network("94", data, seed=seed, epochs=epochs)


def train95(data: Dataset, *, seed: int = 0, epochs: float | None = None) -> Trained:
    """`train_network` with the 95 recipe: 95% in 15 epochs."""
    return train_network("95", data, seed=seed, epochs=epochs)


def train96(data: Dataset, *, seed: int = 0, epochs: float | None = None) -> Trained:
    """`train_network` with the 96 recipe: 96% in 37 epochs."""
    return train_network("96", data, seed=seed, epochs=epochs)


def infer(model: Model, images: np.ndarray, *, tta_level: int | None = None) -> np.ndarray:
    """Logits [N,10] of images [N,32,32,3] uint8, with the recipe's level of test-time augmentation or another one.

    Raises ValueError for images of another shape or type.
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[1:] != (32, 32, 3) or images.dtype != np.uint8:
        raise ValueError(f"images are {images.dtype} {images.shape}; need uint8 [N,32,32,3], channels last")
    return batched_logits(
        model.recipe, model.variables, images, model.recipe.tta_level if tta_level is None else tta_level
    )


def evaluate(model: Model, data: Dataset, *, tta_level: int | None = None) -> float:
    """Accuracy in [0, 1] on the whole test split of the data."""
    return float((infer(model, data.test_images, tta_level=tta_level).argmax(1) == data.test_labels).mean())
