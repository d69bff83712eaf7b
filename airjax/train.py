"""The command line: python -m airjax.train --target 94."""

import dataclasses
import json
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np

from airjax.console import run_main
from airjax.data import DataError, DataName, Dataset, load_data
from airjax.driver import DivergedError, TrainedRun, keep_compiled, train
from airjax.members import Strategy
from airjax.recipe import CLAIMS, RECIPES, Recipe, get_recipe
from airjax.records import append_line, dump_json, read_lines, write_json
from airjax.seeds import run_many, seed_keys
from airjax.stats import mean_interval, target_verdict
from airjax.strategy import choose_strategy

Target = Literal["94", "95", "96"]

EXIT_OK, EXIT_FAILURE, EXIT_USAGE, EXIT_BELOW_TARGET, EXIT_INTERRUPTED = 0, 1, 2, 3, 130


FEW_STEPS = 8  # over which the losses at the beginning and end of a run are averaged


class UsageError(Exception):
    """A wrong argument or input; the message names it and the remedy."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Train CIFAR-10 networks to a target accuracy."""

    method: Recipe
    target: Target | None = None
    """Test accuracy to reach, in percent; also chooses the recipe unless --recipe does."""
    recipe: str | None = None
    """Recipe to train: 94, 95, 96, 96-paper, mini or tiny (python -m airjax.recipe). Default: the target's, or 94."""
    seeds: int = 1
    """Number of networks to train."""
    seed: int = 0
    """Seed of the first network; the others follow it."""
    strategy: Literal["auto", Strategy] = "auto"
    """How several networks are trained (docs/seeds.md). auto: the way that was measured to be the fastest here."""
    group: int | None = None
    """Networks in memory at once, for strategies other than sequential. Default: what was measured, or all of them."""
    data: DataName = "auto"
    """cifar10; builtin, a procedural set made on the spot; auto, which is cifar10 where it can be had."""
    data_dir: Path | None = None
    """Where CIFAR-10 is: its binary or python folder, either archive, or a folder with one of these."""
    out: Path | None = None
    """Folder for runs.jsonl, recipe.json, environment.json and model-SEED.safetensors; seeds already there are kept."""
    json: bool = False
    """End standard output with one line of JSON."""
    quiet: bool = False
    """Print only the result."""
    validate_epochs: bool = True
    """Evaluate without test-time augmentation after every epoch, outside the clock (not with --quiet)."""
    require_target: bool = False
    """Exit with code 3 if the mean accuracy is below the target, or could not be held against it."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 trained, 1 failure, 2 bad usage or input, 3 below the target."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        options, name = parse(arguments)
        return run(options, name)
    except (UsageError, DataError) as error:
        return _fail(error, EXIT_USAGE)
    except ArithmeticError as error:
        return _fail(error, EXIT_FAILURE)
    except OSError as error:
        return _fail(f"{error.filename or 'input/output'}: {error.strerror or error}", EXIT_FAILURE)


def parse(arguments: list[str]) -> tuple[Options, str]:
    """Options and the recipe's name. The recipe is looked up first, so that --help shows its numbers as defaults."""
    import argparse

    import tyro

    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--recipe")
    first.add_argument("--target", choices=get_args(Target))
    try:
        chosen, _ = first.parse_known_args(arguments)
        name = chosen.recipe or chosen.target or "94"
        method = get_recipe(name)
    except (argparse.ArgumentError, ValueError) as error:
        raise UsageError(error) from error
    parser = tyro.conf.OmitArgPrefixes[Annotated[Options, tyro.conf.arg(name="")]]
    try:
        options = tyro.cli(parser, args=arguments, default=Options(method), prog="python -m airjax.train")
    except ValueError as error:
        raise UsageError(error) from error
    if options.seeds < 1:
        raise UsageError(f"seeds is {options.seeds}, but at least 1 network must be trained")
    if options.group is not None and options.group < 1:
        raise UsageError(f"group is {options.group}, but at least 1 network must be trained at once")
    if not 0 <= options.seed <= 2**32 - options.seeds:
        raise UsageError(f"seed is {options.seed}, but it must be in [0, {2**32 - options.seeds}]")
    return options, name


