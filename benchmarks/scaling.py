"""Does the cost grow in proportion? Seconds against epochs, training examples and networks, and straight lines."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from airjax.data.dataset import Dataset
from airjax.recipes.recipe import Recipe
from airjax.training.arrays import fit_recipe
from airjax.utils.records import dump_json
from benchmarks.record import add_output_options, save
from benchmarks.speed import command_line, warn_of_load
from parity.environment import describe_data

FILE = "scaling.jsonl"
FRACTIONS = (0.25, 0.5, 0.75, 1.0)  # of the recipe's epochs and training examples
COUNTS = (1, 2, 3, 4)  # networks


def main(arguments: list[str]) -> int:
    """Measure the three curves, print their lines, and keep the record. Returns the exit code."""
    from airjax.data import load_data
    from airjax.recipes.published import get_recipe
    from airjax.training.environment import describe

    options = make_parser().parse_args(arguments)
    if options.repeats < 1:
        raise ValueError(f"repeats is {options.repeats}, but it must be at least 1")
    whole, load = get_recipe(options.recipe), warn_of_load()
    if options.epochs is not None:
        whole = whole.override(epochs=options.epochs)
    data = load_data(options.data, options.data_dir)
    whole, where = fit_recipe(whole, data), describe()  # later another commit may be there
    curves = measure_curves(whole, data, options.repeats)
    for name, curve in curves.items():
        fit = f"{curve['slope']:.4g} s each, {curve['intercept']:+.3g} s in any case, R² {curve['r_squared']:.4f}"
        print(f"{name:15} {fit}")
    record = {
        "recipe": options.recipe,
        "epochs": whole.epochs,
        "repeats": options.repeats,
        "curves": curves,
        **describe_data(data),
        "command": command_line("scaling", arguments),
        "load": load,
        **where,
    }
    save(options.results, FILE, record)
    if options.json:
        print(dump_json(record), flush=True)
    return 0


def measure_curves(whole: Recipe, data: Dataset, repeats: int) -> dict[str, dict[str, Any]]:
    """Measure the seconds of trainings by their epochs, by their examples, and of sequences by their networks."""
    from airjax.training.loop import train
    from airjax.training.many import run_many, seed_keys

    def one(seed: int, **changes: Any) -> dict[str, float]:
        return train(whole.override(**changes), data, seed).seconds

    def many(seed: int, count: int) -> dict[str, float]:
        keys = seed_keys(range(seed, seed + count))
        return run_many(whole, keys, data, strategy="sequential", progress=False).seconds

    epochs = [fraction * whole.epochs for fraction in FRACTIONS]
    sizes = [round(fraction * whole.train_examples) for fraction in FRACTIONS]
    return {
        "epochs": measure(epochs, lambda x, s: one(s, epochs=x), repeats),
        "train_examples": measure(sizes, lambda x, s: one(s, train_examples=x), repeats),
        "networks": measure(COUNTS, lambda x, s: many(s, x), repeats),
    }


def make_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = argparse.ArgumentParser("python -m benchmarks scaling", description="Cost against epochs, data and seeds.")
    parser.add_argument("--recipe", default="mini", metavar="NAME")
    parser.add_argument("--epochs", type=float, metavar="E", help="the longest training, if not the recipe's")
    parser.add_argument("--repeats", type=int, default=3, metavar="N")
    parser.add_argument("--data", choices=("auto", "cifar10", "synthetic", "builtin"), default="auto")
    parser.add_argument("--data-dir", type=Path, help="where CIFAR-10 lies; the default is AIRJAX_DATA")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    add_output_options(parser)
    return parser


def measure(points: Any, work: Callable[[Any, int], dict[str, float]], repeats: int) -> dict[str, Any]:
    """Median seconds of work(point, seed) at each point, without compilation, and the straight line through them."""
    seconds = np.empty((repeats, len(points)))
    for seed in range(-1, repeats):  # the first time does not count
        for place, point in enumerate(points):
            parts = work(point, seed + 1)
            if seed >= 0:
                seconds[seed, place] = sum(parts[part] for part in ("whiten", "train", "evaluate"))
    return fit_line(list(points), np.median(seconds, axis=0).tolist())


def fit_line(x: list[float], y: list[float]) -> dict[str, Any]:
    """Return the least-squares line through points, and the fraction of the variance of y that it explains."""
    from scipy.stats import linregress

    slope, intercept, correlation = np.asarray(linregress(x, y))[:3]
    return {
        "x": x,
        "seconds": y,
        "slope": float(slope),
        "intercept": float(intercept),
        "r_squared": float(correlation) ** 2,
    }
