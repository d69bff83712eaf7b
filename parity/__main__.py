"""The command line: python -m parity numerical | statistical | tree | report | export | import."""

import argparse
import sys
from pathlib import Path
from typing import Any

from airjax.cli.console import keep_running, run_main
from airjax.data.dataset import DataError
from airjax.kernels.convolution import default_convolution
from airjax.recipes.published import get_recipe
from airjax.recipes.recipe import Recipe
from airjax.training.checkpoint import ModelError
from airjax.utils.extras import MissingExtraError, import_extra
from airjax.utils.records import dump_json
from airjax.utils.seeds import check_seed
from parity.command_line import make_parser
from parity.environment import cores, default_device, describe, describe_data, use_cores

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_OPEN, EXIT_INTERRUPTED = 0, 1, 2, 3, 130
# What a command needs beyond airjax itself, and the extra that installs it; --help needs none.
NEEDED = {
    "numerical": [("torch", "parity")],
    "statistical": [("torch", "parity"), ("statsmodels", "report")],
    "tree": [("torch", "parity"), ("statsmodels", "report"), ("cv2", "imagenet")],
    "report": [("statsmodels", "report"), ("matplotlib", "report"), ("jinja2", "report")],
    "export": [("torch", "parity")],
    "import": [("torch", "parity")],
}
EXIT_CODES = {"equivalent": EXIT_OK, "different": EXIT_FAILED, "diverged": EXIT_FAILED, "open": EXIT_OPEN}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0: it holds. 1: a check fails, the distributions differ, or a process broke. 2: bad usage or input. 3: the study
    does not decide. 130: interrupted.
    """
    options = make_parser().parse_args(arguments)
    try:
        for package, extra in NEEDED[options.command]:
            import_extra(package, extra, f"python -m parity {options.command}")
        if options.command == "numerical":
            return _numerical(options)
        if options.command == "statistical":
            return _statistical(options)
        if options.command == "tree":
            return _tree(options)
        if options.command == "report":
            return _report(options)
        from parity.convert import export_model, import_model

        if options.command == "export":
            export_model(options.model, options.state)
        else:
            import_model(options.state, options.model, _import_recipe(options))
    except (DataError, MissingExtraError, ModelError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    return EXIT_OK


def _numerical(options: argparse.Namespace) -> int:
    import torch

    from parity import numerical

    if options.seeds < 1:
        raise ValueError(f"--seeds is {options.seeds}; at least one is needed")
    seeds = tuple(check_seed(options.seed + number) for number in range(options.seeds))
    if options.threads is not None:
        use_cores(options.threads)
    # The suite's arrays are small: a second thread costs PyTorch more than it gives.
    torch.set_num_threads(options.threads or 1)
    reference = _reference(options.against)
    recipes = numerical.recipe_names(reference, tuple(options.recipe) if options.recipe else None)
    unknown = set(options.check or ()) - set(numerical.CHECK_NAMES)
    if unknown:
        raise ValueError(f"unknown check {', '.join(sorted(unknown))}; there are {', '.join(numerical.CHECK_NAMES)}")
    data = numerical.load_dataset(options.data, options.data_dir)
    order = " in shuffled order" if data.content == "shuffled" else ""
    print(f"airjax against {reference.name}, images of {data.name}{order}\n{numerical.HEADER}")
    result = numerical.run_suite(
        reference,
        numerical.first_images(data),
        recipes=recipes,
        checks=tuple(options.check or numerical.CHECK_NAMES),
        seeds=seeds,
        on_step=lambda part: print(*map(numerical.format_row, part.rows), sep="\n", flush=True),
    )
    failed = [f"{row.check} ({row.recipe}, {row.precision})" for row in result.rows if not row.passed]
    count = len(result.comparisons)
    print(f"failed: {', '.join(failed)}" if failed else f"all {len(result.rows)} checks hold, {count} arrays compared")
    if options.json:
        threads = {"torch": torch.get_num_threads(), "jax": cores()}
        how = {"convolution": default_convolution("float32", "cpu"), "threads": threads, "environment": describe("cpu")}
        print(dump_json(numerical.to_json(result) | describe_data(data) | how))
    return 0 if result.passed else 1


def _statistical(options: argparse.Namespace) -> int:
    from airjax.data import load_data
    from parity.statistical import plan_study, run_study
    from parity.study import load_study
    from parity.verdict import analyse
    from parity.worker import WorkerError

    changes = {name: value for field in options.set for name, value in field.items()}
    recipe = get_recipe(options.recipe).override(**changes)
    if options.precision:
        recipe = recipe.override(precision=options.precision)
    data = load_data(options.data, options.data_dir)
    keep_running()
    file = options.out or Path(f"parity-{options.recipe}-{options.reference}.jsonl")
    plan = plan_study(
        options.recipe,
        recipe,
        data,
        runs=options.runs,
        margin=options.margin,
        reference=options.reference,
        device=options.device or default_device(),
    )
    print(f"{options.recipe} on {data.name}, {options.runs} networks of each framework, recorded in {file}", flush=True)
    try:
        study = run_study(file, plan, recipe, data, _print_run)
    except KeyboardInterrupt:
        print(
            f"interrupted; {len(load_study(file).runs)} networks are in {file}, rerunning the same command resumes",
            file=sys.stderr,
        )
        return EXIT_INTERRUPTED
    except WorkerError as error:
        print(f"error: {error}; {len(load_study(file).runs)} networks are kept in {file}", file=sys.stderr)
        return EXIT_FAILED
    result = analyse(study)
    _print_tables(result)
    print(result["sentence"])
    if options.json:
        print(dump_json(result))
    return EXIT_CODES[result["verdict"]]


def _tree(options: argparse.Namespace) -> int:
    from airjax.stream.tree import open_tree
    from parity import tree_training

    if options.epochs <= 0 or options.seeds < 1:
        raise ValueError(f"epochs is {options.epochs} and seeds {options.seeds}, but both must be positive")
    tree, recipe, learned = open_tree(options.tree), tree_training.small_recipe(options.epochs), []
    for seed in range(options.seeds):
        for learn in (tree_training.learn_in_airjax, tree_training.learn_in_torch):
            done = learn(recipe, tree, seed, options.workers)
            learned.append(done)
            print(
                f"{done.framework:8} seed {seed}: accuracy {done.accuracy:.2%}, loss {done.losses[0]:.4f} at first and "
                f"{done.losses[-1]:.4f} at last, {done.seconds:.1f} s",
                flush=True,
            )
    if options.json:
        record = tree_training.describe(learned, tree)
        print(dump_json(record | {"epochs": recipe.epochs, "environment": describe("cpu")}))
    return EXIT_OK


def _print_run(progress: Any) -> None:
    run = progress.record
    accuracy = "diverged" if run["diverged"] else f"{run['accuracy']:.2%}"
    seconds = sum(run["seconds"].values())
    print(
        f"{progress.done:6}/{progress.total}  {run['framework']:7} {run['seed']:5}  {accuracy}  {seconds:.1f} s",
        flush=True,
    )


def _print_tables(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from parity.tables import network_table, power_sentence, test_table

    console = Console()
    tables = [network_table(result)]
    if "means" in result:
        tables.append(test_table(result))
    for found in tables:
        table = Table(*found.heads, box=None, pad_edge=False)
        for row in found.rows:
            table.add_row(*row)
        console.print(table, "", highlight=False, markup=False)
    if "means" in result:
        console.print(power_sentence(result), "", highlight=False, markup=False)


def _report(options: argparse.Namespace) -> int:
    from parity.report import write_report

    write_report(options.study, options.suite, options.out)
    print(f"wrote {options.out}")
    return EXIT_OK


def _reference(name: str):
    if name == "reference":
        from parity.torch_implementation import OWN

        return OWN
    from parity.upstream import make_implementation

    return make_implementation()


def _import_recipe(options: argparse.Namespace) -> Recipe:
    return get_recipe(options.recipe).override(precision="float32")


if __name__ == "__main__":
    run_main(main)
