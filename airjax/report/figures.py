"""Draw how networks did: accuracies, learning curves and cost. Several settings have the same colours throughout."""

import itertools
from collections.abc import Sequence

import numpy as np

from airjax.report.charts import Row, Spec, axis, color, make_chart, tips
from airjax.stats.intervals import mean_interval

BAND = (5, 95)  # percentiles of the networks
MOST_BANDS = 4  # settings
DOTS = 200  # of a setting: of more networks as many quantiles are shown
PAIRS = 40  # networks whose gains are shown one by one
TICKS = 8  # epochs that a narrow axis has room to name
TEST = "test accuracy, %"
ROW = 46  # pixels of a setting: its title, and its networks below
GOLDEN = 0.6180339887  # multiples of it, without their whole parts, spread evenly


def draw_accuracies(
    titles: Sequence[str], accuracies: Sequence[np.ndarray], names: Sequence[Sequence[str]] | None = None
) -> Spec:
    """Draw the accuracies [R] of each setting's networks, in percent, with the mean and its 95% interval.

    The names are the networks'; of more than 200 networks of a setting as many quantiles are shown.
    """
    several = len(titles) > 1
    named = [None] * len(titles) if names is None else names
    dots = [row for one in zip(titles, accuracies, named, strict=True) for row in _dots(*one)]
    means = [_mean_row(title, values) for title, values in zip(titles, accuracies, strict=True)]
    y = {"field": "setting", "type": "nominal", "sort": None, "axis": None}
    fields = {"setting": "setting"} if several else {}
    shown = tips(**fields, **({} if names is None else {"network": "network"}), accuracy="accuracy, %|.2f")
    what = tips(**fields, mean="mean, %|.2f", low="95%, from|.2f", high="to|.2f", n="networks")
    ink = {"y": y, "color": {"value": {"expr": "ink"}}, "tooltip": what}
    mark = {"type": "circle", "size": 46, "opacity": 0.55, "yOffset": {"expr": "datum.offset"}}
    where = {"y": y, "x": axis("accuracy", TEST), "color": color(list(titles)) | {"legend": None}, "tooltip": shown}
    layers: list[Spec] = [
        {"mark": mark, "encoding": where},
        {
            "data": {"values": [row for row in means if "low" in row]},
            "mark": {"type": "rule", "strokeWidth": 2},
            "encoding": ink | {"x": axis("low", TEST), "x2": {"field": "high"}},
        },
        {
            "data": {"values": means},
            "mark": {"type": "point", "filled": True, "shape": "diamond", "size": 90, "opacity": 1},
            "encoding": ink | {"x": axis("mean", TEST)},
        },
    ]
    if several:
        layers.append(_row_titles(means))
    height = ROW * len(titles) if several else 60
    return make_chart(layers, dots, height, "Test accuracies of all networks, with their means and 95% intervals")


def has_bands(values: Sequence[np.ndarray]) -> bool:
    """Say whether there is a band of networks to draw around some settings' means [R,E], and room for all of them."""
    return any(len(one) > 1 for one in values) and len(values) <= MOST_BANDS  # more of them hide each other


def draw_curve(
    titles: Sequence[str], values: Sequence[np.ndarray], name: str, written: str = ".2f", *, grouped: bool = False
) -> Spec:
    """Draw the mean of a value over the networks [R,E] after each epoch, and a band of 90% of them.

    grouped: whether the values are means of groups of networks, whose range says nothing of the networks': no band.
    """
    rows: list[Row] = []
    for title, of_networks in zip(titles, values, strict=True):
        for epoch in np.flatnonzero(~np.isnan(of_networks).all(0)):
            column = of_networks[:, epoch]
            low, high = np.nanpercentile(column, BAND)
            mean = float(np.nanmean(column))
            rows.append(
                {"setting": title, "epoch": int(epoch) + 1, "mean": mean, "low": float(low), "high": float(high)}
            )
    epochs = max((row["epoch"] for row in rows), default=1)
    x = axis("epoch", "epoch", axis={"grid": False, "format": "d", "values": epoch_ticks(epochs)})
    x["scale"] = {"zero": False, "nice": False, "domain": [1, epochs] if epochs > 1 else [0, 2]}
    colors = color(list(titles))
    several = any(len(one) > 1 for one in values)
    fields = {"setting": "", "epoch": "epoch", "mean": f"{'mean' if several else name}|{written}"}
    fields |= {"low": f"5% below|{written}", "high": f"5% above|{written}"} if several and not grouped else {}
    y = axis("mean", name)
    layers: list[Spec] = [
        {"mark": {"type": "line", "strokeWidth": 2}, "encoding": {"x": x, "y": y, "color": colors}},
        {"mark": {"type": "circle", "size": 40, "opacity": 1}, "encoding": {"x": x, "y": y, "color": colors}},
        # What a pointer or a finger hits is larger than what is seen.
        {
            "mark": {"type": "circle", "size": 320, "opacity": 0},
            "encoding": {"x": x, "y": y, "tooltip": tips(**fields)},
        },
    ]
    if has_bands(values) and not grouped:
        ends = {"y": axis("low", name), "y2": {"field": "high"}}
        band = {"mark": {"type": "area", "opacity": 0.16}, "encoding": {"x": x, "color": colors} | ends}
        layers.insert(0, band)
    return make_chart(layers, rows, 250, f"{name} after each epoch")