def run(options: Options, name: str) -> int:
    """Train as the options say; print and save the results."""
    from rich.console import Console

    from airjax.checkpoint import Model, save_model
    from airjax.display import Display
    from airjax.environment import describe
    from airjax.precision import resolve_precision

    keep_compiled()
    with _collected_warnings() as notes:
        dataset = load_data(options.data, options.data_dir)
    for note in notes:
        print(f"warning: {note}", file=sys.stderr)
    try:
        recipe = resolve_precision(options.method.fit_to(len(dataset.train_images), len(dataset.test_images)))
        environment = describe()
    except ValueError as error:
        raise UsageError(error) from error
    seeds = range(options.seed, options.seed + options.seeds)
    records = _open_folder(options.out, name, recipe, dataset, environment) if options.out else {}
    interrupted = False
    with Display(Console(), quiet=options.quiet) as display:
        device = environment["device"]
        display.line(
            f"recipe {name}, {recipe.total_steps} steps, {recipe.num_params:,} parameters, {dataset.name}, {device}"
        )
        display.headings()
        try:
            for seed in sorted(set(records) & set(seeds)):
                display.line(f"seed {seed}: accuracy {records[seed]['accuracy']:.4f}, kept from {options.out}")
            missing = [seed for seed in seeds if seed not in records]
            for trained in _trainings(options, recipe, dataset, missing, display):
                records[trained.seed] = _record(trained)
                if options.out:
                    model = Model(trained.recipe, trained.variables, dataset.classes)
                    save_model(options.out / f"model-{trained.seed}.safetensors", model)
                    append_line(options.out / "runs.jsonl", records[trained.seed])
                display.run(trained)
        except KeyboardInterrupt:
            interrupted = True
    done = [records[seed] for seed in seeds if seed in records]
    if interrupted:
        kept = f"; those are in {options.out}, and the same command goes on from there" if options.out and done else ""
        print(f"interrupted after {len(done)} of {options.seeds} networks{kept}", file=sys.stderr)
    if not done:
        return EXIT_INTERRUPTED
    summary = summarize_runs(options, name, recipe, dataset, done, notes) | describe()
    print(_sentence(summary))
    if options.json:
        print(dump_json(summary), flush=True)
    if interrupted:
        return EXIT_INTERRUPTED
    met = summary["target_met"] in ("confirmed", "mean")
    return EXIT_BELOW_TARGET if options.require_target and not met else EXIT_OK


def _trainings(
    options: Options, recipe: Recipe, dataset: Dataset, seeds: list[int], display: Any
) -> Iterator[TrainedRun]:
    # One after another, each with its table of epochs; or several at once, without.
    strategy, group = options.strategy, options.group
    if strategy == "auto":
        strategy, measured = choose_strategy(recipe, max(1, len(seeds)))
        group = group or measured
    if strategy == "sequential":
        for seed in seeds:
            display.begin(recipe, seed)
            yield train(
                recipe,
                dataset,
                seed,
                validate=options.validate_epochs and not options.quiet,
                on_step=display.step,
                on_epoch=display.epoch,
            )
        return
    remaining = seeds
    while remaining:
        part = remaining[: group or len(remaining)]
        done = run_many(recipe, seed_keys(part), dataset, strategy=strategy, group=group, keep_variables=True)
        runs = done.runs(part)
        yield from (run for run, diverged in zip(runs, done.diverged, strict=True) if not diverged)
        for run, diverged in zip(runs, done.diverged, strict=True):
            if diverged:
                raise DivergedError(recipe, run.seed, int(np.argmin(np.isfinite(run.metrics.loss))))
        # What fitted into memory this time is what the next ones try.
        remaining, group = remaining[len(part) :], done.group


