"""The table of what a model predicts for a GPU, and beside it what has been measured on one since."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from airjax.report.page import Table, format_markdown
from benchmarks.accuracy_tables import unchanged
from benchmarks.speed_tables import latest, order_of
from benchmarks.timing_rules import AIRBENCH as AIRBENCH_RULE
from benchmarks.timing_rules import seconds_by

CAPTION = (
    "Each predicted number is a model's ([cost_model.py](../benchmarks/cost_model.py), whose constants stand in its "
    "table with their sources), made before that recipe was measured on a card. A measured one is a median: of a step "
    "and its choices of [ablation.jsonl](../benchmarks/results/ablation.jsonl), of networks per hour of "
    "[seeds.jsonl](../benchmarks/results/seeds.jsonl), of whole trainings of a comparison in "
    "[speed.jsonl](../benchmarks/results/speed.jsonl), else the mean of "
    "[accuracy.jsonl](../benchmarks/results/accuracy.jsonl)."
)
NAMES = {"h200": "NVIDIA H200", "h100": "NVIDIA H100 80GB HBM3"}  # of a card, as its driver says it
GRAPHS = ", graphs with convolutions, kernels side by side"  # as they are
AS_IT_IS, STEP, RUN, RATE = "as it is", "a step: ", "a whole training", "networks per hour: "
AIRBENCH = "airbench94_compiled"


class Measurements(NamedTuple):
    """Lines of what is measured."""

    steps: Sequence[dict[str, Any]] = ()  # of ablation.jsonl
    groups: Sequence[dict[str, Any]] = ()  # of seeds.jsonl
    trained: Sequence[dict[str, Any]] = ()  # of accuracy.jsonl
    compared: Sequence[dict[str, Any]] = ()  # of speed.jsonl


NOTHING = Measurements()


def predictions_table(records: list[dict[str, Any]], measurements: Measurements = NOTHING) -> str:
    """Tabulate steps, trainings and networks per hour: a column for each recipe and card, and one of what is measured.

    Args:
        records: lines of predictions.jsonl.
        measurements: what is measured.

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
        found = measured_on(NAMES.get(str(card), str(card)), recipe, measurements)
        if found:
            heads.insert(number + 1, "measured")
            for row in rows:
                row.insert(number + 1, found.get(row[0], ""))
    return f"{CAPTION}\n\n{format_markdown(Table(heads, rows))}"


def measured_on(device: str, recipe: str, measurements: Measurements) -> Mapping[str, str]:
    """Return title of a row -> what was measured last of a recipe on a device."""

    def of(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        return [line for line in lines if (line["device"], line["recipe"]) == (device, recipe)]

    found: dict[str, str] = {}
    for line in of(measurements.steps):
        if line.get("members", 1) == 1:
            measured = {name: step for name, step in line["steps"].items() if step.get("ratio") is not None}
            found |= {STEP + name: f"{step['ratio']:.2f}" for name, step in measured.items()}
            if AS_IT_IS in measured:
                found[STEP + AS_IT_IS] = milliseconds(measured[AS_IT_IS]["seconds"])
    for line in of(measurements.groups):
        alone = line["strategy"] == "sequential"
        name = "sequential" if alone else f"{line['strategy']}, {line['members']} networks"
        found[RATE + name] = f"{line['networks_per_hour']:.0f}"
    for line in of(unchanged(measurements.trained)):
        if line["dataset"] == "cifar10":
            found[RUN] = f"{seconds_by(AIRBENCH_RULE, line['seconds']) / line['n']:.2f} s"
    with_released = [line for line in measurements.compared if line.get("best_torch") == "airbench-compiled"]
    for line in of(latest(with_released)):
        if line["benchmark"] == "run" and not line["changed"] and not order_of(line):
            found[RUN], found[f"{AIRBENCH}: {RUN}"] = f"{line['airjax']:.2f} s", f"{line['torch']:.2f} s"
            found[f"airjax / {AIRBENCH}"] = f"{line['ratio']:.2f}"
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
    found = [column.get(AIRBENCH) for column in columns]
    if not any(found):
        return []
    return [
        [f"{AIRBENCH}: a step", *(milliseconds(one["step"]) if one else "" for one in found)],
        [f"{AIRBENCH}: {RUN}", *(f"{one['run']:.2f} s" if one else "" for one in found)],
        [f"airjax / {AIRBENCH}", *(f"{c['ratio']:.2f}" if "ratio" in c else "" for c in columns)],
        [
            f"{RATE}{AIRBENCH}, one after another",
            *(f"{one['networks_per_hour']:.0f}" if one else "" for one in found),
        ],
    ]
