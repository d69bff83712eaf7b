"""The roofline plot: what was reached, under what the device's arithmetic and memory allow."""

import itertools
import math
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from airjax.report.drawing import GREY, STYLE, make_grid, render_figure
from benchmarks.speed_tables import allocator, teraflops
from parity.figures import AIRJAX, TORCH

COLUMNS = 2
SAME_RATE = 1.3  # times as fast: what measurements of one processor differ by


def draw(rows: list[dict[str, Any]]) -> bytes:
    """Draw an SVG image: a panel for each processor and precision, with its roof and what was measured under it.

    Both frameworks stand at the traffic that airjax's compiler counted for the same work.
    """
    roofs = one_roof(rows)
    lines = math.ceil(len(roofs) / COLUMNS)
    with mpl.rc_context(STYLE):
        figure, panels = make_grid(7.2, 0.6 + 2.2 * lines, lines, min(COLUMNS, len(roofs)))
        intensities = [row["flops"] / row["traffic_bytes"] for row in rows]
        reach = np.geomspace(min(intensities) / 4, max(intensities) * 12, 200)
        for axes, own in zip(panels.flat, roofs, strict=False):
            _draw_roof(axes, own, reach)
        for axes in panels.flat[len(roofs) :]:
            axes.set_axis_off()
        for name, color in (("airjax", AIRJAX), ("best PyTorch", TORCH)):
            panels[0, 0].plot([], [], "o", color=color, markersize=4, label=name)
        panels[0, 0].legend(loc="lower right", fontsize=7)
        figure.supxlabel("FLOP per byte of memory traffic, by the compiler's count", fontsize=8)
        figure.supylabel("GFLOP/s", fontsize=8)
    return render_figure(figure, "svg")


def _draw_roof(axes: Axes, rows: list[dict[str, Any]], reach: np.ndarray) -> None:
    matmul, copy = max(row["matmul_rate"] for row in rows), max(row["copy_rate"] for row in rows)
    axes.loglog(reach, np.minimum(matmul, reach * copy) / 1e9, color=GREY, linewidth=1)
    axes.set_ylim(matmul / 1e9 / 6, matmul / 1e9 * 1.4)
    axes.set_title(f"{rows[0]['device']}\n{_precision(rows[0])}, {teraflops(matmul)}", fontsize=7)
    axes.tick_params(labelsize=7)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())
    low, high = np.log10(axes.get_ylim())
    ours = [row["implementations"]["airjax"]["flops_per_second"] / 1e9 for row in rows]
    heights = spread_labels(np.log10(ours), (high - low) / 11)
    for row, y, height in zip(rows, ours, heights, strict=True):
        x, theirs = row["flops"] / row["traffic_bytes"], row["implementations"][row["best_torch"]]
        for value, color in ((y, AIRJAX), (theirs["flops_per_second"] / 1e9, TORCH)):
            axes.plot(x, value, "o", color=color, markersize=4)
        name = f"{row['benchmark']}, {row['recipe']}{allocator(row)}"
        line = {"arrowstyle": "-", "color": GREY, "linewidth": 0.5, "relpos": (0, 0.5)}
        axes.annotate(
            name, (x, y), (1.8 * x, 10**height), fontsize=6, va="center", arrowprops=line, annotation_clip=False
        )


def spread_labels(heights: np.ndarray, gap: float) -> np.ndarray:
    """Move labels at heights [N] down, until any two are at least a gap apart; the order stays."""
    order, moved = np.argsort(heights, kind="stable")[::-1], np.array(heights, float)
    for above, below in itertools.pairwise(order):
        moved[below] = min(moved[below], moved[above] - gap)
    return moved


def one_roof(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Group rows under the same roof: of one device and precision, at about the same rate of matrix products.

    Processors of one name are not equally fast.
    """
    groups: list[list[dict[str, Any]]] = []
    for row in sorted(rows, key=lambda row: (row["device"], _precision(row), row["matmul_rate"])):
        place = groups[-1][0] if groups else None
        same = place and (place["device"], _precision(place)) == (row["device"], _precision(row))
        if place and same and row["matmul_rate"] <= SAME_RATE * place["matmul_rate"]:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def _precision(row: dict[str, Any]) -> str:
    return row["implementations"]["airjax"].get("precision", "float32")
