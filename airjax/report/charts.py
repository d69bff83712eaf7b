"""Say how every interactive figure looks, and turn it into a part of a page or a file.

A figure is a value: a Vega-Lite specification, as https://vega.github.io/vega-lite/docs/ describes it. The page draws
it at its own width, so that letters keep their size on a phone, and in the reader's colours, light or dark. vl-convert
brings the library into the page, and makes the same specification a PNG file.
"""

import json
from functools import cache
from typing import Any, Literal

from airjax.utils.extras import import_extra

Spec = dict[str, Any]
Row = dict[str, Any]
Mode = Literal["light", "dark"]

WIDTH = 640  # pixels of a figure as a file; in a page it is as wide as its place
PNG_SCALE = 2.0
LETTER, MOST_LETTERS, MARGIN = 7, 40, 40  # pixels of a letter, letters before a text is cut, pixels beside it
FONT = "system-ui, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif"

# Told apart by lightness, too, and from the ground in both modes.
CATEGORIES: dict[Mode, tuple[str, ...]] = {
    "light": (
        *("#1f6fb2", "#c2571a", "#2e7d32", "#7b3fa0", "#a06a0a", "#0b7d80"),
        *("#b3261e", "#5c6b2f", "#b84a8a", "#3f4a9a", "#7d5f54", "#374151"),
    ),
    "dark": (
        *("#6cb2f5", "#f0965c", "#7cc982", "#c79be6", "#e0b04c", "#5cc8ca"),
        *("#f2857c", "#b4c67a", "#f0a0cc", "#9aa6f2", "#c9ab9e", "#d1d5db"),
    ),
}
RAMPS: dict[Mode, tuple[str, ...]] = {
    "light": ("#f4f6f8", "#c3d9ec", "#7fb0da", "#2f7abb", "#0f4478"),
    "dark": ("#1d2229", "#1d3d5c", "#24659d", "#5199d6", "#b9dcfa"),
}
# Letters, quieter letters, lines.
INKS: dict[Mode, tuple[str, str, str]] = {
    "light": ("#1b1f24", "#57606a", "#dfe3e8"),
    "dark": ("#e8eaed", "#a3abb5", "#353b44"),
}
# Letters on a ramp: near its beginning, near its end, and the part of it at which they change. Only between black and
# white is there none of its colours on which neither is read.
RAMP_INKS: dict[Mode, tuple[str, str, float]] = {
    "light": ("#000000", "#ffffff", 0.74),
    "dark": ("#ffffff", "#000000", 0.6),
}


def theme(mode: Mode) -> Spec:
    """Return the look of all figures in a mode, as a configuration of Vega-Lite."""
    (ink, soft, line), (near, far, turn) = INKS[mode], RAMP_INKS[mode]
    text = {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "titlePadding": 8}
    return {
        "background": "transparent",
        "font": FONT,
        "view": {"stroke": None},
        "axis": {
            **text,
            **{"labelColor": soft, "titleColor": ink, "gridColor": line, "domainColor": line, "tickColor": line},
        },
        "axisX": {"tickCount": {"expr": "max(2, ceil(width / 90))"}, "labelOverlap": True, "labelSeparation": 6},
        "axisY": {"tickCount": {"expr": "max(2, ceil(height / 45))"}},
        "legend": {
            **text,
            "labelColor": ink,
            "titleColor": ink,
            "orient": "top",
            "labelLimit": 290,
            "symbolOpacity": 1,
        },
        "mark": {"color": CATEGORIES[mode][0]},
        "rule": {"color": soft},
        "range": {"category": list(CATEGORIES[mode]), "ramp": list(RAMPS[mode])},
        "text": {"fontSize": 12},
        "params": [
            {"name": "ink", "value": ink},
            {"name": "soft", "value": soft},
            {"name": "near", "value": near},
            {"name": "far", "value": far},
            {"name": "turn", "value": turn},
        ],
    }


def make_chart(layers: list[Spec], data: list[Row], height: int, description: str) -> Spec:
    """Make a figure of layers over the same rows, as wide as its place, and described for those who do not see it."""
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "description": description,
        "width": "container",
        "height": height,
        "data": {"values": data},
        "layer": layers,
    }


def axis(field: str, title: str | None, *, zero: bool = False, kind: str = "quantitative", **options: Any) -> Spec:
    """Return the encoding of a field by place; an axis of numbers need not begin at zero."""
    scale = {"scale": {"zero": zero, "nice": True}} if kind == "quantitative" else {}
    return {"field": field, "type": kind, "title": title} | scale | options


def color(titles: list[str]) -> Spec:
    """Return the encoding of the settings by colour, in their order; a legend where there are several."""
    legend = {"title": None, "symbolType": "circle", "symbolStrokeWidth": 2} if len(titles) > 1 else None
    return {"field": "setting", "type": "nominal", "scale": {"domain": titles}, "legend": legend}


def ramp_ink(part: str) -> Spec:
    """Return the colour of letters on a ramp, from the expression of how far along it they are, from 0 to 1."""
    return {"condition": {"test": f"{part} > turn", "value": {"expr": "far"}}, "value": {"expr": "near"}}


def tips(**fields: str) -> list[Spec]:
    """Return what is shown over a mark: the title of each field, and after a bar how its number is written."""
    found = []
    for field, text in fields.items():
        title, _, written = text.partition("|")
        kind = {"type": "quantitative", "format": written} if written else {"type": "nominal"}
        found.append({"field": field, "title": title} | kind)
    return found


def entry_width(spec: Spec) -> int:
    """Estimate the pixels that an entry of a figure's legend takes: the page makes as many columns as fit.

    Vega lays a legend out before it knows how wide the figure is.
    """
    colors = [layer["encoding"].get("color", {}) for layer in spec["layer"]]
    titles = [title for one in colors if one.get("type") == "nominal" for title in one["scale"]["domain"]]
    longest = max(map(len, titles), default=0)
    return LETTER * min(MOST_LETTERS, longest) + MARGIN


def dump_spec(spec: Spec) -> str:
    """Write a figure or a configuration as JSON that may stand inside a script of a page."""
    text = json.dumps(spec, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def render_png(spec: Spec) -> bytes:
    """Render a figure as a PNG file, in light colours. Raises MissingExtraError."""
    still: Spec = spec | {"width": WIDTH}
    config: Spec = theme("light") | {"background": "white"}
    config["legend"]["columns"] = max(1, WIDTH // entry_width(spec))
    return _library().vegalite_to_png(still, config=config, scale=PNG_SCALE)


@cache
def library_script() -> str:
    """Return Vega, Vega-Lite and vega-embed as one script, which loads nothing. Raises MissingExtraError."""
    script = _library().javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _library() -> Any:
    return import_extra("vl_convert", "report", "a page with figures")
