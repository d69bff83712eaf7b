"""Does this device train right? Its first losses, compared with a CPU's in float32: one line of losses.jsonl.

The same seed and images; each device in a process of its own. In float32 the first loss agrees to rounding, which
the following steps amplify; in the recipe's own precision the losses agree to that of half precision.
"""

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from airjax.cli.console import run_main
from airjax.recipes.published import get_recipe
from airjax.recipes.recipe import Recipe
from airjax.utils.records import dump_json
from benchmarks.children import bound
from benchmarks.record import add_output_options, save
from parity.environment import describe_apart
from parity.worker import WorkerError

FILE = "losses.jsonl"
SEED = 0
ALLOWED = {"float32": 0.01, "auto": 0.05}  # largest relative difference of a loss from a CPU's in float32


def main(arguments: list[str]) -> int:
    """Compare, print, and save the line. Returns 0 where all losses agree, else 1."""
    parser = argparse.ArgumentParser("python -m benchmarks.losses", description="The first losses of a training.")
    parser.add_argument("--recipe", default="94", metavar="NAME")
    parser.add_argument("--steps", type=int, default=20, metavar="N")
    parser.add_argument("--one", choices=tuple(ALLOWED), help=argparse.SUPPRESS)
    add_output_options(parser)
    options = parser.parse_args(arguments)
    if options.steps < 1:
        parser.error("--steps must be at least 1")
    if options.one:
        print(dump_json(first_losses(cut(get_recipe(options.recipe), options.steps), options.one)))
        return 0
    command, where = ["--recipe", options.recipe, "--steps", str(options.steps)], describe_apart()
    expected = in_process(command, "float32", {"JAX_PLATFORMS": "cpu"})
    found: dict[str, list[float | None]] = {}
    failed: dict[str, str] = {}
    for precision in ALLOWED:
        try:
            found[precision] = in_process(command, precision, {})
        except WorkerError as error:  # which a wrong device may well do
            failed[precision] = str(error)
            print(f"error: {error}", file=sys.stderr)
    differences = {name: difference(losses, expected) for name, losses in found.items()}
    wrong = [name for name in ALLOWED if name in failed or not differences[name] <= ALLOWED[name]]
    for name, value in differences.items():
        verdict = "differs" if name in wrong else "agrees"
        print(f"{name:8} {verdict}: by at most {value:.2g} of a loss, {ALLOWED[name]:g} allowed")
    record = {"recipe": options.recipe, "n": options.steps, "differences": differences, "allowed": ALLOWED}
    record |= {"cpu": expected, "losses": found, "failed": failed, "passed": not wrong}
    save(options.results, FILE, record | where)
    return 1 if wrong else 0


def cut(recipe: Recipe, steps: int) -> Recipe:
    """Return the recipe on so few images and epochs that it takes `steps` steps; its batches stay as large."""
    examples = min(recipe.train_examples, 10 * recipe.batch_size)
    test = min(recipe.test_examples, 100)
    return recipe.override(
        train_examples=examples, test_examples=test, epochs=steps / (examples // recipe.batch_size), tta_level=0
    )


def first_losses(recipe: Recipe, precision: Any) -> list[float]:
    """Return the mean loss of every step of a training on this process's device, on the synthetic images."""
    from airjax.data.builtin import load_builtin
    from airjax.training.loop import train

    data = load_builtin(recipe.train_examples, recipe.test_examples)
    return train(recipe.override(precision=precision), data, SEED).metrics.loss.tolist()


def in_process(command: list[str], precision: str, environment: dict[str, str]) -> list[float | None]:
    """first_losses in a process of its own. Raises WorkerError where it fails."""
    line = [sys.executable, "-m", "benchmarks.losses", *command, "--one", precision]
    done = subprocess.run(bound(line), env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise WorkerError(f"the training in {precision} ended with code {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def difference(losses: Sequence[float | None], expected: Sequence[float | None]) -> float:
    """Return the largest relative difference: infinite where a loss is not finite, which JSON has as null."""
    pairs = zip(losses, expected, strict=True)
    return max(math.inf if a is None or b is None else abs(a - b) / abs(b) for a, b in pairs)


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]))
