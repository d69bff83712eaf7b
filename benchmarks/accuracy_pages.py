"""What networks reached, for readers: the table of accuracies, and a plot of accuracy against epochs."""

from typing import Any, NamedTuple

import matplotlib as mpl

from airjax.recipes.published import CLAIMS, RECIPES
from airjax.report.drawing import GREY, STYLE, make_axes, render_figure
from airjax.report.page import Table, format_markdown
from airjax.utils.units import format_seconds
from parity.figures import AIRJAX

Record = dict[str, Any]
EPOCHS = (5, 10, 20, 40, 80, 160)  # that the axis names


class Point(NamedTuple):
    """A mean accuracy that was reached in so many epochs."""

    name: str  # the recipe's
    epochs: float
    accuracy: float  # in [0, 1]
    spread: float | None  # standard deviation between networks, in [0, 1]; None where it is unknown
    published: bool  # else a line of results


def unchanged(records: list[Record]) -> list[Record]:
    """Return the last line of each recipe as it is, data set, arithmetic and device."""
    lines = [line for line in records if not set(line["changed"]) - {"precision"} and line["recipe"] in RECIPES]
    kinds = {(line["recipe"], line["dataset"], _precision(line), line["device"]): line for line in lines}
    names = list(RECIPES)
    return sorted(kinds.values(), key=lambda line: names.index(line["recipe"]))


def accuracy_table(records: list[Record]) -> str:
    """Tabulate what each recipe reached here, beside what is published; a recipe without a line has not been run."""
    if not records:
        return "No network yet: `python -m benchmarks.accuracy --target 94 --keep` adds a line."
    rows = []
    for name, claim in CLAIMS.items():
        lines = [line for line in unchanged(records) if line["recipe"] == name]
        published = "" if claim.expected_accuracy is None else f"{100 * claim.expected_accuracy:.2f}%"
        source = claim.evidence if published else ""
        on_cifar = [line for line in lines if line["dataset"] == "cifar10"]
        if published and not on_cifar:
            rows.append([name, "CIFAR-10", "not yet run in full", "", "", "", published, source])
        for line in lines:
            known = line in on_cifar
            rows.append([name, _data(line), *_reached(line), published if known else "", source if known else ""])
    heads = ["recipe", "data", "here", "n", "training of one", "device", "published or expected", "from"]
    return format_markdown(Table(heads, rows))


def points(records: list[Record]) -> list[Point]:
    """Return what is drawn: each recipe's published accuracy on CIFAR-10's 10,000 test images, and what was reached."""
    meant = {name: claim for name, claim in CLAIMS.items() if claim.target is not None}
    published = [
        Point(name, RECIPES[name].epochs, claim.expected_accuracy, claim.expected_sd, published=True)
        for name, claim in meant.items()
        if claim.expected_accuracy is not None
    ]
    lines = [line for line in unchanged(records) if line["recipe"] in meant and line["dataset"] == "cifar10"]
    reached = [Point(_label(line), RECIPES[line["recipe"]].epochs, line["mean"], line["sd"], False) for line in lines]
    return published + reached


def draw(records: list[Record]) -> bytes:
    """Draw accuracy against epochs as a PNG image: published means, and those of lines of results."""
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
        _name_points(axes, found)
        axes.set_xscale("log")
        axes.set_xticks(EPOCHS, map(str, EPOCHS))
        axes.set_xticks([], minor=True)
        axes.margins(0.12, 0.22)
        axes.set_xlabel("passes over the training images (epochs)")
        axes.set_ylabel("accuracy on CIFAR-10's test images, %")
        axes.legend(loc="lower right", fontsize=8)
    return render_figure(figure, "png")


def _name_points(axes: Any, found: list[Point]) -> None:
    # Published names stand above and below in turn, since neighbours are close; ours beside their points.
    published = sorted((point for point in found if point.published), key=lambda point: point.epochs)
    for place, point in enumerate(published):
        side = 1 if place % 2 else -1
        offset, low = (0, side * (10 if point.spread is None else 18)), "bottom" if side > 0 else "top"
        at = (point.epochs, 100 * point.accuracy)
        axes.annotate(point.name, at, offset, textcoords="offset points", ha="center", va=low, fontsize=8, color=GREY)
    for point in found:
        if not point.published:
            at = (point.epochs, 100 * point.accuracy)
            axes.annotate(point.name, at, (7, 0), textcoords="offset points", va="center", fontsize=8, color=AIRJAX)


def _precision(line: Record) -> str:
    return line["changed"].get("precision", "its own arithmetic")


def _label(line: Record) -> str:
    return f"{line['recipe']}, {_precision(line)}, n={line['n']}"


def _data(line: Record) -> str:
    name = {"cifar10": "CIFAR-10", "builtin": "synthetic"}.get(line["dataset"], line["dataset"])
    return f"{name}, shuffled order" if line.get("content") == "shuffled" else name


def _reached(line: Record) -> list[str]:
    spread = f" (sd {100 * line['sd']:.2f})" if line["sd"] is not None else ""
    reached = f"{100 * line['mean']:.2f}%{spread}"
    device = f"{line['device']}, {_precision(line)}"
    return [reached, str(line["n"]), format_seconds(line["seconds"]["train"] / line["n"]), device]
