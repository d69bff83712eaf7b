"""A data set on the device."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from airjax.data.dataset import Dataset
from airjax.recipes.published import get_recipe
from airjax.recipes.recipe import Recipe
from airjax.training.arguments import check_data
from airjax.training.data_parallel import replicate
from airjax.training.run import Arrays


def fit_recipe(recipe: Recipe | str, data: Dataset) -> Recipe:
    """Return the recipe for a data set: its inputs, no more examples than it has, and no mirror where that matters.

    Raises ValueError for images that the recipe's network or augmentation cannot take, and for fewer than a batch.
    """
    data, info = check_data(data), data.info
    get_recipe(recipe).require_in_memory()
    return get_recipe(recipe).fit_to(
        len(data.train_images), len(data.test_images), info.inputs(), symmetric=info.symmetric
    )


def to_device(data: Dataset, recipe: Recipe | str, mesh: Mesh | None = None) -> Arrays:
    """Move the examples that the recipe uses to the device, or to all of a mesh, where they are when it returns.

    Raises ValueError for too few examples, or for images and classes that are not the recipe's.
    """
    data, recipe = check_data(data), get_recipe(recipe)
    recipe.require_in_memory()
    _require_inputs(data, recipe)
    for split, images, wanted in (
        ("train", data.train_images, recipe.train_examples),
        ("test", data.test_images, recipe.test_examples),
    ):
        if len(images) < wanted:
            raise ValueError(
                f"the recipe uses {wanted} {split} examples, but {data.name} has {len(images)}; "
                f"pass --{split}-examples {len(images)}, or use airjax.fit_recipe(recipe, data)"
            )
    train, test = recipe.train_examples, recipe.test_examples
    host = (
        data.train_images[:train],
        data.train_labels[:train].astype(np.int32),
        data.test_images[:test],
        data.test_labels[:test].astype(np.int32),
    )
    arrays = map(jnp.asarray, host) if mesh is None else replicate(mesh, host)
    return jax.block_until_ready(Arrays(*arrays))  # else the transfer ends on the clock of whatever comes first


def _require_inputs(data: Dataset, recipe: Recipe) -> None:
    inputs = recipe.inputs
    if len(data.classes) != inputs.num_classes:
        raise ValueError(
            f"{data.name} has {len(data.classes)} classes, but the network has {inputs.num_classes} outputs"
        )
    wanted = (inputs.image_size, inputs.image_size, inputs.channels)
    if data.train_images.shape[1:] != wanted:
        raise ValueError(
            f"{data.name} has images of {data.train_images.shape[1:]} (height, width, channels), but the network takes "
            f"{wanted}; airjax.fit_recipe(recipe, data) makes a recipe for a data set"
        )
