"""The roofline plot: what was reached, under what the device's arithmetic and memory allow."""

from typing import Any

import matplotlib as mpl
import numpy as np

from airjax.report.drawing import GREY, STYLE, make_axes, render_figure
from parity.figures import AIRJAX, TORCH

SAME_RATE = 1.3  # times as fast: what measurements of one processor differ by


def draw(rows: list[dict[str, Any]]) -> bytes:
    """Draw an SVG image. Both frameworks stand at the traffic that airjax's compiler counted for the same work."""
    with mpl.rc_context(STYLE):
        figure, axes = make_axes(6.4, 3.6)
        intensities = [row["flops"] / row["traffic_bytes"] for row in rows]
        reach = np.geomspace(min(intensities) / 4, max(intensities) * 4, 200)
        for own in one_roof(rows):
            matmul, copy = max(row["matmul_rate"] for row in own), max(row["copy_rate"] for row in own)
            axes.loglog(reach, np.minimum(matmul, reach * copy) / 1e9, color=GREY, linewidth=1)
            name = f"{own[0]['device']}, {_precision(own[0])}"
            axes.annotate(name, (reach[-1], matmul / 1e9), ha="right", va="bottom", fontsize=6, color=GREY)
        for row, x in zip(rows, intensities, strict=True):
            for implementation, color in (("airjax", AIRJAX), (row["best_torch"], TORCH)):
                axes.loglog(
                    x, row["implementations"][implementation]["flops_per_second"] / 1e9, "o", color=color, markersize=5
                )
            y = row["implementations"]["airjax"]["flops_per_second"] / 1e9
            half = f", {_precision(row)}" if _precision(row) != "float32" else ""
            axes.annotate(f" {row['benchmark']} {row['recipe']}{half}", (x, y), fontsize=6)
        for name, color in (("airjax", AIRJAX), ("best PyTorch", TORCH)):
            axes.plot([], [], "o", color=color, markersize=5, label=name)
        axes.set_xlabel("FLOP per byte of memory traffic, by the compiler's count")
        axes.set_ylabel("GFLOP/s")
        axes.legend(loc="lower right")
    return render_figure(figure, "svg")


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
