"""Accuracy against epochs: the published means, and what networks reached here."""

from typing import Any

import matplotlib as mpl

from airjax.report.drawing import GREY, STYLE, make_axes, render_figure
from benchmarks.accuracy_tables import Point, points
from parity.figures import AIRJAX

EPOCHS = (5, 10, 20, 40, 80, 160)  # that the axis names


def draw(records: list[dict[str, Any]]) -> bytes:
    """Draw accuracy against epochs as a PNG image: published means, and those of lines of results."""
    found = points(records)
    with mpl.rc_context(STYLE):
        figure, axes = make_axes(7.2, 3.4)
        for published, color, marker, label in (
            (True, GREY, "D", "published mean; bar: standard deviation between networks"),
            (False, AIRJAX, "o", "airjax, measured"),
        ):
            own = [point for point in found if point.published is published]
            for point in own:
                axes.errorbar(
                    point.epochs, 100 * point.accuracy, yerr=100 * (point.spread or 0), fmt=marker, color=color,
                    markersize=5, markerfacecolor="white" if published else color, elinewidth=1,
                )  # fmt: skip
            axes.plot([], [], marker, color=color, markerfacecolor="white" if published else color, label=label)
        _name_points(axes, found)
        axes.set_xscale("log")
        axes.set_xticks(EPOCHS, map(str, EPOCHS))
        axes.set_xticks([], minor=True)
        axes.margins(0.12, 0.22)
        axes.set_xlabel("passes over the training images (epochs)")
        axes.set_ylabel("accuracy on CIFAR-10's test images, %")
        axes.legend(loc="lower right", fontsize=8)
    return render_figure(figure, "png")


def _name_points(axes: Any, found: list[Point]) -> None:
    # Published names stand above and below in turn, since neighbours are close; ours beside their points.
    published = sorted((point for point in found if point.published), key=lambda point: point.epochs)
    for place, point in enumerate(published):
        side = 1 if place % 2 else -1
        offset, low = (0, side * (10 if point.spread is None else 18)), "bottom" if side > 0 else "top"
        at = (point.epochs, 100 * point.accuracy)
        axes.annotate(point.name, at, offset, textcoords="offset points", ha="center", va=low, fontsize=8, color=GREY)
    for point in found:
        if not point.published:
            at = (point.epochs, 100 * point.accuracy)
            axes.annotate(point.name, at, (7, 0), textcoords="offset points", va="center", fontsize=8, color=AIRJAX)
