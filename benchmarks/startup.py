"""From a fresh process to the first step: imports, compilation with and without a cache on disk, a step."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from typing import Any, get_args

from benchmarks.children import bound
from benchmarks.speed import command_line, finish, warn_of_load
from benchmarks.speed_options import add_comparison_options, changed_recipe
from benchmarks.verdict import compare, spread
from parity.environment import Device, default_device, describe
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

    The ratio is that of the starts without a cache. Raises WorkerError where a process fails.
    """
    options = make_parser().parse_args(arguments)
    if options.repeats < 1:
        raise ValueError(f"repeats is {options.repeats}, but it must be at least 1")
    device, recipe, load = options.device or default_device(), changed_recipe(options), warn_of_load()
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in STARTS}
    for number in range(options.repeats):
        with tempfile.TemporaryDirectory() as folder:
            # The cached start of an implementation comes after its other one, which fills the cache.
            for name, (implementation, _) in STARTS.items():
                found[name].append(start(implementation, json.dumps(recipe.to_dict()), device, folder))
                seconds = sum(found[name][-1]["seconds"].values())
                print(f"{number + 1}/{options.repeats}  {name:16} {seconds:.4g} s", flush=True)
    record = {
        "benchmark": "compile",
        "recipe": options.recipe,
        "changed": {} if options.batch_size is None else {"batch_size": options.batch_size},
        "batch_size": recipe.batch_size,
        **summarise(found),
        "repeats": options.repeats,
        "command": command_line("compile", arguments),
        "load": load,
        "platform": device,
        **describe(device),
    }
    return finish(record, options)


def summarise(found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return the medians of every start, and the ratio of airjax's to the faster of PyTorch's, all without a cache."""
    totals = {name: [sum(one["seconds"].values()) for one in each] for name, each in found.items()}
    implementations = {
        name: spread(totals[name])
        | {
            "parts": {part: spread([one["seconds"][part] for one in each])["median"] for part in each[0]["seconds"]},
            "peak_bytes": max(one["peak_bytes"] for one in each),
        }
        for name, each in found.items()
    }
    best = min(("eager", "compiled"), key=lambda name: implementations[name]["median"])
    return {
        "airjax": implementations["airjax"]["median"],
        "torch": implementations[best]["median"],
        **compare(totals["airjax"], totals[best])._asdict(),
        "best_torch": best,
        "implementations": implementations,
    }


def make_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks compile", description="From a fresh process to the first step, airjax and PyTorch."
    )
    parser.add_argument("--recipe", default="94", metavar="NAME")
    parser.add_argument("--batch-size", type=int, metavar="N")
    parser.add_argument("--device", choices=get_args(Device))
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="processes of each start")
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
