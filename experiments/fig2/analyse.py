"""Show the 24 whitening filters of the first convolution as pictures: Figure 2. No training."""

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32

import airjax
from experiments.experiment import Analysis, Context, Experiment, no_parts
from experiments.rows import exact_row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 12
ROUNDING = 1e-3  # of correlations that are zero in exact arithmetic


def analyse(context: Context) -> Analysis:
    """Compute the filters of recipe 94 from its first 5,000 images, and check what makes them whitening filters."""
    recipe, data = airjax.get_recipe("94"), airjax.load_cifar10(context.data_dir)
    images = normalise(data, recipe.value_of("whiten_examples"))
    filters = np.asarray(airjax.whitening_filters(jnp.asarray(images), recipe.value_of("whiten_epsilon")))
    flat = filters.reshape(-1, filters.shape[-1])
    half = flat.shape[1] // 2
    rows = [
        exact_row("filters", flat.shape[1], 24),
        exact_row("largest sum of a filter and its negative", np.abs(flat[:, :half] + flat[:, half:]).max(), 0),
        exact_row(
            "largest correlation of two filters' outputs",
            largest_correlation(images, flat[:, :half]),
            0,
            "",
            6,
            ROUNDING,
        ),
    ]
    return Analysis(rows, {"filters": filters.transpose(3, 0, 1, 2).tolist()}, 0, 0, {data.name: data.content})


def normalise(data: airjax.Dataset, count: int) -> Float32[np.ndarray, "{count} h w c"]:
    """Return the first training images as the network sees them: pixels minus mean, over standard deviation."""
    mean, std = (np.array(values, np.float32) for values in (data.info.mean, data.info.std))
    return (data.train_images[:count].astype(np.float32) / np.float32(255) - mean) / std


def largest_correlation(images: Float32[np.ndarray, "n h w c"], filters: Float[np.ndarray, "k f"]) -> float:
    """Compute the largest uncentred correlation of two filters' outputs over all 2x2 patches of the images."""
    size = images.shape[1] - 1
    corners = [(row, column) for row in range(2) for column in range(2)]
    patches = [images[:, row : row + size, column : column + size] for row, column in corners]
    outputs = np.concatenate(patches, axis=-1, dtype=np.float64).reshape(-1, filters.shape[0]) @ filters
    moment = outputs.T @ outputs
    scale = np.sqrt(np.diag(moment))
    return float(np.abs(moment / np.outer(scale, scale) - np.eye(len(moment))).max())


def draw(record: dict[str, Any]) -> "Figure":
    """Draw every filter as a picture of 2x2 pixels, each scaled to its own largest weight; grey is zero."""
    from airjax.report.drawing import make_grid

    filters = np.array(record["series"]["filters"])
    figure, grid = make_grid(7.4, 1.7, len(filters) // COLUMNS, COLUMNS)
    for number, (axes, one) in enumerate(zip(grid.ravel(), filters, strict=True)):
        axes.imshow(0.5 + 0.5 * one / np.abs(one).max())
        axes.set_title(str(number + 1), fontsize=7, loc="center")
        axes.set_axis_off()
    return figure


FIG2 = Experiment(
    "fig2",
    "Figure 2, the whitening filters",
    "The first convolution has 24 fixed filters: the 12 eigenvectors of the 2x2 patches of the training images, scaled "
    "so that their outputs are uncorrelated, and their negatives.",
    no_parts,
    analyse,
    draw,
    scales=("cpu",),
)
