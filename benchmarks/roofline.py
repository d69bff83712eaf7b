"""The roofline plot: what was reached, under what the device's arithmetic and memory allow."""

from typing import Any

import matplotlib as mpl
import numpy as np

from airjax.report.drawing import GREY, STYLE, make_axes, render_figure
from parity.figures import AIRJAX, TORCH


def draw(rows: list[dict[str, Any]]) -> bytes:
    """Draw an SVG image. Both frameworks stand at the traffic that airjax's compiler counted for the same work."""
    with mpl.rc_context(STYLE):
        figure, axes = make_axes(6.4, 3.6)
        intensities = [row["flops"] / row["traffic_bytes"] for row in rows]
        reach = np.geomspace(min(intensities) / 4, max(intensities) * 4, 200)
        for device in sorted({row["device"] for row in rows}):
            own = [row for row in rows if row["device"] == device]
            matmul, copy = max(row["matmul_rate"] for row in own), max(row["copy_rate"] for row in own)
            axes.loglog(reach, np.minimum(matmul, reach * copy) / 1e9, color=GREY, linewidth=1)
            axes.annotate(device, (reach[-1], matmul / 1e9), ha="right", va="bottom", fontsize=7, color=GREY)
        for row, x in zip(rows, intensities, strict=True):
            for implementation, color in (("airjax", AIRJAX), (row["best_torch"], TORCH)):
                axes.loglog(
                    x, row["implementations"][implementation]["flops_per_second"] / 1e9, "o", color=color, markersize=5
                )
            y = row["implementations"]["airjax"]["flops_per_second"] / 1e9
            axes.annotate(f" {row['benchmark']} {row['recipe']}", (x, y), fontsize=7)
        for name, color in (("airjax", AIRJAX), ("best PyTorch", TORCH)):
            axes.plot([], [], "o", color=color, markersize=5, label=name)
        axes.set_xlabel("FLOP per byte of memory traffic, by the compiler's count")
        axes.set_ylabel("GFLOP/s")
        axes.legend(loc="lower right")
    return render_figure(figure, "svg")
