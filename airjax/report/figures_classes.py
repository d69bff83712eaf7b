"""Draw what networks see in the test images: by class, confusions, calibration, difficulty."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Integer

from airjax.report.charts import Row, Spec, axis, color, make_chart, ramp_ink, tips
from airjax.report.figures import BAND
from airjax.stats.variance import Reliability

MOST_CLASSES = 30  # of more, a figure shows the ones that are hardest
MOST_SETTINGS = 5  # side by side
TEXT_CLASSES = 12  # of more, a cell has no room for its number
SQUARE = 34  # pixels of a matrix's row
MOST_BINS = 49  # between the images that all networks get right and those that none does: 50 networks one by one


def draw_classes(
    titles: Sequence[str], class_accuracies: Sequence[Float[np.ndarray, "_ l"]], classes: Sequence[str]
) -> Spec:
    """Draw the mean accuracy of each class over the networks, in percent, and the range of 90% of them.

    The hardest class comes first. Of many settings the first ones are shown.
    """
    titles, class_accuracies = titles[:MOST_SETTINGS], class_accuracies[:MOST_SETTINGS]
    means = np.mean([values.mean(0) for values in class_accuracies], axis=0)
    shown = [k for k in np.argsort(means) if not np.isnan(means[k])][:MOST_CLASSES]
    rows: list[Row] = []
    for title, values in zip(titles, class_accuracies, strict=True):
        low, high = np.percentile(values, BAND, axis=0)
        for k in shown:
            row: Row = {"setting": title, "class": classes[k], "mean": float(values[:, k].mean())}
            rows.append(row | ({"low": float(low[k]), "high": float(high[k])} if len(values) > 1 else {}))
    y: Spec = {"field": "class", "type": "nominal", "sort": None, "title": None}
    where: Spec = {"y": y, "color": color(list(titles))}
    if len(titles) > 1:
        where["yOffset"] = {"field": "setting", "type": "nominal", "scale": {"domain": list(titles)}}
    what = tips(**{"class": "class", "setting": "setting", "mean": "mean, %|.2f", "low": "5% below|.2f"})
    what += tips(high="5% above|.2f")
    where["tooltip"] = [one for one in what if len(titles) > 1 or one["field"] != "setting"]
    ends = {"x": axis("low", "accuracy, %"), "x2": {"field": "high"}}
    known = {"data": {"values": [row for row in rows if "low" in row]}}  # one network has no range
    layers: list[Spec] = [
        known | {"mark": {"type": "rule", "strokeWidth": 3, "opacity": 0.35}, "encoding": where | ends},
        {"mark": {"type": "circle", "size": 60, "opacity": 1}, "encoding": where | {"x": axis("mean", "accuracy, %")}},
    ]
    step = max(24, 9 * len(titles) + 8)
    return make_chart(layers, rows, step * len(shown), "Accuracy of each class")


def describe_classes(number: int) -> str:
    """Say which of so many classes `draw_classes` shows."""
    if number <= MOST_CLASSES:
        return "each class, the hardest first"
    return f"the {MOST_CLASSES} hardest of {number:,} classes"


def draw_confusion(
    votes: Integer[np.ndarray, "m l"], labels: Integer[np.ndarray, " m"], classes: Sequence[str]
) -> Spec:
    """Draw the percentage that each class gets of the votes on the images of a true class."""
    by_class = confusion_counts(votes, labels)
    fractions = 100 * by_class / np.maximum(1, by_class.sum(1, keepdims=True))
    rows = [
        {"true": classes[i], "seen": classes[j], "percent": float(fractions[i, j]), "text": _cell(fractions[i, j])}
        for i, j in np.ndindex(fractions.shape)
    ]
    place: Spec = {
        "x": {
            "field": "seen",
            "type": "nominal",
            "sort": None,
            "title": "seen",
            "axis": {"labelAngle": -45, "labelOverlap": False},
        },
        "y": {"field": "true", "type": "nominal", "sort": None, "title": "true class"},
    }
    # The root, or what is on the diagonal leaves no colour to the mistakes.
    scale = {"type": "sqrt", "domain": [0, 100], "range": "ramp"}
    shown = tips(true="true class", seen="seen", percent="of the votes, %|.2f")
    fill = {"field": "percent", "type": "quantitative", "scale": scale, "legend": None}
    layers: list[Spec] = [{"mark": "rect", "encoding": place | {"color": fill, "tooltip": shown}}]
    if len(classes) <= TEXT_CLASSES:
        text = {"text": {"field": "text", "type": "nominal"}, "color": ramp_ink("sqrt(datum.percent / 100)")}
        layers.append({"mark": {"type": "text", "fontSize": 10}, "encoding": place | text})
    return make_chart(layers, rows, min(SQUARE * len(classes), 560), "Confusion matrix of the votes")


def draw_reliability(titles: Sequence[str], found: Sequence[Reliability], seen: str) -> Spec:
    """Draw how often a class is right, against how strongly networks say so, bin by bin."""
    rows: list[Row] = []
    for title, one in zip(titles, found, strict=True):
        filled = one.pairs > 0
        columns = (one.votes[filled] / one.pairs[filled], one.right[filled] / one.pairs[filled], one.pairs[filled])
        rows += [
            {"setting": title, "seen": 100 * float(x), "right": 100 * float(y), "pairs": int(count)}
            for x, y, count in zip(*columns, strict=True)
        ]
    whole = {"scale": {"domain": [0, 100]}}
    x, y = axis("seen", seen) | whole, axis("right", "right, %") | whole
    shown = tips(setting="setting", seen=f"{seen}|.1f", right="right, %|.1f", pairs="cases")
    where = {"x": x, "y": y, "color": color(list(titles))}
    shown = [one for one in shown if len(titles) > 1 or one["field"] != "setting"]
    diagonal = {
        "data": {"values": [{"seen": 0, "right": 0}, {"seen": 100, "right": 100}]},
        "encoding": {"x": x, "y": y},
    }
    layers: list[Spec] = [
        diagonal | {"mark": {"type": "line", "strokeWidth": 1, "color": {"expr": "soft"}}},
        {"mark": {"type": "line", "strokeWidth": 2}, "encoding": where},
        {"mark": {"type": "circle", "size": 60, "opacity": 1}, "encoding": where | {"tooltip": shown}},
    ]
    return make_chart(layers, rows, 300, "Reliability diagram")


def draw_difficulty(
    titles: Sequence[str], votes: Sequence[Integer[np.ndarray, "m l"]], labels: Integer[np.ndarray, " m"]
) -> Spec:
    """Draw how many test images are classified wrong by what percentage of each setting's networks."""
    networks = [int(one[0].sum()) for one in votes]
    bins = min(MOST_BINS, max(1, min(networks) - 1))
    rows: list[Row] = []
    for title, one, number in zip(titles, votes, networks, strict=True):
        edges = difficulty_edges(number, bins)
        images = np.histogram(number - one[np.arange(len(labels)), labels], edges)[0]
        for first, end, count in zip(edges[:-1], edges[1:], images, strict=True):
            counted = f"{first}" if end == first + 1 else f"{first} to {end - 1}"
            row = {"setting": title, "wrong": 50 * (first + end - 1) / number, "images": int(count)}
            rows.append(row | {"networks": f"{counted} of {number}"})
    x = axis("wrong", "networks that are wrong about it, %", axis={"grid": False})
    # Most images are easy, and the hard ones are what the figure is for.
    y = axis("images", "test images") | {"scale": {"type": "symlog"}, "axis": {"tickCount": 6}}
    shown = tips(setting="setting", networks="wrong networks", wrong="wrong networks, %|.0f", images="images")
    where = {"x": x, "y": y, "color": color(list(titles))}
    layers: list[Spec] = [
        {"mark": {"type": "line", "interpolate": "step", "strokeWidth": 2}, "encoding": where},
        {"mark": {"type": "circle", "size": 30, "opacity": 1}, "encoding": where | {"tooltip": shown}},
    ]
    return make_chart(layers, rows, 250, "Difficulty of the test images")


def difficulty_edges(networks: int, bins: int) -> list[int]:
    """Return the edges of bins of how many networks are wrong about an image: about so many between none and all.

    None and all have bins of their own. Each of the others holds equally many of the numbers that there can be, but for
    the last, which may hold fewer: bins of equal fractions would make every second or fifth one a spike.
    """
    width = max(1, math.ceil((networks - 1) / bins))
    return [0, *range(1, networks, width), networks, networks + 1]


def confusion_counts(votes: Integer[np.ndarray, "m l"], labels: Integer[np.ndarray, " m"]) -> Float[np.ndarray, "l l"]:
    """Count the votes that each class gets on the images of a true class, which is the row."""
    return np.stack([votes[labels == k].sum(0) for k in range(votes.shape[1])]).astype(float)


def wrong_fractions(votes: Integer[np.ndarray, "m l"], labels: Integer[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """Compute the fraction of the networks that classify each image wrong."""
    return 1 - votes[np.arange(len(labels)), labels] / votes[0].sum()


def _cell(percent: float) -> str:
    if percent < 0.05:
        return ""
    return f"{percent:.0f}" if percent >= 9.95 else f"{percent:.1f}"
