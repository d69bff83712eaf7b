"""The table of what a model predicts for a GPU, and beside it what has been measured on one since."""

from collections.abc import Mapping
from typing import Any

from airjax.report.page import Table, format_markdown

CAPTION = (
    "Each predicted number is a model's ([cost_model.py](../benchmarks/cost_model.py), whose constants stand in its "
    "table with their sources), made before that recipe was measured on a card. A measured one is a median: of a step "
    "and its choices of [ablation.jsonl](../benchmarks/results/ablation.jsonl), of whole trainings and networks per "
    "hour of [seeds.jsonl](../benchmarks/results/seeds.jsonl)."
)
NAMES = {"h200": "NVIDIA H200", "h100": "NVIDIA H100 80GB HBM3"}  # of a card, as its driver says it
GRAPHS = ", graphs with convolutions, kernels side by side"  # as they are
AS_IT_IS, STEP, RUN, RATE = "as it is", "a step: ", "a whole training", "networks per hour: "


def predictions_table(
    records: list[dict[str, Any]],
    steps: list[dict[str, Any]] | None = None,
    groups: list[dict[str, Any]] | None = None,
) -> str:
    """Tabulate steps, trainings and networks per hour: a column for each recipe and card, and one of what is measured.

    Args:
        records: lines of predictions.jsonl.
        steps: lines of ablation.jsonl.
        groups: lines of seeds.jsonl.

    Raises ValueError for a line that is not marked as a prediction.
    """
    last = {(record["recipe"], record["card"]): record for record in records}
    if not last:
        return "Not predicted yet: `python -m benchmarks predict` does."
    if not all(record.get("prediction") and not record.get("measured") for record in records):
        raise ValueError(
            "predictions.jsonl has a line that is not marked as a prediction; what is measured goes elsewhere"
        )
    columns = list(last.values())
    rows = [
        ["a step, every kernel at its bound", *(milliseconds(column["step"]["bound"]) for column in columns)],
        [STEP + AS_IT_IS, *(milliseconds(column["step"]["seconds"]) for column in columns)],
        *(["of it " + part, *cells] for part, cells in parts_of(columns)),
        *([STEP + lever, *cells] for lever, cells in ratios_of(columns)),
        [RUN, *(f"{column['run']['seconds']:.2f} s" for column in columns)],
        *compared(columns),
        *([RATE + title, *cells] for title, cells in rates_of(columns)),
    ]
    heads = ["", *(f"{recipe}, {card.upper()}, predicted" for recipe, card in last)]
    for number, (recipe, card) in reversed(list(enumerate(last, 1))):
        found = measured_on(NAMES.get(str(card), str(card)), recipe, steps or [], groups or [])
        if found:
            heads.insert(number + 1, "measured")
            for row in rows:
                row.insert(number + 1, found.get(row[0], ""))
    return f"{CAPTION}\n\n{format_markdown(Table(heads, rows))}"


def measured_on(
    device: str, recipe: str, steps: list[dict[str, Any]], groups: list[dict[str, Any]]
) -> Mapping[str, str]:
    """Return title of a row -> what was measured last of a recipe on a device."""
    found: dict[str, str] = {}
    for line in steps:
        if (line["device"], line["recipe"], line.get("members", 1)) == (device, recipe, 1):
            measured = {name: step for name, step in line["steps"].items() if step.get("ratio") is not None}
            found |= {STEP + name: f"{step['ratio']:.2f}" for name, step in measured.items()}
            if AS_IT_IS in measured:
                found[STEP + AS_IT_IS] = milliseconds(measured[AS_IT_IS]["seconds"])
    for line in groups:
        if (line["device"], line["recipe"]) == (device, recipe):
            rate, count = f"{line['networks_per_hour']:.0f}", line["members"]
            if line["strategy"] == "sequential":
                found |= {RATE + "sequential": rate, RUN: f"{sum(line['seconds'].values()):.2f} s"}
            else:
                found[f"{RATE}{line['strategy']}, {count} networks"] = rate
    return found


def milliseconds(seconds: float) -> str:
    """Format it as it stands in a cell."""
    return f"{1e3 * seconds:.2f} ms"


def parts_of(columns: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """Return what takes a step's time."""
    names = {
        "products": "convolutions and products",
        "others": "large other kernels",
        "small": "small kernels",
        "gaps": "gaps between kernels",
    }
    return [(name, [milliseconds(column["step"]["parts"][part]) for column in columns]) for part, name in names.items()]


def ratios_of(columns: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """Return each choice undone, or made, over the step as it is."""
    names = dict.fromkeys(name for column in columns for name in column["levers"])
    return [
        (
            name,
            [
                f"{column['levers'][name] / column['step']['seconds']:.2f}" if name in column["levers"] else ""
                for column in columns
            ],
        )
        for name in names
    ]


def rates_of(columns: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """Return the networks per hour of every strategy."""
    found = [column["networks_per_hour"] for column in columns]
    names = dict.fromkeys(name for rates in found for name in rates)
    return [
        (name.removesuffix(GRAPHS), [f"{rates[name]:.0f}" if name in rates else "" for rates in found])
        for name in names
    ]


def compared(columns: list[dict[str, Any]]) -> list[list[str]]:
    """Return the rows of airbench94_compiled; none where no column has it."""
    found = [column.get("airbench94_compiled") for column in columns]
    if not any(found):
        return []
    return [
        ["airbench94_compiled: a step", *(milliseconds(one["step"]) if one else "" for one in found)],
        ["airbench94_compiled: a whole training", *(f"{one['run']:.2f} s" if one else "" for one in found)],
        ["airjax / airbench94_compiled", *(f"{c['ratio']:.2f}" if "ratio" in c else "" for c in columns)],
        [
            "networks per hour: airbench94_compiled, one after another",
            *(f"{one['networks_per_hour']:.0f}" if one else "" for one in found),
        ],
    ]
