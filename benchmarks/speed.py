"""airjax against PyTorch: one line in speed.jsonl for each comparison."""

import argparse
import os
import shlex
import sys
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from airjax.cli.stopping import exit_code_of
from airjax.data.dataset import CIFAR10_CLASSES, Dataset
from airjax.data.info import CIFAR10
from airjax.recipes.recipe import Recipe
from airjax.training.arrays import fit_recipe
from airjax.utils.records import dump_json
from benchmarks.record import save, save_block, without_output_options
from benchmarks.speed_options import ALLOCATORS, CHANGES, STEPS, changed_recipe, make_parser, parse_implementations
from parity.environment import Device, default_device, describe, describe_data
from parity.timing import ImplementationName, TimedWork, require_precision
from parity.worker import WorkerError

FILE = "speed.jsonl"


def main(task: str, arguments: list[str]) -> int:
    """Measure one kind of work, print the implementations, and save the record. Returns the exit code.

    Raises ValueError and DataError for bad input, WorkerError where every process fails.
    """
    from benchmarks.rounds import measure, summarise, total

    options = make_parser(task).parse_args(arguments)
    works, data = plan(task, options)
    header = make_header(options, works[0]) | data | make_origin(task, arguments, works[0].device)
    os.environ.update(ALLOCATORS[options.allocator])  # of the processes to come

    def show(number: int, implementation: ImplementationName, parts: dict[str, float]) -> None:
        name = "warm-up" if number < 0 else f"{number + 1}/{options.repeats}"
        print(f"{name:>9}  {implementation:9} {total(works[0], parts):.4g} s", flush=True)
        if number >= 0:
            block = {"round": number, "implementation": implementation, "parts": parts}
            save_block(options.results, task, header | block)

    measured, failed, interrupted = measure(works, options.repeats, options.warmups, show, options.seconds)
    for reason in failed.values():
        print(f"error: {reason}", file=sys.stderr)
    if not measured:
        raise WorkerError("every process failed; nothing is measured")
    record = {"benchmark": task} | header | summarise(works[0], measured) | {"failed": failed}
    return finish_comparison(record | {"warmups": options.warmups}, options, interrupted)


def make_header(options: argparse.Namespace, work: TimedWork) -> dict[str, Any]:
    """Return what a comparison is of, as every block and the record say it; the precision is the one asked for."""
    return {
        "recipe": options.recipe,
        "changed": {name: getattr(options, name) for name in CHANGES if getattr(options, name) is not None},
        "batch_size": work.recipe.batch_size,
        "precision": work.recipe.precision,
        "allocator": options.allocator,
        "steps": work.steps if work.task == "step" else None,
    }


def make_origin(command: str, arguments: list[str], device: Device) -> dict[str, Any]:
    """Return where a comparison is made and a name for it, before anything is measured; warns of other work.

    Later another commit may be there. Raises ValueError if there is no such device.
    """
    return {
        "run": uuid.uuid4().hex,
        "command": command_line(command, arguments),
        "load": warn_of_load(),
        "platform": device,
        **describe(device),
    }


def warn_of_load() -> float:
    """Return the number of processes that wanted a core over the last minute; warns where others would disturb."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > cores / 2:
        print(
            f"warning: {load:.1f} processes on {cores} cores already; PyTorch's threads wait for each other and lose "
            "more by that than XLA's, so that the ratio flatters airjax",
            file=sys.stderr,
        )
    return load


def finish(record: dict[str, Any], options: argparse.Namespace) -> int:
    """Print a comparison and save it. Returns 1 where a process failed or the ratio is above --max-ratio, else 0."""
    for name, found in record["implementations"].items():
        low, high = found["quartiles"]
        rate = f", {found['mfu']:.0%} of the matrix rate" if "mfu" in found else ""
        print(
            f"{name:14} {found['median']:.4g} s (quartiles {low:.4g} to {high:.4g}, "
            f"minimum {found['minimum']:.4g}){rate}"
        )
    if "ratio" in record:
        interval = record["interval95"]
        spread = f"95%: {interval[0]:.3f} to {interval[1]:.3f}" if interval else "too few rounds for an interval"
        print(
            f"airjax takes {record['ratio']:.3f} of the time of {record['best_torch']} ({spread}; "
            f"p = {record['p']:.2g}: {record['verdict']})"
        )
    save(options.results, FILE, record)
    if options.json:
        print(dump_json(record), flush=True)
    if record.get("failed") or "ratio" not in record:
        return 1
    if options.max_ratio is not None and record["ratio"] > options.max_ratio:
        print(f"error: the ratio {record['ratio']:.3f} is above --max-ratio {options.max_ratio:g}", file=sys.stderr)
        return 1
    return 0


def finish_comparison(
    record: dict[str, Any], options: argparse.Namespace, interrupted: KeyboardInterrupt | None
) -> int:
    """Finish a comparison, or what an interruption has left of it. Returns the exit code."""
    code = finish(record if interrupted is None else record | {"interrupted": True}, options)
    if interrupted is None:
        return code
    print(f"interrupted; {record['repeats']} complete rounds are kept", file=sys.stderr)
    return exit_code_of(interrupted)


def plan(task: Any, options: argparse.Namespace) -> tuple[list[TimedWork], dict[str, str]]:
    """Return the same work for airjax and every implementation that it is compared with, and what the record says of
    its data.

    Raises ValueError and DataError.
    """
    for name, least in (("repeats", 1), ("warmups", 0), ("steps", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise ValueError(f"{name} is {value}, but it must be at least {least}")
    device: Device = options.device or default_device()
    recipe = changed_recipe(options)
    if task == "run":
        from airjax.data import load_data

        data = load_data(options.data, options.data_dir)
        described = describe_data(data)
        recipe = fit_recipe(recipe, data)
        data = data.head(recipe.train_examples, recipe.test_examples)
    else:
        data = make_noise(recipe)
        described = describe_data(data)
    autocast = device == "cpu" and recipe.precision == "bfloat16" and task != "augment"  # which no network computes
    others = parse_implementations(options.against, autocast=autocast)
    implementations: tuple[ImplementationName, ...] = ("airjax", *others)
    works = [
        TimedWork(task, implementation, recipe, data, device, options.steps or STEPS[device])
        for implementation in implementations
    ]
    for work in works:
        require_precision(work)
    return works, described


def make_noise(recipe: Recipe) -> Dataset:
    """Random pixels and labels, as many as the recipe uses: what they show makes no difference to the time."""
    generator = np.random.default_rng(0)

    def split(count: int) -> tuple[np.ndarray, np.ndarray]:
        return generator.integers(0, 256, (count, 32, 32, 3), np.uint8), generator.integers(0, 10, count, np.int32)

    parts = *split(recipe.train_examples), *split(recipe.test_examples)
    return Dataset("noise", *parts, CIFAR10_CLASSES, CIFAR10)


def command_line(command: str, arguments: list[str]) -> str:
    """Return the command that repeats a measurement, without what only concerns its output or this machine's disk."""
    told = without_output_options(arguments)
    anywhere = [_name_place(before, argument) for before, argument in zip(["", *told], told, strict=False)]
    return shlex.join(["python", "-m", "benchmarks", command, *anywhere])


def _name_place(before: str, argument: str) -> str:
    option, assigned, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    if before == "--data-dir" or (assigned and option == "--data-dir"):
        value = "DATA"
    return option + assigned + (Path(value).name if Path(value).is_absolute() else value)
