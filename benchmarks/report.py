"""What was measured, for readers: tables in README.md and docs/ and the roofline plot, from results/*.jsonl alone."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from airjax.training.members import STRATEGIES
from airjax.training.strategy import best_of
from airjax.utils.records import read_lines, write_atomically
from benchmarks.ablation import VARIANTS
from benchmarks.record import RESULTS
from benchmarks.speed import FILE

ROOT = Path(__file__).parent.parent
PLOT = "docs/roofline.svg"
BEGIN, END = "<!-- python -m benchmarks report writes {} from here -->", "<!-- to here -->"
NAMES = {
    "step": "a training step",
    "run": "a whole training",
    "evaluate": "the test set, with test-time augmentation",
    "augment": "the images of an epoch",
    "compile": "from a fresh process to the first step",
}
ARMS = {
    "eager": "PyTorch",
    "compiled": "torch.compile",
    "airbench": "airbench",
    "airbench-compiled": "airbench, compiled",
}


def main(arguments: list[str]) -> int:
    """Write the tables between their markers, and the plot into docs/. Returns the exit code.

    Raises ValueError where a page lacks the markers; then nothing is written.
    """
    parser = argparse.ArgumentParser("python -m benchmarks report", description="The tables and the roofline.")
    parser.parse_args(arguments)
    written: dict[str, bytes] = {page: render(page).encode() for page in PAGES}
    rows = plotted(latest(results(FILE)))
    if rows:
        from benchmarks.roofline import draw

        written[PLOT] = draw(rows)
    for name, content in written.items():
        write_atomically(ROOT / name, content)
        print(f"wrote {name}")
    return 0


def results(file: str) -> list[dict[str, Any]]:
    """The lines of a file of results; none where there is no such file."""
    return read_lines(RESULTS / file) if (RESULTS / file).exists() else []


def render(page: str) -> str:
    """A page with the tables that its results make."""
    text = (ROOT / page).read_text()
    for name, table in TABLES.items():
        if table.page == page:
            text = insert(page, text, name, table.make(results(table.file)))
    return text


def latest(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last comparison of each device, work, recipe, change, allocator and order, in the order of NAMES."""
    found = {
        (r["device"], r["benchmark"], r["recipe"], str(sorted(r["changed"].items())), allocator(r), order_of(r)): r
        for r in records
        if "ratio" in r  # else an arm failed, and there was nothing to compare
    }
    names = list(NAMES)
    return sorted(
        found.values(),
        key=lambda r: (r["device"], r["recipe"], names.index(r["benchmark"]), allocator(r), order_of(r)),
    )


def order_of(record: dict[str, Any]) -> str:
    """That a record was made on a shuffled copy of the images, for a row's name; nothing for all others."""
    return ", shuffled order" if record.get("content") == "shuffled" else ""


def official_last(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records in their order, but those of a shuffled copy first: of two for the same place the last one counts."""
    return sorted(records, key=lambda record: record.get("content") != "shuffled")


def allocator(record: dict[str, Any]) -> str:
    """What the processes' allocator was told to do, for a row's name."""
    return {"keep": ", memory kept", "huge": ", huge pages"}.get(record.get("allocator", "default"), "")


def speed_table(records: list[dict[str, Any]]) -> str:
    """airjax against PyTorch, a row for each kind of work."""
    rows = latest(records)
    if not rows:
        return "Not measured yet: each command of `python -m benchmarks` adds a row."
    lines = [
        "| | device | airjax | best PyTorch | airjax / PyTorch | of the matrix rate | peak memory | reproduced by |",
        "|-|-|-|-|-|-|-|-|",
    ]
    for row in rows:
        (low, high), ours = row["interval95"], row["arms"]["airjax"]
        share = f"{ours['mfu']:.0%}" if "mfu" in ours else ""
        best = row["best_torch"]
        memory = f"{gibibytes(ours)}, {gibibytes(row['arms'][best])}"
        lines.append(
            f"| {NAMES[row['benchmark']]}, {row['recipe']}{allocator(row)}{order_of(row)} | {row['device']} "
            f"| {row['airjax']:.3g} s | {row['torch']:.3g} s, {ARMS[best]} "
            f"| {row['ratio']:.2f} ({low:.2f} to {high:.2f}), {row['verdict']} | {share} | {memory} "
            f"| `{row['command']}` |"
        )
    if plotted(rows):
        lines += ["", "![Roofline](docs/roofline.svg)"]
    return "\n".join(lines)


def plotted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of which the compiler counted the memory traffic."""
    return [row for row in rows if row.get("traffic_bytes")]


def seeds_table(records: list[dict[str, Any]]) -> str:
    """Networks per hour of every way to train many, a column for each number of networks at once."""
    last = {(r["device"], r["recipe"], order_of(r), r["strategy"], r["members"]): r for r in records}
    blocks = []
    for device, recipe, order in sorted({key[:3] for key in last}):
        rows = {key[3:]: row for key, row in last.items() if key[:3] == (device, recipe, order)}
        sizes = sorted({members for _, members in rows})
        lines = [f"| {recipe}, {device}{order} | {' | '.join(map(str, sizes))} |", f"|-|{'-|' * len(sizes)}"]
        for strategy in (*STRATEGIES, *ARMS):
            if any((strategy, size) in rows for size in sizes):
                cells = [rate_and_memory(rows.get((strategy, size))) for size in sizes]
                lines.append(f"| {ARMS.get(strategy, f'`{strategy}`')} | {' | '.join(cells)} |")
        if not order or (device, recipe, "") not in {key[:3] for key in last}:
            strategy, members = best_of([row for row in rows.values() if row["strategy"] in STRATEGIES])
            lines += ["", f"`auto` takes `{strategy}`{f', {members} at once' if members else ''}."]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) or "Not measured yet: `python -m benchmarks seeds` does."


