"""The figures of the worked studies."""

import numpy as np
from matplotlib.figure import Figure

from airjax.data import Dataset
from airjax.report.drawing import COLORS, GREY, even_edges, make_axes, make_grid
from airjax.stats.datamodels import Datamodels, strongest
from airjax.stats.variance import Reliability

BLUE, ORANGE = COLORS[:2]
NEIGHBOURS = 5  # training images shown on either side


def draw_accuracies(accuracy: np.ndarray, independent_sd: float) -> Figure:
    """Accuracies of the runs in percent, and how they would spread if images were independent of each other."""
    figure, axes = make_axes(6.4, 3.0)
    _, edges, _ = axes.hist(accuracy, even_edges(accuracy), color=BLUE, alpha=0.5, label=f"{len(accuracy)} networks")
    grid = np.linspace(accuracy.min(), accuracy.max(), 300)
    area = len(accuracy) * (edges[1] - edges[0])
    for sd, color, label in (
        (accuracy.std(ddof=1), BLUE, "normal, the same standard deviation"),
        (independent_sd, ORANGE, "if images were independent"),
    ):
        density = np.exp(-(((grid - accuracy.mean()) / sd) ** 2) / 2) / (sd * np.sqrt(2 * np.pi))
        axes.plot(grid, area * density, color=color, label=label)
    axes.set_xlabel("test accuracy, %")
    axes.set_ylabel("networks")
    axes.legend(fontsize=8)
    return figure


def draw_halves(first: np.ndarray, second: np.ndarray) -> Figure:
    """Accuracies of each run on two random halves of the test images."""
    figure, axes = make_axes(3.6, 3.4)
    axes.plot(first, second, "o", color=BLUE, markersize=2.5, alpha=0.5)
    axes.set_xlabel("accuracy on one half, %")
    axes.set_ylabel("on the other, %")
    return figure


def draw_fractions(fractions: np.ndarray) -> Figure:
    """Draw how many test images are right in which fraction of the runs."""
    figure, axes = make_axes(6.4, 2.6)
    axes.hist(100 * fractions, bins=50, range=(0, 100), color=BLUE, alpha=0.6)
    axes.set_xlabel("networks that classify a test image right, %")
    axes.set_ylabel("test images")
    return figure


def draw_calibration(bins: Reliability) -> Figure:
    """Draw how often a class is right that so many runs vote for."""
    figure, axes = make_axes(3.6, 3.4)
    filled = bins.pairs > 0
    axes.plot([0, 100], [0, 100], color=GREY, linewidth=1)
    axes.plot(
        100 * bins.votes[filled] / bins.pairs[filled], 100 * bins.right[filled] / bins.pairs[filled], "o-", color=BLUE
    )
    axes.set_xlabel("votes for a class, % of networks")
    axes.set_ylabel("right, % of these")
    return figure


def draw_correlations(correlations: np.ndarray) -> Figure:
    """Draw how well the models predict networks that they have not seen, test image by test image."""
    figure, axes = make_axes(6.4, 2.6)
    axes.hist(correlations, bins=40, color=BLUE, alpha=0.6)
    axes.axvline(0, color=GREY, linewidth=1)
    axes.axvline(float(correlations.mean()), color=BLUE, linestyle="--", linewidth=1.4, label="mean")
    axes.set_xlabel("correlation of predicted and actual margins of held-out networks")
    axes.set_ylabel("test images")
    axes.legend()
    return figure


def draw_influences(models: Datamodels, chosen: np.ndarray, correlations: np.ndarray, data: Dataset) -> Figure:
    """Test images, each with the training images that help and that hurt it most."""
    figure, axes = make_grid(9.0, 1.25 * len(chosen), len(chosen), 1 + 2 * NEIGHBOURS)
    for row, example in zip(axes, chosen, strict=True):
        helpers, harmers = strongest(models, int(example), NEIGHBOURS)
        name = data.classes[data.test_labels[example]]
        row[0].set_title(f"{name}\nr = {correlations[example]:.2f}", fontsize=7, loc="center")
        row[0].imshow(data.test_images[example])
        for place, index in enumerate([*helpers, *harmers]):
            weight = models.weights[index, example]
            row[1 + place].imshow(data.train_images[index])
            label = data.classes[data.train_labels[index]]
            row[1 + place].set_title(
                f"{label}\n{weight:+.2f}", fontsize=7, loc="center", color=BLUE if place < NEIGHBOURS else ORANGE
            )
    for one in axes.ravel():
        one.set_axis_off()
    return figure
