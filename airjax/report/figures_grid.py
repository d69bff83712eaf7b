"""Draw how the accuracy of a sweep depends on the fields that its settings differ in."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from airjax.report.charts import Row, Spec, axis, make_chart, ramp_ink, tips
from airjax.stats.intervals import mean_interval

MOST_MAPS = 6  # pairs of fields
TEXT_COLUMNS = 8  # of more, a cell has no room for its number


def varied_fields(described: Sequence[dict[str, Any]]) -> list[str]:
    """Return the fields that every setting has and that differ between some, in order."""
    names = [name for name in (described[0] if described else {}) if all(name in one for one in described)]
    return [name for name in names if len({str(one[name]) for one in described}) > 1]


def draw_dependences(described: Sequence[dict[str, Any]], accuracies: Sequence[np.ndarray]) -> dict[str, Spec]:
    """Draw a heat map for every two fields that a sweep varies, or a curve where there is one; none of a mere list.

    Args:
        described: of each setting, the fields that the plan sets, with their values.
        accuracies: of each setting, of its networks [R], in percent.
    """
    fields = varied_fields(described)
    if len(described) < 3:
        return {}
    if len(fields) == 1:
        return {f"grid-{fields[0]}": _draw_line(fields[0], described, accuracies)}
    pairs = list(itertools.islice(_mapped(fields, described), MOST_MAPS))
    return {f"grid-{a}-{b}": _draw_map(a, b, _cells(a, b, described, accuracies)) for a, b in pairs}


def pairs_left_out(described: Sequence[dict[str, Any]]) -> list[str]:
    """Return the pairs of fields that have no map for want of room, as "rate and epochs"."""
    left_out = itertools.islice(_mapped(varied_fields(described), described), MOST_MAPS, None)
    return [f"{a} and {b}" for a, b in left_out] if len(described) > 2 else []


def _mapped(fields: Sequence[str], described: Sequence[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    # The pairs whose values make a grid: a list of cases varies fields, too, but fills less than half of their table.
    for a, b in itertools.combinations(fields, 2):
        cells = {(_text(one[a]), _text(one[b])) for one in described}
        if 2 * len(cells) >= len({x for x, _ in cells}) * len({y for _, y in cells}):
            yield a, b


def _cells(a: str, b: str, described: Sequence[dict[str, Any]], accuracies: Sequence[np.ndarray]) -> list[Row]:
    found: dict[tuple[str, str], list[np.ndarray]] = {}
    for one, values in zip(described, accuracies, strict=True):
        found.setdefault((_text(one[a]), _text(one[b])), []).append(values)
    # Each setting counts once, however many networks it has.
    rows = []
    for (x, y), settings in found.items():
        mean, networks = float(np.mean([values.mean() for values in settings])), sum(map(len, settings))
        rows.append({"x": x, "y": y, "mean": mean, "n": networks, "settings": len(settings), "text": f"{mean:.2f}"})
    return rows


def _size(cells: list[Row], name: str) -> int:
    return len({row[name] for row in cells})


def _draw_map(a: str, b: str, rows: list[Row]) -> Spec:
    # The field with fewer values goes across: a phone is narrow.
    if _size(rows, "x") > _size(rows, "y"):
        rows, a, b = [row | {"x": row["y"], "y": row["x"]} for row in rows], b, a
    place: Spec = {
        "x": {"field": "x", "type": "ordinal", "sort": _sorted(rows, "x"), "title": a, "axis": {"labelAngle": 0}},
        "y": {"field": "y", "type": "ordinal", "sort": _sorted(rows, "y")[::-1], "title": b},
    }
    means = [row["mean"] for row in rows]
    fill = {
        "field": "mean",
        "type": "quantitative",
        "scale": {"zero": False, "nice": False, "range": "ramp"},
        "legend": None,
    }
    shown = tips(x=a, y=b, mean="mean accuracy, %|.2f", n="networks", settings="settings")
    layers: list[Spec] = [{"mark": "rect", "encoding": place | {"color": fill, "tooltip": shown}}]
    if _size(rows, "x") <= TEXT_COLUMNS:
        low, reach = min(means), max(max(means) - min(means), 1e-9)
        text = {"text": {"field": "text", "type": "nominal"}, "color": ramp_ink(f"(datum.mean - {low}) / {reach}")}
        layers.append({"mark": {"type": "text"}, "encoding": place | text})
    return make_chart(layers, rows, 36 * _size(rows, "y"), f"Mean accuracy by {a} and {b}")


def _draw_line(field: str, described: Sequence[dict[str, Any]], accuracies: Sequence[np.ndarray]) -> Spec:
    rows: list[Row] = []
    for one, values in zip(described, accuracies, strict=True):
        row = {"x": one[field] if _is_number(one[field]) else _text(one[field]), "mean": float(values.mean())}
        if (interval := mean_interval(values, whole=100.0)) is not None:
            row |= {"low": float(interval[0]), "high": float(interval[1])}
        rows.append(row | {"n": len(values)})
    numbers = all(_is_number(one[field]) for one in described)
    x = axis("x", field) if numbers else axis("x", field, kind="nominal", sort=None)
    where = {"x": x, "tooltip": tips(x=field, mean="mean, %|.2f", low="95%, from|.2f", high="to|.2f", n="networks")}
    y = axis("mean", "test accuracy, %")
    ends = {"y": axis("low", "test accuracy, %"), "y2": {"field": "high"}}
    # One network has no interval, and not one of no width.
    known = {"data": {"values": [row for row in rows if "low" in row]}}
    layers: list[Spec] = [
        known | {"mark": {"type": "rule", "strokeWidth": 2, "opacity": 0.6}, "encoding": where | ends},
        {"mark": {"type": "circle", "size": 70, "opacity": 1}, "encoding": where | {"y": y}},
    ]
    if numbers:
        layers.insert(0, {"mark": {"type": "line", "opacity": 0.5}, "encoding": {"x": x, "y": y}})
    return make_chart(layers, rows, 250, f"Mean accuracy by {field}")


def _sorted(rows: list[Row], name: str) -> list[str]:
    values = list(dict.fromkeys(row[name] for row in rows))
    try:
        return sorted(values, key=float)
    except ValueError:
        return values


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: Any) -> str:
    if not _is_number(value):
        return "none" if value is None else str(value)
    # 2 and 2.0 are one value; two that differ late are two.
    short = f"{value:g}"
    return short if float(short) == value else repr(value)
