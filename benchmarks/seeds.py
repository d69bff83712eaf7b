"""Networks per hour of every strategy to train many, at several group sizes.

`python -m benchmarks.seeds --recipe mini` measures, each combination in a process of its own, and appends a line for
each to results/seeds.jsonl. `python -m benchmarks.seeds --table` then writes the fastest of each group size into
airjax/strategies.jsonl, from which `--strategy auto` chooses.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS, keep

FILE = "seeds.jsonl"
TABLE = Path(__file__).parent.parent / "airjax" / "strategies.jsonl"
SIZES = (1, 2, 4, 8, 16)
COLUMNS = ("device", "recipe", "strategy", "members", "networks_per_hour")


def main(arguments: list[str]) -> int:
    """Measure, or write the table. Returns an exit code."""
    from airjax.members import STRATEGIES

    parser = argparse.ArgumentParser("python -m benchmarks.seeds", description="Networks per hour of every strategy.")
    parser.add_argument("--recipe", default="mini")
    parser.add_argument("--strategy", action="append", choices=STRATEGIES, help="only this; may be repeated")
    parser.add_argument("--members", action="append", type=int, help=f"only this many; the default is {SIZES}")
    parser.add_argument("--epochs", type=float, help="cut the trainings short; the rate is extrapolated by the steps")
    parser.add_argument("--data", default="auto")
    parser.add_argument("--data-dir")
    parser.add_argument("--table", action="store_true", help="write the table from what was measured")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON: all rows")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.table:
        write_table()
        return 0
    if options.one:
        print(json.dumps(measure(options)))
        return 0
    records = []
    for members in options.members or SIZES:
        for strategy in options.strategy or STRATEGIES:
            if strategy == "sequential" and members != min(options.members or SIZES):
                continue  # one after the other is the same whatever their number
            command = [*arguments, "--one", "--strategy", strategy, "--members", str(members)]
            # A new process each: its peak memory is its own.
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.seeds", *command], check=False, text=True, stdout=subprocess.PIPE
            )
            if done.returncode:
                print(f"{strategy} with {members} members failed with code {done.returncode}", file=sys.stderr)
                continue
            record = json.loads(done.stdout.splitlines()[-1])
            print(
                f"{strategy:12} {members:3} members  {record['networks_per_hour']:9.1f} networks per hour", flush=True
            )
            keep(FILE, record)
            records.append(record)
    if options.json:
        print(json.dumps({"rows": records}), flush=True)
    return 0


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Train one group twice, and time the second: the first compiles."""
    from dataclasses import replace

    from airjax.data import load_data
    from airjax.environment import describe
    from airjax.recipe import get_recipe
    from airjax.seeds import run_many, seed_keys
    from benchmarks.work import peak_bytes

    whole = get_recipe(options.recipe)
    recipe = whole if options.epochs is None else replace(whole, epochs=options.epochs)
    strategy, count = options.strategy[-1], options.members[-1]
    data = load_data(options.data, Path(options.data_dir) if options.data_dir else None)
    first, second = (run_many(recipe, seed_keys(range(s, s + count)), data, strategy=strategy) for s in (0, count))
    seconds = {part: second.seconds[part] for part in ("whiten", "train", "evaluate")}
    # Steps that were left out take as long as those that were not.
    of_all = sum(seconds.values()) + seconds["train"] * (whole.total_steps / recipe.total_steps - 1)
    return {
        "recipe": options.recipe,
        "strategy": strategy,
        "members": count,
        "group": second.group,
        "networks_per_hour": 3600 * count / of_all,
        "epochs": recipe.epochs,
        "seconds": seconds,
        "compile_seconds": first.seconds["compile"],
        "peak_bytes": peak_bytes(),
        "data": data.name,
        **describe(),
    }


def write_table() -> None:
    """Write the fastest measured strategy of each device, recipe and group size."""
    best: dict[tuple[Any, ...], dict[str, Any]] = {}
    for line in (RESULTS / FILE).read_text().splitlines():
        row = json.loads(line)
        place = (row["device"], row["recipe"], row["members"])
        if place not in best or row["networks_per_hour"] > best[place]["networks_per_hour"]:
            best[place] = row
    rows = [json.dumps({name: row[name] for name in COLUMNS}) for _, row in sorted(best.items())]
    TABLE.write_text("".join(f"{row}\n" for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