def rate_and_memory(row: dict[str, Any] | None) -> str:
    """Networks per hour and the process's peak memory."""
    return f"{row['networks_per_hour']:.0f} ({gibibytes(row)})" if row else ""


def gibibytes(measured: dict[str, Any]) -> str:
    """The peak memory of a process."""
    return f"{measured['peak_bytes'] / 2**30:.1f} GiB"


def ablation_table(records: list[dict[str, Any]]) -> str:
    """What a step takes with one choice undone, over the step as it is: a column for each recipe and device.

    Choices of which there is nothing left to undo are left out.
    """
    last: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for record in records:
        # A later record may have measured some of the choices only.
        column = last.setdefault((record["recipe"], record["device"]), {})
        column |= {
            name: {"n": record["n"]} | step for name, step in record["steps"].items() if step.get("ratio") is not None
        }
    if not last:
        return "Not measured yet: `python -m benchmarks.ablation` does."
    columns = list(last.values())
    lines = [f"| | {' | '.join(', '.join(key) for key in last)} |", f"|-|{'-|' * len(last)}"]
    for name in (name for name in VARIANTS if any(name in column for column in columns)):
        found = [column.get(name) for column in columns]
        if name == "as it is":
            cells = [f"{step['seconds']:.3g} s (n={step['n']})" if step else "" for step in found]
        else:
            cells = [f"{step['ratio']:.2f} (n={step['n']})" if step else "" for step in found]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def starts_table(records: list[dict[str, Any]]) -> str:
    """Seconds from a fresh process to the first step, and what they consist of."""
    rows = [row for row in latest(records) if row["benchmark"] == "compile"]
    if not rows:
        return "Not measured yet: `python -m benchmarks compile` does."
    parts = list(next(iter(rows[0]["arms"].values()))["parts"])
    lines = [f"| | total | {' | '.join(parts)} | peak memory |", f"|-|-|{'-|' * len(parts)}-|"]
    for row in rows:
        for name, arm in row["arms"].items():
            arm_name, _, cached = name.partition(",")
            seconds = " | ".join(f"{arm['parts'][part]:.2f} s" for part in parts)
            lines.append(
                f"| {row['recipe']}, {row['device']}: {ARMS.get(arm_name, arm_name)}{cached and ', cached'} "
                f"| {arm['median']:.1f} s (n={row['repeats']}) | {seconds} | {gibibytes(arm)} |"
            )
    return "\n".join(lines)


def scaling_table(records: list[dict[str, Any]]) -> str:
    """How cost grows: the measured points and the straight line through them."""
    last = {
        (r["device"], r["recipe"] + order_of(r), name): (r, curve)
        for r in records
        for name, curve in r["curves"].items()
    }
    if not last:
        return "Not measured yet: `python -m benchmarks scaling` does."
    lines = ["| | measured | straight line | R² |", "|-|-|-|-|"]
    for (device, recipe, name), (record, curve) in last.items():
        points = ", ".join(f"{x:g}: {seconds:.2f} s" for x, seconds in zip(curve["x"], curve["seconds"], strict=True))
        lines.append(
            f"| {name.replace('_', ' ')}, {recipe}, {device} | {points} (n={record['repeats']}) "
            f"| {curve['slope']:.3g} s each, {curve['intercept']:+.2g} s | {curve['r_squared']:.4f} |"
        )
    return "\n".join(lines)


