"""The table of what a model predicts for a GPU, from the lines of results that are marked as predictions."""

from typing import Any

from airjax.report.page import Table, format_markdown

CAPTION = (
    "**Predicted, not measured.** Each number is a model's ([cost_model.py](../benchmarks/cost_model.py), whose "
    "constants stand in its table with their sources); the first measurement on a card tests it."
)


def predictions_table(records: list[dict[str, Any]]) -> str:
    """Tabulate steps, trainings and networks per hour: a column for each recipe and card.

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
        ["a step as it is", *(milliseconds(column["step"]["seconds"]) for column in columns)],
        *(["of it " + part, *cells] for part, cells in parts_of(columns)),
        *(["a step: " + lever, *cells] for lever, cells in ratios_of(columns)),
        ["a whole training", *(f"{column['run']['seconds']:.2f} s" for column in columns)],
        *compared(columns),
        *(["networks per hour: " + title, *cells] for title, cells in rates_of(columns)),
    ]
    heads = ["predicted", *(f"{recipe}, {card.upper()}" for recipe, card in last)]
    return f"{CAPTION}\n\n{format_markdown(Table(heads, rows))}"


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
    return [(name, [f"{rates[name]:.0f}" if name in rates else "" for rates in found]) for name in names]


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
