"""Define how every figure looks, and turn it into a file or a part of a page."""

import base64
import io
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

GREY = "#6b7280"
# Told apart by lightness, too; the first ones are those of figures with few of them.
COLORS = (
    *("#1f6fb2", "#c2571a", "#2e7d32", "#7b3fa0", "#b7791f", "#0f8b8d"),
    *("#b3261e", "#5c6b2f", "#d16ba5", "#3f4a9a", "#8d6e63", "#111827"),
)
STYLE: Any = {
    "svg.hashsalt": "airjax",  # the same numbers give the same file
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "legend.frameon": False,
}
PNG_DPI = 160


def make_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """Make a figure of a size in inches, with one pair of axes."""
    figure, axes = make_grid(width, height, 1, 1)
    return figure, axes[0, 0]


def make_grid(width: float, height: float, rows: int, columns: int, sharex: bool = False) -> tuple[Figure, np.ndarray]:
    """Make a figure of a size in inches, with axes [rows,columns], on one horizontal scale where it is shared."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.subplots(rows, columns, squeeze=False, sharex=sharex)


def even_edges(values: np.ndarray, bins: int = 30) -> list[float]:
    """Return the edges of about so many bins for percentages that are multiples of a step, as accuracies are.

    Every bin holds as many of the multiples: others would make every third or fifth bin a spike.
    """
    levels = np.unique(np.round(values, 4))  # some were computed in float32
    if len(levels) < 2:
        return [levels[0] - 0.5, levels[0] + 0.5]
    step = np.diff(levels).min()
    width = step * max(1, round((levels[-1] - levels[0]) / step / bins))
    count = int(np.ceil((levels[-1] - levels[0] + step / 2) / width))
    return (levels[0] - step / 2 + width * np.arange(count + 1)).tolist()


def render_figure(figure: Figure, kind: Literal["svg", "png"]) -> bytes:
    """Render a figure as the content of a file; the same figure gives the same bytes."""
    stream = io.BytesIO()
    dated = {"svg": {"Date": None}, "png": {"Software": None}}
    with mpl.rc_context(STYLE):
        figure.savefig(stream, format=kind, metadata=dated[kind], dpi=PNG_DPI)
    return stream.getvalue()


def embed_figure(figure: Figure) -> str:
    """Render a figure as the address of an image that needs nothing else."""
    # As an image of its own, so that the names inside one figure do not meet those of another.
    return f"data:image/svg+xml;base64,{base64.b64encode(render_figure(figure, 'svg')).decode()}"
