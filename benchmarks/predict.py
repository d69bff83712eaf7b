"""What a training should take on a GPU that is not at hand, by a model of what is compiled for it. Nothing is measured.

`python -m benchmarks predict --recipe 94` compiles the step in each variant and with each strategy to train many
networks, prices every kernel (benchmarks/cost_model.py), and appends a line for each card to predictions.jsonl. Both
cards run what is compiled for an H200: they differ in their memory. The first measurement on a card tests the model.
"""

import argparse
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from airjax.recipes.published import get_recipe
from airjax.recipes.recipe import Recipe
from airjax.training.compile import compiler_options
from airjax.training.environment import describe
from airjax.training.members import Strategy
from airjax.utils.records import dump_json
from benchmarks.ablation_variants import AS_IT_IS, VARIANTS, Variant
from benchmarks.cost_model import (
    CARDS,
    CONSTANTS,
    Card,
    Launches,
    bound,
    card_of,
    run_seconds,
    step_times,
    value,
)
from benchmarks.kernels import Kernel, choices_of, compile_step, kernels_of, open_target
from benchmarks.products import Product, products_of
from benchmarks.record import add_output_options, save
from benchmarks.speed import command_line

FILE = "predictions.jsonl"
TARGET = "h200"
NOT_FROZEN = "the first layer's gradient"
SIDE_BY_SIDE = "graphs with convolutions, kernels side by side"
AS_VMAP = "convolutions as vmap makes them"
# The same program, launched in other ways.
LAUNCHES = {
    "every kernel launched by itself": Launches(graphs=False),
    "graphs without convolutions": Launches(),
    "graphs with convolutions": Launches(convolutions=True),
    SIDE_BY_SIDE: Launches(convolutions=True, side_by_side=True),
}


class Group(NamedTuple):
    """A way to train several networks at once."""

    strategy: Strategy
    members: int
    variant: str = AS_IT_IS  # of its program
    launched: str | None = None  # one of LAUNCHES; None: as the variant's compiler options say

    @property
    def title(self) -> str:
        """Return its row in a table."""
        choices = [choice for choice in (self.variant, self.launched) if choice not in (AS_IT_IS, None)]
        return ", ".join([f"{self.strategy}, {self.members} networks", *choices])


GROUPS = (
    Group("interleaved", 2, launched=SIDE_BY_SIDE),
    Group("interleaved", 4, launched=SIDE_BY_SIDE),
    Group("vmap", 2),
    Group("vmap", 4),
    Group("vmap", 4, AS_VMAP),
)


class Program(NamedTuple):
    """What the model reads of a compiled step."""

    kernels: list[Kernel]
    products: Mapping[str, Product]
    members: int = 1
    interleaved: bool = False


# The compiled steps of a training, one for each size of its images: the share of all steps, and the program.
Steps = tuple[tuple[float, Program], ...]


def levers_of(recipe: Recipe) -> tuple[str, ...]:
    """Return the choices that the model has a rate for."""
    return tuple(name for name in choices_of("sequential", recipe) if VARIANTS[name].precision != "float32")


