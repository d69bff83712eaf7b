"""From a fresh process to the first step: imports, compilation with and without a cache on disk, a step."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any, get_args

from airjax.recipes.recipe import Recipe
from benchmarks.children import bound
from benchmarks.record import save_block
from benchmarks.rounds import complete
from benchmarks.speed import finish_comparison, make_origin
from benchmarks.speed_options import add_comparison_options, changed_recipe
from benchmarks.verdict import compare_with_best, spread
from parity.environment import Device, default_device
from parity.worker import WorkerError

# name: (implementation, whether it finds what an earlier process compiled). PyTorch without torch.compile has no cache.
STARTS = {
    "airjax": ("airjax", False),
    "airjax, cached": ("airjax", True),
    "eager": ("eager", False),
    "compiled": ("compiled", False),
    "compiled, cached": ("compiled", True),
}


def main(arguments: list[str]) -> int:
    """Measure every start in turn, print them, and save the record in speed.jsonl. Returns the exit code.

    The ratio is that of the starts without a cache. A start that fails is left out from then on, with its reason.
    Raises WorkerError where all of them fail.
    """
    options = make_parser().parse_args(arguments)
    if options.repeats < 1:
        raise ValueError(f"repeats is {options.repeats}, but it must be at least 1")
    device, recipe = options.device or default_device(), changed_recipe(options)
    header = {
        "recipe": options.recipe,
        "changed": {} if options.batch_size is None else {"batch_size": options.batch_size},
        "batch_size": recipe.batch_size,
        "precision": recipe.precision,
        **make_origin("compile", arguments, device),
    }
    found, failed, interrupted = measure(recipe, device, options, header)
    for reason in dict.fromkeys(failed.values()):
        print(f"error: {reason}", file=sys.stderr)
    if not found:
        raise WorkerError("every process failed; nothing is measured")
    record = {"benchmark": "compile"} | header | summarise(found) | {"failed": failed}
    return finish_comparison(record, options, interrupted)


def measure(
    recipe: Recipe, device: Device, options: argparse.Namespace, header: dict[str, Any]
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, str], KeyboardInterrupt | None]:
    """Return what every start that lasted has told, in complete rounds, why the others failed, and what ended it early.

    Every start is saved as a block. Raises KeyboardInterrupt where it is interrupted before a round is complete.
    """
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in STARTS}
    failed: dict[str, str] = {}
    interrupted = None
    try:
        for number in range(options.repeats):
            for name, told in _start_in_turn(json.dumps(recipe.to_dict()), device, failed):
                found[name].append(told)
                save_block(options.results, "compile", header | {"round": number, "start": name, **told})
                print(f"{number + 1}/{options.repeats}  {name:16} {seconds_of(told):.4g} s", flush=True)
    except KeyboardInterrupt as interrupt:
        interrupted = interrupt
    lasted = complete({name: done for name, done in found.items() if name not in failed})
    if interrupted is not None and not any(lasted.values()):
        raise interrupted
    return lasted, failed, interrupted


def _start_in_turn(recipe: str, device: Device, failed: dict[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    # Every start that has not failed, and what it told; enters those that fail.
    with tempfile.TemporaryDirectory() as folder:
        # The cached start of an implementation comes after its other one, which fills the cache.
        for name, (implementation, cached) in STARTS.items():
            if name in failed:
                continue
            try:
                yield name, start(implementation, recipe, device, folder)
            except WorkerError as error:
                # Where it should have filled the cache, there is none to be found.
                ended = [name] if cached else [each for each, (whose, _) in STARTS.items() if whose == implementation]
                failed.update(dict.fromkeys(ended, str(error)))


def seconds_of(told: dict[str, Any]) -> float:
    """Return the seconds of all parts of a start."""
    return sum(told["seconds"].values())


def summarise(found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return the medians of every start, and the ratio of airjax's to the faster of PyTorch's, all without a cache.

    Where airjax's or all of PyTorch's are missing, there is no ratio.
    """
    totals = {name: [seconds_of(one) for one in each] for name, each in found.items()}
    implementations = {
        name: spread(totals[name])
        | {
            "parts": {part: spread([one["seconds"][part] for one in each])["median"] for part in each[0]["seconds"]},
            "peak_bytes": max(one["peak_bytes"] for one in each),
        }
        for name, each in found.items()
    }
    compared = compare_with_best(totals, ("eager", "compiled"))
    told = found["airjax"][-1] if "airjax" in found else {}
    return compared | {
        "repeats": max(map(len, found.values())),
        "implementations": implementations,
        **{name: told.get(name) for name in ("convolution", "settings")},
    }


def make_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks compile", description="From a fresh process to the first step, airjax and PyTorch."
    )
    parser.add_argument("--recipe", default="94", metavar="NAME")
    parser.add_argument("--batch-size", type=int, metavar="N")
    parser.add_argument("--device", choices=get_args(Device))
    parser.add_argument("--repeats", type=int, default=6, metavar="N", help="processes of each start")
    add_comparison_options(parser)
    return parser


def start(implementation: str, recipe: str, device: str, folder: str) -> dict[str, Any]:
    """Return seconds of the parts and peak memory of one fresh process, whose compilers keep their caches in the
    folder.
    """
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": f"{folder}/jax",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "TORCHINDUCTOR_CACHE_DIR": f"{folder}/torch",
        "TF_CPP_MIN_LOG_LEVEL": "3",  # XLA writes pages about the features of the CPU that a program was cached on
    }
    command = [sys.executable, "-m", "benchmarks.first_step", implementation, recipe, device]
    done = subprocess.run(bound(command), env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise WorkerError(f"the {implementation} process ended with code {done.returncode} before its first step")
    return json.loads(done.stdout.splitlines()[-1])