def kernels_table(records: list[dict[str, Any]]) -> str:
    """What a GPU's compiler makes of a step: a row for each recipe as it is, and for each choice undone."""
    last: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for record in records:
        # A later record may have compiled some of the choices only.
        last.setdefault((record["recipe"], record["device"]), {}).update(record["variants"])
    if not last:
        return "Not measured yet: `python -m benchmarks kernels` does."
    lines = [
        "| | kernels | moved by convolutions | by the others | memory of the program |",
        "|-|-|-|-|-|",
    ]
    for (recipe, device), rows in last.items():
        for name in (name for name in VARIANTS if name in rows):
            row, title = rows[name], f"{recipe}, {device}" if name == "as it is" else name
            moved = f"{row['convolution_bytes'] / 2**20:.0f} MiB | {row['other_bytes'] / 2**20:.0f} MiB"
            lines.append(f"| {title} | {row['kernels']} | {moved} | {row['memory_bytes'] / 2**20:.0f} MiB |")
    return "\n".join(lines)


def profile_table(records: list[dict[str, Any]]) -> str:
    """Where a step's time goes: a column for each recipe and device, in shares of all operations' time."""
    last = {(r["recipe"], r["precision"], r["device"]): r for r in records}
    if not last:
        return "Not measured yet: `python -m benchmarks profile` does."
    lines = [f"| | {' | '.join(', '.join(key) for key in last)} |", f"|-|{'-|' * len(last)}"]
    columns = [{(row["part"], row["direction"]): row["seconds"] for row in r["parts"]} for r in last.values()]
    for part, direction in dict.fromkeys(key for column in columns for key in column):
        shares = [column.get((part, direction), 0.0) / sum(column.values()) for column in columns]
        if max(shares) >= 0.005:
            cells = " | ".join(f"{share:.1%}" for share in shares)
            lines.append(f"| {part}{direction and ', ' + direction} | {cells} |")
    lines.append(f"| seconds of all operations | {' | '.join(f'{sum(column.values()):.3g}' for column in columns)} |")
    return "\n".join(lines)