def summarize_runs(
    options: Options, name: str, recipe: Recipe, dataset: Dataset, runs: list[dict[str, Any]], notes: list[str]
) -> dict[str, Any]:
    """The result of several runs as one record: what --json prints, but for the environment."""
    accuracies = [run["accuracy"] for run in runs]
    target = int(options.target) / 100 if options.target else CLAIMS[name].target
    whole_test_set = dataset.name == "cifar10" and recipe.test_examples == 10_000
    known_sd = CLAIMS[name].expected_sd
    changed = {field: value for field, value in recipe.to_dict().items() if value != RECIPES[name].to_dict()[field]}
    return {
        "recipe": name,
        "changed": changed,
        "dataset": dataset.name,
        "dataset_sha256": dataset.fingerprint,
        "seeds": [run["seed"] for run in runs],
        "accuracy": accuracies,
        "mean": float(np.mean(accuracies)),
        "sd": float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None,
        "ci95": mean_interval(accuracies, whole=1.0),
        "target": target,
        "target_met": target_verdict(accuracies, target, known_sd) if whole_test_set and target else "not evaluated",
        **{name: float(np.mean([run[name] for run in runs])) for name in ("loss_of_first_steps", "loss_of_last_steps")},
        "seconds": {part: sum(run["seconds"][part] for run in runs) for part in runs[0]["seconds"]},
        "steps": recipe.total_steps,
        "params": recipe.num_params,
        "flops": recipe.flops,
        "warnings": notes,
    }


def _record(trained: Any) -> dict[str, Any]:
    losses, last_epoch = trained.metrics.loss, slice(-trained.recipe.steps_per_epoch, None)
    return {
        "seed": trained.seed,
        "accuracy": trained.accuracy,
        "train_loss": float(losses[last_epoch].mean()),
        "loss_of_first_steps": float(losses[:FEW_STEPS].mean()),
        "loss_of_last_steps": float(losses[-FEW_STEPS:].mean()),
        "train_accuracy": float(trained.metrics.accuracy[last_epoch].mean()),
        "steps": trained.recipe.total_steps,
        "seconds": trained.seconds,
    }


def _open_folder(
    out: Path, name: str, recipe: Recipe, dataset: Dataset, environment: dict[str, Any]
) -> dict[int, dict[str, Any]]:
    """Prepare --out before anything trains, and return the runs that it already holds, by seed."""
    described = {
        "name": name,
        "recipe": recipe.to_dict(),
        "dataset": dataset.name,
        "dataset_sha256": dataset.fingerprint,
    }
    described = json.loads(json.dumps(described))
    file = out / "recipe.json"
    try:
        out.mkdir(parents=True, exist_ok=True)
        if file.exists() and json.loads(file.read_text()) != described:
            raise UsageError(f"{out} holds runs of another recipe or data set (see {file}); choose another --out")
        write_json(file, described)
        write_json(out / "environment.json", environment)
    except ValueError as error:
        raise UsageError(f"{file} is damaged ({error}); remove it or choose another --out") from error
    except OSError as error:
        raise UsageError(f"cannot write to --out {out}: {error.strerror or error}") from error
    return {record["seed"]: record for record in read_lines(out / "runs.jsonl") if "seed" in record}


def _sentence(summary: dict[str, Any]) -> str:
    count = len(summary["seeds"])
    text = f"{summary['recipe']} on {summary['dataset']}: accuracy {summary['mean']:.2%}"
    if summary["ci95"]:
        low, high = summary["ci95"]
        text += f" (mean of {count}; 95% interval {low:.2%} to {high:.2%}; sd {summary['sd']:.2%})"
    else:
        text += " (one network)"
    if summary["target"]:
        text += f"; target {summary['target']:.0%}: {summary['target_met']}"
    if summary["dataset"] != "cifar10":
        text += f". This is the {summary['dataset']} data set, not CIFAR-10"
    return text


@contextmanager
def _collected_warnings() -> Iterator[list[str]]:
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield notes
    notes += [str(warning.message) for warning in caught]


def _fail(error: object, code: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    run_main(main, keep_running=True)
