"""Accuracy against epochs: the published means, and what networks reached here."""

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from airjax.report.drawing import GREY, STYLE, make_axes, render_figure
from benchmarks.accuracy_tables import Point, points
from parity.figures import AIRJAX

EPOCHS = (5, 10, 20, 40, 80, 160)  # that the axis names
CLOSE = 4.0  # pixels by which a name may be nearer to another point
MARKER = 5.0  # pixels from a point's middle to its edge
Place = tuple[tuple[int, int], str]
# Where a name may stand, from near to far: offset from its point in points of type, and which side is next to it.
PLACES: list[Place] = [
    place
    for far in (12, 20, 28, 36, 44, 52, 60)
    for place in (
        ((0, far), "center"),
        ((0, -far), "center"),
        ((far - 4, 0), "left"),
        ((4 - far, 0), "right"),
        ((8, far), "left"),
        ((8, -far), "left"),
        ((-8, far), "right"),
        ((-8, -far), "right"),
    )
]


def draw(records: list[dict[str, Any]]) -> bytes:
    """Draw accuracy against epochs as a PNG image: published means, and those of lines of results."""
    return render_figure(make_figure(records), "png")


def make_figure(records: list[dict[str, Any]]) -> Figure:
    """Make that figure."""
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
        axes.set_xscale("log")
        axes.set_xticks(EPOCHS, map(str, EPOCHS))
        axes.set_xticks([], minor=True)
        axes.margins(0.16, 0.25)
        axes.set_xlabel("passes over the training images (epochs)")
        axes.set_ylabel("accuracy on CIFAR-10's test images, %")
        axes.legend(loc="lower right", fontsize=8)
        _name_points(axes, found)
    return figure


def _name_points(axes: Any, found: list[Point]) -> None:
    # Each name at the nearest place around its point that is free of other names, points and bars, and hardly nearer to
    # another point: ours first, beside their points if they can be. A published one in whose place ours is has no name.
    axes.get_figure().draw_without_rendering()
    points_at, names = [_around(axes, point) for point in found], [axes.get_legend().get_window_extent()]
    ours = {point.name.split(",")[0]: own for point, own in zip(found, points_at, strict=True) if not point.published}
    for point, own in sorted(zip(found, points_at, strict=True), key=lambda pair: (pair[0].published, pair[0].epochs)):
        if point.published and point.name in ours and own.overlaps(ours[point.name]):
            continue
        at, color = (point.epochs, 100 * point.accuracy), GREY if point.published else AIRJAX
        text = axes.annotate(point.name, at, (0, 0), textcoords="offset points", fontsize=8, va="center", color=color)

        def try_place(place: Place, text: Any = text, own: Bbox = own) -> tuple[bool, float]:
            text.set_position(place[0])
            text.set_horizontalalignment(place[1])
            box = text.get_window_extent()
            outside = box.x0 < axes.bbox.x0 or box.x1 > axes.bbox.x1 or box.y0 < axes.bbox.y0 or box.y1 > axes.bbox.y1
            covers = outside or any(box.overlaps(other) for other in points_at + names)
            return covers, max(CLOSE, _gap(box, own) - min(_gap(box, other) for other in points_at))

        places = PLACES if point.published else sorted(PLACES, key=lambda place: place[0][1] != 0)
        try_place(min(places, key=try_place))
        names.append(text.get_window_extent())


def _gap(one: Bbox, other: Bbox) -> float:
    # Pixels between two boxes.
    (x, y), (u, v) = one.get_points(), other.get_points()
    return float(np.hypot(*np.maximum(0, np.maximum(x - v, u - y))))


def _around(axes: Any, point: Point) -> Bbox:
    # What a point and its bar cover, in pixels.
    spread = 100 * (point.spread or 0)
    (x, low), (_, high) = axes.transData.transform(
        [(point.epochs, 100 * point.accuracy + sign * spread) for sign in (-1, 1)]
    )
    return Bbox([(x - MARKER, low - MARKER), (x + MARKER, high + MARKER)])