def ladder_table(records: list[dict[str, Any]]) -> str:
    """The worst of every check against both PyTorch implementations, and where and with what they were compared."""
    # Of the synthetic images only the list of runs below the table tells.
    ladders = [r for r in records if "rungs" in r and r["data"] == "cifar10"]
    last = {r["against"].split()[0]: r for r in official_last(ladders)}
    if set(last) != {"reference", "airbench"}:
        return "Not measured yet: `python -m benchmarks.parity numerical` does, also with `--against upstream`."
    lines = []
    listed = {(r["against"].split()[0], order_of(r)): r for r in ladders}
    for record in [*last.values(), *(r for key, r in listed.items() if key[1] and r not in last.values())]:
        where, rungs = record["environment"], record["rungs"]
        failed = sum(not row["passed"] for row in rungs)
        verdict = f"{failed} of {len(rungs)} rows FAIL" if failed else f"all {len(rungs)} rows hold"
        lines.append(
            f"Against {record['against']}: {verdict}, {sum(row['arrays'] for row in rungs):,} arrays; "
            f"{where['device']}, jax {where['versions']['jax']}, torch {where['versions']['torch']}, images of "
            f"{record['data']}{order_of(record)}."
        )
    lines += [
        "",
        "| check | precision | arrays | reference | of allowed | airbench | of allowed |",
        "|-|-|-|-|-|-|-|",
    ]
    found = {name: rungs_by_kind(record["rungs"]) for name, record in last.items()}
    for kind, rows in found["reference"].items():
        cells = [cell for name in ("reference", "airbench") for cell in worst_of(found[name].get(kind, []))]
        lines.append(f"| {' | '.join(kind)} | {sum(row['arrays'] for row in rows)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def parity_runs_table(records: list[dict[str, Any]]) -> str:
    """What the parity suite was run on, where and how: a row for each way, of which the last run counts."""
    runs: dict[tuple[str, ...], tuple[str, ...]] = {}
    for record in records:
        if "seeds" not in record:
            continue
        rungs, where = record["rungs"], record["environment"]
        images = record["data"] + ("" if record["data"] in ("synthetic", "builtin") else f", {record['content']} order")
        threads = f"{record['threads']['torch']} and {record['threads']['jax']}"
        how = (record["against"], images, ", ".join(map(str, record["seeds"])), record["convolution"], threads)
        failed = [f"{row['rung']} ({row['recipe']}, {row['precision']})" for row in rungs if not row["passed"]]
        arrays = f"{sum(row['arrays'] for row in rungs):,}"
        verdict = f"FAIL: {', '.join(failed)}" if failed else f"all {len(rungs)} rows hold"
        runs[(*how, where["device"])] = (arrays, verdict, record["date"])
    if not runs:
        return "Not measured yet: `python -m benchmarks.parity numerical` does."
    heads = ("against", "images", "seeds", "convolutions of airjax", "threads of PyTorch and JAX", "processor")
    lines = [f"| {' | '.join((*heads, 'arrays', 'verdict', 'date'))} |", "|-|-|-|-|-|-|-|-|-|"]
    return "\n".join([*lines, *(f"| {' | '.join((*how, *found))} |" for how, found in runs.items())])


def rungs_by_kind(rungs: list[dict[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The rows of the ladder by rung and precision: one for each recipe."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rungs:
        found.setdefault((row["rung"], row["precision"]), []).append(row)
    return found


def worst_of(rows: list[dict[str, Any]]) -> tuple[str, str]:
    """The largest relative difference of some rows, and the largest share of its tolerance that one of them takes."""
    if not rows:
        return "", ""
    shares = [row["absolute"] / row["allowed"] if row["absolute"] else 0.0 for row in rows]
    relative = max(row["relative"] for row in rows)
    return f"{relative:.0e}" if relative else "0", f"{max(shares):.0%}"


def forecast_table(records: list[dict[str, Any]]) -> str:
    """What many networks will take, from the best measured rate of each device and recipe."""
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for record in records:
        place = (record["device"], record["recipe"] + order_of(record))
        known = best.get(place, {"networks_per_hour": 0.0})
        if record["strategy"] in STRATEGIES and record["networks_per_hour"] > known["networks_per_hour"]:
            best[place] = record
    if not best:
        return "Not measured yet: `python -m benchmarks seeds` does."
    lines = [
        "| | networks per hour | 10,000 on one device | 3,000,000, device hours | on 1,000 devices |",
        "|-|-|-|-|-|",
    ]
    for (device, recipe), record in sorted(best.items()):
        rate = record["networks_per_hour"]
        lines.append(
            f"| {recipe}, {device} | {rate:.0f} | {10_000 / rate:.1f} hours | {3e6 / rate:,.0f} "
            f"| {3e3 / rate:.1f} hours |"
        )
    return "\n".join(lines)


class Table(NamedTuple):
    """A table that stands on a page between two markers."""

    page: str
    file: str  # in benchmarks/results
    make: Callable[[list[dict[str, Any]]], str]


TABLES = {
    "speed": Table("README.md", FILE, speed_table),
    "networks": Table("docs/seeds.md", "seeds.jsonl", seeds_table),
    "forecast": Table("docs/scale.md", "seeds.jsonl", forecast_table),
    "starts": Table("docs/performance.md", FILE, starts_table),
    "choices": Table("docs/performance.md", "ablation.jsonl", ablation_table),
    "profile": Table("docs/performance.md", "profile.jsonl", profile_table),
    "kernels": Table("docs/performance.md", "kernels.jsonl", kernels_table),
    "ladder": Table("docs/parity.md", "parity.jsonl", ladder_table),
    "parity-runs": Table("docs/parity.md", "parity.jsonl", parity_runs_table),
    "scaling": Table("docs/performance.md", "scaling.jsonl", scaling_table),
}
PAGES = tuple(dict.fromkeys(table.page for table in TABLES.values()))


def insert(page: str, text: str, name: str, content: str) -> str:
    """The page's text with content between the markers of a table. Raises ValueError where they are missing."""
    marker = BEGIN.format(name)
    before, begin, rest = text.partition(marker)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page} lacks the lines {marker!r} and {END!r}; put them where its table belongs")
    return f"{before}{marker}\n{content}\n{END}{after}"
