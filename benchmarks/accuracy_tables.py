"""What networks reached, and what is published: a table, and the points of a plot."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from airjax.recipes.published import CLAIMS, RECIPES, expected_on_cifar10
from airjax.report.page import Table, format_markdown
from airjax.utils.units import format_seconds

Record = dict[str, Any]


class Point(NamedTuple):
    """A mean accuracy that was reached in so many epochs."""

    name: str  # the recipe's
    epochs: float
    accuracy: float  # in [0, 1]
    spread: float | None  # standard deviation between networks, in [0, 1]; None where it is unknown
    published: bool  # else a line of results


def whole_lines(records: Sequence[Record]) -> list[Record]:
    """Leave out lines of which all networks are in another: of a training that was stopped, and of the same resumed.

    A line of `airjax records verify` stays: its networks were planned.
    """

    def networks(line: Record) -> tuple[Any, ...]:
        changed = str(sorted(line["changed"].items()))
        return line["recipe"], changed, line["dataset_sha256"], line["device"], line["commit"]

    largest: dict[tuple[Any, ...], list[set[tuple[int, float]]]] = {}
    kept = set()
    # The largest first, and of two lines of the same networks the last one.
    for place, line in sorted(enumerate(records), key=lambda each: (-each[1]["n"], -each[0])):
        found = set(zip(line["seeds"], line["accuracy"], strict=True))
        others = largest.setdefault(networks(line), [])
        if "claim" in line or not any(found <= other for other in others):
            others.append(found)
            kept.add(place)
    return [records[place] for place in sorted(kept)]


def unchanged(records: Sequence[Record]) -> list[Record]:
    """Return the last line of each unchanged recipe, data set, arithmetic and device.

    Lines in the official order count before others, and of several those that nothing stopped.
    """
    lines = [line for line in whole_lines(records) if line["recipe"] in RECIPES]
    unchanged = [line for line in lines if not set(line["changed"]) - {"precision"}]
    tested = [line for line in unchanged if line.get("split", "test") == "test"]
    ordered = sorted(tested, key=lambda line: (line.get("content") != "shuffled", not line.get("interrupted")))
    kinds = {(line["recipe"], line["dataset"], _precision(line), line["device"]): line for line in ordered}
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
            data = "CIFAR-10" if RECIPES[name].cropping is None else "ImageNet"
            there = claim.target is None and RECIPES[name].cropping is None  # a small one of ours, in a study
            here = "see the source" if there else "not yet run in full"
            rows.append([name, data, here, "", "", "", published, source])
        for line in lines:
            known = line in on_cifar and expected_on_cifar10(name, line.get("content", "")) is not None
            rows.append([name, _data(line), *_reached(line), published if known else "", source if known else ""])
    heads = ["recipe", "data", "here", "n", "training of one", "device", "published or expected", "from"]
    return format_markdown(Table(heads, rows))


def points(records: list[Record]) -> list[Point]:
    """Return what is drawn: each recipe's published accuracy on CIFAR-10's 10,000 test images, and what was reached.

    Of several devices it is the line with the most networks.
    """
    meant = {name: claim for name, claim in CLAIMS.items() if claim.target is not None}
    published = [
        Point(name, RECIPES[name].epochs, claim.expected_accuracy, claim.expected_sd, published=True)
        for name, claim in meant.items()
        if claim.expected_accuracy is not None
    ]
    lines = [line for line in unchanged(records) if line["recipe"] in meant and line["dataset"] == "cifar10"]
    lines.sort(key=lambda line: line["n"])
    most = {(line["recipe"], _precision(line)): line for line in lines}.values()
    reached = [Point(_label(line), RECIPES[line["recipe"]].epochs, line["mean"], line["sd"], False) for line in most]
    return published + reached


def _precision(line: Record) -> str:
    return line["changed"].get("precision", "its own arithmetic")


def _label(line: Record) -> str:
    return f"{line['recipe']}, {_precision(line)}, n={line['n']}"


def _data(line: Record) -> str:
    dataset: str = line["dataset"]
    name = {"cifar10": "CIFAR-10", "builtin": "synthetic"}.get(dataset, dataset)
    return f"{name}, shuffled order" if line.get("content") == "shuffled" else name


def _reached(line: Record) -> list[str]:
    spread = f" (sd {100 * line['sd']:.2f})" if line["sd"] is not None else ""
    reached = f"{100 * line['mean']:.2f}%{spread}"
    device = f"{line['device']}, {_precision(line)}"
    n = f"{line['n']}, then stopped" if line.get("interrupted") else str(line["n"])
    return [reached, n, format_seconds(line["seconds"]["train"] / line["n"]), device]