def main(arguments: list[str]) -> int:
    """Compile, price, print, and keep a record for each card. Returns the exit code."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks predict", description="What a training should take on a GPU; nothing is measured."
    )
    parser.add_argument("--recipe", default="94", metavar="NAME")
    parser.add_argument(
        "--brief", action="store_true", help="the training as it is alone: no choices undone, no groups"
    )
    parser.add_argument("--card", action="append", choices=CARDS, help="only this; may be repeated")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON: all records")
    add_output_options(parser)
    options = parser.parse_args(arguments)
    recipe = get_recipe(options.recipe)
    name, device = open_target(TARGET)
    choices = (NOT_FROZEN,) if options.brief else levers_of(recipe)
    steps = {choice: read_steps(recipe, VARIANTS[choice], device) for choice in dict.fromkeys((AS_IT_IS, *choices))}
    groups = {
        group: read_steps(recipe, VARIANTS[group.variant], device, group.strategy, group.members)
        for group in (() if options.brief else GROUPS)
    }
    told = {"command": command_line("predict", arguments), **describe(), "device": f"compiled for {name}"}
    records = []
    for card in options.card or CARDS:
        record = {"prediction": True, "measured": False, "recipe": options.recipe, "card": card}
        record |= predict(recipe, card, steps, groups)
        print("\n".join(lines_of(record)), flush=True)
        save(options.results, FILE, record | told | {"platform": "gpu", "convolution": "native"})
        records.append(record)
    if options.json:
        print(dump_json({"rows": records}), flush=True)
    return 0


def read_steps(
    recipe: Recipe, variant: Variant, device: Any, strategy: Strategy = "sequential", members: int = 1
) -> Steps:
    """Compile a step of every size of images, and read its kernels and their products."""
    counts: Counter[int | None] = Counter()
    for phase in recipe.phases():
        counts[phase.image_size] += phase.stop - phase.start
    found = []
    for size, count in counts.items():
        text = compile_step(recipe, variant, device, strategy, members, size).text
        program = Program(list(kernels_of(text, recipe)), products_of(text), members, strategy == "interleaved")
        found.append((count / recipe.total_steps, program))
    return tuple(found)


def predict(recipe: Recipe, name: str, steps: Mapping[str, Steps], groups: Mapping[Group, Steps]) -> dict[str, Any]:
    """Return what a record says of a card: seconds of a step and of a run, networks per hour, and the model's
    constants.

    Where images have several sizes, a step is the mean of all steps.
    """
    card, ours = card_of(name), steps[AS_IT_IS]
    alone = seconds_per_network(ours, card, launches_of(AS_IT_IS))
    parts: Counter[str] = Counter()
    for share, one in ours:
        times = step_times(one.kernels, one.products, card, launches_of(AS_IT_IS))
        parts.update({part: share * seconds for part, seconds in times._asdict().items()})
    levers = {
        choice: seconds_per_network(steps[choice], card, launches_of(choice)) for choice in steps if choice != AS_IT_IS
    }
    levers |= {title: seconds_per_network(ours, card, launches) for title, launches in LAUNCHES.items()}
    bias = max(0.0, levers[NOT_FROZEN] - alone) if NOT_FROZEN in levers else 0.0
    run = run_seconds(recipe, card, alone, alone + bias)
    per_group = {
        group.title: seconds_per_network(program, card, launches_of_group(group)) for group, program in groups.items()
    }
    per_hour = {title: 3600 / run_seconds(recipe, card, step, step + bias) for title, step in per_group.items()}
    record = {
        "step": {
            "seconds": alone,
            "bound": sum(share * bound(one.kernels, one.products, card) for share, one in ours),
            "parts": dict(parts),
        },
        "run": {"seconds": run},
        "levers": levers,
        "groups": per_group,
        "networks_per_hour": {"sequential": 3600 / run, **per_hour},
        "constants": {one: constant._asdict() for one, constant in CONSTANTS.items()},
    }
    return record | compare_with_airbench(recipe, name, run)


def seconds_per_network(steps: Steps, card: Card, launches: Launches) -> float:
    """Return seconds of a step, divided among the networks that take it; interleaved ones overlap."""
    total = 0.0
    for share, one in steps:
        overlapped = one.interleaved and launches.side_by_side
        times = step_times(one.kernels, one.products, card, launches, overlapped=overlapped)
        total += share * times.total / one.members
    return total


def launches_of_group(group: Group) -> Launches:
    """Return how the kernels of several networks are launched."""
    return launches_of(group.variant) if group.launched is None else LAUNCHES[group.launched]


def launches_of(choice: str) -> Launches:
    """Return how a variant's kernels are launched, by the compiler's options."""
    variant = VARIANTS[choice]
    ours = compiler_options("gpu", variant.convolution or "native")
    options = ours if variant.compiler is None else variant.compiler
    captured = options.get("xla_gpu_enable_command_buffer")
    return Launches(
        graphs=captured != "",
        convolutions="CONVOLUTION" in str(captured),
        side_by_side=options.get("xla_gpu_command_buffer_scheduling_mode") == "CONCURRENT",
    )


def compare_with_airbench(recipe: Recipe, card: str, run: float) -> dict[str, Any]:
    """Return the same of airbench94_compiled, for the recipe that it is; nothing for others."""
    if recipe != get_recipe("94"):
        return {}
    step = value(f"{card} airbench94_compiled, a step")
    theirs = recipe.total_steps * step + value("airbench94_compiled, the rest")
    return {
        "airbench94_compiled": {"step": step, "run": theirs, "networks_per_hour": 3600 / theirs},
        "ratio": run / theirs,
    }


def lines_of(record: dict[str, Any]) -> list[str]:
    """Return a record, for a terminal."""
    step = record["step"]
    lines = [
        f"predicted for {record['recipe']} on an {record['card'].upper()}; nothing is measured",
        f"a step {1e3 * step['seconds']:.2f} ms, every kernel at its bound {1e3 * step['bound']:.2f}",
        f"a training {record['run']['seconds']:.2f} s",
    ]
    lines += [f"{1e3 * seconds:6.2f} ms  {choice}" for choice, seconds in record["levers"].items()]
    return lines + [f"{rate:6.0f} an hour  {title}" for title, rate in record["networks_per_hour"].items()]
