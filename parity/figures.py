"""The figures of the report, each as an SVG image that needs nothing else."""

from typing import Any

import numpy as np

from airjax.report.drawing import COLORS, GREY, embed_figure, make_axes

AIRJAX, TORCH = COLORS[:2]


def draw_histograms(torch: np.ndarray, airjax: np.ndarray, name: str) -> str:
    """Draw the two distributions of accuracies in percentage points, on one axis, with their means."""
    figure, axes = make_axes(6.4, 2.9)
    pooled = np.concatenate([torch, airjax])
    bins = np.histogram_bin_edges(pooled, bins=max(8, min(30, round(2 * len(torch) ** 0.5))))
    for values, color, label in ((torch, TORCH, name), (airjax, AIRJAX, "airjax")):
        axes.hist(values, bins=list(bins), color=color, alpha=0.25)
        axes.hist(
            values, bins=list(bins), color=color, histtype="step", linewidth=1.4, label=f"{label}, n={len(values)}"
        )
        axes.axvline(float(values.mean()), color=color, linewidth=1.4, linestyle="--")
    axes.set_xlabel("test accuracy, %")
    axes.set_ylabel("networks")
    axes.legend()
    return embed_figure(figure)


def draw_quantiles(torch: np.ndarray, airjax: np.ndarray, name: str) -> str:
    """Quantile against quantile, with the band in which 95% of the points of one common distribution would lie."""
    figure, axes = make_axes(3.6, 3.4)
    count = min(len(torch), len(airjax))
    levels = (np.arange(count) + 0.5) / count
    x, y = np.quantile(torch, levels), np.quantile(airjax, levels)
    generator = np.random.default_rng(0)
    drawn = generator.choice(np.concatenate([torch, airjax]), (2, 2000, count))
    ends = np.quantile(drawn[1], levels, axis=1) - np.quantile(drawn[0], levels, axis=1)
    low, high = np.quantile(ends, (0.025, 0.975), axis=1)
    axes.fill_between(x, x + low, x + high, color=GREY, alpha=0.2, linewidth=0, label="95% by chance")
    axes.plot(x, x, color=GREY, linewidth=1)
    axes.plot(x, y, "o", color=AIRJAX, markersize=3)
    axes.set_xlabel(f"{name}, quantile, %")
    axes.set_ylabel("airjax, quantile, %")
    axes.legend()
    return embed_figure(figure)


def draw_difference(means: dict[str, Any]) -> str:
    """Draw the interval of the difference of the means against the margin."""
    figure, axes = make_axes(6.4, 1.5)
    margin, (low, high) = means["margin"], means["interval90"]
    axes.axvspan(-margin, margin, color="#2e7d32", alpha=0.12, linewidth=0)
    axes.axvline(0, color=GREY, linewidth=1)
    axes.plot([low, high], [0, 0], color=AIRJAX, linewidth=4, solid_capstyle="butt")
    axes.plot(means["difference"], 0, "o", color=AIRJAX, markersize=7)
    reach = 1.15 * max(margin, abs(low), abs(high))
    axes.set_xlim(-reach, reach)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("airjax minus PyTorch, points; green: the margin fixed in advance")
    return embed_figure(figure)


def draw_examples(torch: np.ndarray, airjax: np.ndarray, name: str) -> str:
    """Fraction of the networks that classify each test image right [N], one framework against the other."""
    figure, axes = make_axes(3.6, 3.4)
    axes.plot([0, 100], [0, 100], color=GREY, linewidth=1)
    axes.hexbin(100 * torch, 100 * airjax, gridsize=40, bins="log", cmap="Blues", mincnt=1, extent=(0, 100, 0, 100))
    axes.set_xlabel(f"right with {name}, % of networks")
    axes.set_ylabel("right with airjax, % of networks")
    return embed_figure(figure)


def draw_drift(suites: list[dict[str, Any]]) -> str:
    """Distance in float32 from PyTorch's float64 training, step by step, and what is allowed, per recipe."""
    figure, axes = make_axes(6.4, 3.2)
    for suite, style in zip(suites, ("-", ":"), strict=False):
        for (recipe, curve), color in zip(suite["drift"].items(), COLORS, strict=False):
            steps = range(len(curve["distance"]))
            axes.semilogy(steps, curve["distance"], style, color=color, label=f"{recipe} against {suite['against']}")
            axes.semilogy(steps, curve["allowed"], style, color=color, linewidth=0.7, alpha=0.5)
    axes.set_xlabel("training steps; thin: allowed, ten times PyTorch's own rounding")
    axes.set_ylabel("relative distance")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return embed_figure(figure)
