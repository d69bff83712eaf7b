"""Networks per hour of every strategy to train many, at several group sizes.

`python -m benchmarks.seeds --recipe mini` measures, each combination in a process of its own, and appends a line for
each to seeds.jsonl; `--against torch` adds PyTorch's trainings, one after another. `python -m benchmarks.seeds
--table` then writes the fastest of each group size, and one after another, into airjax/training/strategies.jsonl, from
which `--strategy auto` chooses.
"""

import argparse
import itertools
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from airjax.cli.console import run_main
from airjax.data import DataError, Dataset, load_data
from airjax.recipes.published import get_recipe
from airjax.recipes.recipe import Recipe
from airjax.utils.records import dump_json, read_lines
from benchmarks.children import bound
from benchmarks.record import RESULTS, add_output_options, save, without_output_options
from benchmarks.speed_tables import last_groups
from parity.environment import describe_data

FILE = "seeds.jsonl"
TABLE = Path(__file__).parent.parent / "airjax" / "training" / "strategies.jsonl"
SIZES = (1, 2, 4, 8, 16)
EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2
ALONE = ("sequential", "eager", "compiled")  # one after another: the same whatever their number
COLUMNS = ("device", "recipe", "strategy", "members", "networks_per_hour")


def main(arguments: list[str]) -> int:
    """Measure, or write the table. Returns an exit code."""
    from airjax.training.members import STRATEGIES
    from benchmarks.speed_options import parse_implementations

    choices = STRATEGIES + ALONE[1:] if "--one" in arguments else STRATEGIES
    parser = argparse.ArgumentParser("python -m benchmarks.seeds", description="Networks per hour of every strategy.")
    parser.add_argument("--recipe", default="mini")
    parser.add_argument("--strategy", action="append", choices=choices, help="only this; may be repeated")
    parser.add_argument("--members", action="append", type=int, help=f"only this many; the default is {SIZES}")
    parser.add_argument(
        "--only", action="append", type=parse_group, metavar="STRATEGY:K", help="only this strategy with K networks"
    )
    parser.add_argument("--epochs", type=float, help="cut the trainings short; the rate is extrapolated by the steps")
    parser.add_argument(
        "--networks", type=int, default=4, help="train this many or more, after the group that compiles"
    )
    parser.add_argument("--against", metavar="NAMES", help="also eager, compiled, or torch, which is both")
    parser.add_argument("--data", default="auto")
    parser.add_argument("--data-dir")
    parser.add_argument("--table", action="store_true", help="write the table from what was measured")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON: all rows")
    add_output_options(parser)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.networks < 1 or min(options.members or [1]) < 1:
        parser.error("--networks and --members must be at least 1")
    implementations = parse_implementations(options.against) if options.against else ()
    if any(implementation.startswith("airbench") for implementation in implementations):
        parser.error("--against takes torch, eager and compiled; the released package is compared by `benchmarks run`")
    if options.table:
        write_table()
        return EXIT_OK
    if options.one:
        print(dump_json(measure(options)))
        return EXIT_OK
    try:
        load(options)  # before anything is measured
    except (ValueError, DataError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    records, sizes, failed = [], options.members or SIZES, 0
    for strategy, members in options.only or groups_of((*(options.strategy or STRATEGIES), *implementations), sizes):
        command = [*without_output_options(arguments), "--one", "--strategy", strategy, "--members", str(members)]
        # A new process each: its peak memory is its own.
        command = bound([sys.executable, "-m", "benchmarks.seeds", *command])
        done = subprocess.run(command, check=False, text=True, stdout=subprocess.PIPE)
        if done.returncode:
            print(f"error: {strategy} with {members} members failed with code {done.returncode}", file=sys.stderr)
            failed += 1
            continue
        record = json.loads(done.stdout.splitlines()[-1])
        print(f"{strategy:12} {members:3} members  {record['networks_per_hour']:9.1f} networks per hour", flush=True)
        save(options.results, FILE, record)
        records.append(record)
    if options.json:
        print(dump_json({"rows": records}), flush=True)
    return EXIT_FAILED if failed else EXIT_OK


def load(options: argparse.Namespace) -> tuple[Recipe, Dataset]:
    """Return the whole recipe and the data set that are asked for. Raises ValueError and DataError."""
    return get_recipe(options.recipe), load_data(options.data, options.data_dir)


def groups_of(strategies: Sequence[str], sizes: Sequence[int]) -> list[tuple[str, int]]:
    """Return every strategy with every number of networks; those that train one after another with the least alone."""
    pairs = itertools.product(sizes, strategies)
    return [(strategy, size) for size, strategy in pairs if strategy not in ALONE or size == min(sizes)]


def parse_group(text: str) -> tuple[str, int]:
    """Return a strategy and a number of networks, as in "interleaved:4". Raises ArgumentTypeError for anything else."""
    from airjax.training.members import STRATEGIES

    strategy, _, members = text.partition(":")
    if strategy not in STRATEGIES or not members.isdecimal() or int(members) < 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no strategy with a number of networks from 1, such as interleaved:4; strategies are "
            f"{', '.join(STRATEGIES)}"
        )
    return strategy, int(members)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Train a group that compiles, and then as many as make --networks: medians of those."""
    whole, data = load(options)
    recipe = whole if options.epochs is None else whole.override(epochs=options.epochs)
    strategy, count = options.strategy[-1], options.members[-1]
    repeats = math.ceil(options.networks / count)
    if strategy in ("eager", "compiled"):
        count, repeats = 1, options.networks
        groups, told = train_torch(strategy, recipe, data, repeats)
    else:
        groups, told = train_groups(strategy, recipe, data, count, repeats)
    seconds = {part: statistics.median(group[part] for group in groups) for part in ("whiten", "train", "evaluate")}
    # Steps that were left out take as long as those that were not.
    of_all = sum(seconds.values()) + seconds["train"] * (whole.total_steps / recipe.total_steps - 1)
    return {
        "recipe": options.recipe,
        "strategy": strategy,
        "members": count,
        "n": repeats,
        "networks_per_hour": 3600 * count / of_all,
        "epochs": recipe.epochs,
        "seconds": seconds,
        **describe_data(data),
        **told,
    }


def train_groups(
    strategy: Any, recipe: Recipe, data: Dataset, count: int, repeats: int
) -> tuple[list[dict[str, float]], dict[str, Any]]:
    """Return seconds of each of `repeats` groups of `count` networks in airjax, and what to tell beside them."""
    from airjax.training.environment import describe
    from airjax.training.many import run_many, seed_keys
    from benchmarks.work import peak_bytes

    where = describe()  # before anything is measured: later another commit may be there
    first, *rest = (
        run_many(recipe, seed_keys(range(i * count, (i + 1) * count)), data, strategy=strategy, progress=False)
        for i in range(repeats + 1)
    )
    told = {"group": rest[-1].group, "compile_seconds": first.seconds["compile"], "peak_bytes": peak_bytes()}
    return [done.seconds for done in rest], told | where


def train_torch(
    implementation: Any, recipe: Recipe, data: Dataset, repeats: int
) -> tuple[list[dict[str, float]], dict[str, Any]]:
    """Return the same of single networks in PyTorch."""
    from parity import speed
    from parity.environment import default_device, describe
    from parity.timing import TimedWork

    device, data = default_device(), data.head(recipe.train_examples, recipe.test_examples)
    where = describe(device)
    ready = speed.prepare(TimedWork("run", implementation, recipe, data, device, steps=1))
    _, *groups = (ready.block(seed) for seed in range(repeats + 1))
    told = {"group": 1, "compile_seconds": ready.compile_seconds, "peak_bytes": speed.peak_bytes(device)}
    return groups, told | {"platform": device} | where


def rank(row: dict[str, Any]) -> tuple[bool, float]:
    """Return what decides between two rows: CIFAR-10 in its official order before other images, then the rate."""
    return (row["data"], row.get("content")) == ("cifar10", "official"), row["networks_per_hour"]


def write_table() -> None:
    """Write the fastest strategy of each device, recipe and group size, as measured last, and one after another.

    A strategy that has become slower is slower: its best time of earlier versions does not count.
    """
    best: dict[tuple[Any, ...], dict[str, Any]] = {}
    lines = [row for row in read_lines(RESULTS / FILE) if row["strategy"] not in ALONE[1:]]
    for row in last_groups(lines).values():
        place = (row["device"], row["recipe"], row["members"], row["strategy"] == "sequential")
        if place not in best or rank(row) > rank(best[place]):
            best[place] = row
    rows = [dump_json({name: row[name] for name in COLUMNS}) for _, row in sorted(best.items())]
    TABLE.write_text("".join(f"{row}\n" for row in rows))


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]), keep_running=True)
