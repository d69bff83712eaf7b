"""Show what a training shows of its examples, epoch by epoch: a seed's draws, applied as the training does. (§3)"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from airjax.augment.batch import augment_examples
from airjax.augment.draws import Draws, sample_draws
from airjax.data import Dataset
from airjax.recipes.recipe import Recipe
from airjax.report.pictures import Cell, Strip, StripRow, encode_image
from airjax.utils.seeds import make_key

EXAMPLES, EPOCHS = 6, 8  # at most


def augmented_strip(recipe: Recipe, dataset: Dataset, seed: int) -> Strip:
    """Show the first training examples as they are, and as the first epochs of a seed's training show them. (Figure 1)

    The recipe fits the data. A mirrored view is marked.
    """
    draws = sample_draws(recipe, make_key(seed))
    count = min(EXAMPLES, recipe.train_examples)
    epochs = min(EPOCHS, len(draws.order))
    views = [augmented_views(recipe, dataset.train_images[:count], draws, epoch) for epoch in range(epochs)]
    mirrored = np.asarray(draws.mirrors[:epochs, :count]) ^ np.asarray(draws.flips[:count])
    rows = []
    for i in range(count):
        name = dataset.classes[dataset.train_labels[i]]
        cells = [Cell(encode_image(dataset.train_images[i]), f"{name}, as it is")]
        for epoch in range(epochs):
            way = "mirrored" if mirrored[epoch, i] else ""
            cells.append(Cell(encode_image(views[epoch][i]), f"{name} in epoch {epoch + 1} {way}".rstrip(), way))
        rows.append(StripRow(name, cells))
    return Strip(["", "as it is", *(f"epoch {epoch + 1}" for epoch in range(epochs))], rows)


def augmented_views(
    recipe: Recipe, images: UInt8[np.ndarray, "n h w c"], draws: Draws, epoch: int
) -> UInt8[np.ndarray, "n h w c"]:
    """Augment the first examples as an epoch of the training does, and return what the network sees as pixels."""
    inputs, first = recipe.inputs, jnp.arange(len(images))
    seen = augment_examples(recipe, jnp.asarray(images), draws, epoch, first, first)
    pixels = 255 * (np.asarray(seen) * np.array(inputs.std, np.float32) + np.array(inputs.mean, np.float32))
    return np.clip(np.round(pixels), 0, 255).astype(np.uint8)