def epoch_ticks(epochs: int) -> list[int]:
    """Return the epochs that an axis names: the first, and multiples of a round number, as many as a phone shows."""
    step = next(step for step in itertools.chain((1, 2), itertools.count(5, 5)) if epochs <= TICKS * step)
    return [1, *range(step if step > 1 else 2, epochs + 1, step)]


def draw_gains(names: Sequence[str], plain: np.ndarray, averaged: np.ndarray) -> Spec:
    """Draw the accuracies [R] of networks without and with test-time augmentation, in percent, the best first.

    Of more than 40 networks as many are shown, evenly spread over the ranks: the best alone would be no sample.
    """
    ranks = np.linspace(0, len(averaged) - 1, min(PAIRS, len(averaged))).round().astype(int)
    order = np.argsort(averaged)[::-1][ranks]
    rows = [
        {"network": names[i], "without": float(plain[i]), "with": float(averaged[i])}
        | {"gain": float(averaged[i] - plain[i])}
        for i in order
    ]
    y = {"field": "network", "type": "nominal", "sort": None, "title": None, "axis": {"grid": False}}
    shown = tips(network="network", without="without, %|.2f", gain="gain, points|+.2f") + tips(
        **{"with": "with, %|.2f"}
    )
    where = {"y": y, "tooltip": shown}
    layers: list[Spec] = [
        {
            "mark": {"type": "rule", "strokeWidth": 3, "opacity": 0.5},
            "encoding": where | {"x": axis("without", TEST), "x2": {"field": "with"}},
        },
        {
            "mark": {"type": "point", "size": 60, "strokeWidth": 2},
            "encoding": where | {"x": axis("without", TEST)},
        },
        {
            "mark": {"type": "circle", "size": 70, "opacity": 1},
            "encoding": where | {"x": axis("with", TEST)},
        },
    ]
    return make_chart(layers, rows, 22 * len(rows), "Accuracy of each network without and with test-time augmentation")


def draw_costs(titles: Sequence[str], accuracies: Sequence[float], seconds: Sequence[float]) -> Spec:
    """Draw the mean accuracy of each setting, in percent, against the seconds that one of its networks takes."""
    points = zip(titles, accuracies, seconds, strict=True)
    rows = [{"setting": title, "accuracy": float(a), "seconds": float(s)} for title, a, s in points]
    shown = tips(setting="setting", accuracy="mean accuracy, %|.2f", seconds="seconds a network|.3~s")
    place = {"x": axis("seconds", "seconds a network"), "y": axis("accuracy", "mean test accuracy, %")}
    mark = {"type": "circle", "size": 90, "opacity": 0.8}
    layers: list[Spec] = [{"mark": mark, "encoding": place | {"tooltip": shown}}]
    return make_chart(layers, rows, 260, "Mean accuracy of each setting against its seconds")


def draw_stages(seconds: dict[str, float]) -> Spec:
    """Draw the seconds of each stage of a training, in order, as one bar."""
    titles = list(seconds)
    rows = [{"setting": stage, "seconds": float(value), "order": i} for i, (stage, value) in enumerate(seconds.items())]
    encoding = {
        "x": axis("seconds", "seconds", zero=True, stack="zero"),
        "color": color(titles) | {"legend": {"title": None, "symbolType": "square"}},
        "order": {"field": "order"},
        "tooltip": tips(setting="stage", seconds="seconds|.3~s"),
    }
    return make_chart(
        [{"mark": {"type": "bar", "height": 28}, "encoding": encoding}], rows, 40, "Seconds of each stage"
    )


def _dots(title: str, accuracies: np.ndarray, names: Sequence[str] | None) -> list[Row]:
    shown = np.quantile(accuracies, np.linspace(0, 1, DOTS)) if len(accuracies) > DOTS else accuracies
    called = names if names is not None and len(shown) == len(accuracies) else ["a quantile"] * len(shown)
    return [
        {"setting": title, "accuracy": float(value), "network": name, "offset": 14 * (place * GOLDEN % 1) - 7}
        for place, (value, name) in enumerate(zip(shown, called, strict=True))
    ]


def _mean_row(title: str, values: np.ndarray) -> Row:
    row: Row = {"setting": title, "mean": float(values.mean()), "n": len(values)}
    if (interval := mean_interval(values, whole=100.0)) is not None:
        row |= {"low": float(interval[0]), "high": float(interval[1])}
    return row


def _row_titles(means: list[Row]) -> Spec:
    text = {"expr": "datum.setting + '  (n = ' + datum.n + ')'"}
    mark = {"type": "text", "align": "left", "baseline": "bottom", "dy": -11, "text": text, "limit": {"expr": "width"}}
    y = {"field": "setting", "type": "nominal", "sort": None, "axis": None}
    encoding = {"y": y, "x": {"value": 0}, "color": {"value": {"expr": "soft"}}}
    return {"data": {"values": means}, "mark": mark, "encoding": encoding}
