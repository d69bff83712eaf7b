"""The result of a training: one record for each network, one for all of them, and the sentence that people read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from airjax.cli.train_folder import describe_differences
from airjax.data import Dataset
from airjax.data.dataset import SYNTHETIC
from airjax.data.registry import REGISTRY
from airjax.recipes.published import CLAIMS, changed_fields, expected_on_cifar10
from airjax.recipes.recipe import Recipe
from airjax.stats.intervals import TargetVerdict, mean_interval, target_verdict
from airjax.stream.tree import Tree
from airjax.training.loop import TrainedRun
from airjax.utils.records import read_lines

FEW_STEPS = 8  # over which the losses at the beginning and end of a run are averaged
TEST_IMAGES = 10_000  # of CIFAR-10: a target is an accuracy on all of them

# Of a checkout; an installed package has none.
MEASURED = Path(__file__).parents[2] / "benchmarks" / "results" / "accuracy.jsonl"


def record_run(trained: TrainedRun, batches_of: int | None = None) -> dict[str, Any]:
    """Return what is kept of one network. Accuracies are in [0, 1], as in all records.

    batches_of is the seed on whose batches it learned, where that is another network's.
    """
    losses, last_epoch = trained.metrics.loss, slice(-trained.recipe.steps_per_epoch, None)
    crops = [crop._asdict() for crop in trained.test_crops]
    some = {"plain_accuracy": trained.plain_accuracy, "test_crops": crops, "batches_of": batches_of}
    return {
        "seed": trained.seed,
        "accuracy": trained.accuracy,
        "train_loss": float(losses[last_epoch].mean()),
        "loss_of_first_steps": float(losses[:FEW_STEPS].mean()),
        "loss_of_last_steps": float(losses[-FEW_STEPS:].mean()),
        "train_accuracy": float(trained.metrics.accuracy[last_epoch].mean()),
        "steps": trained.recipe.total_steps,
        "seconds": trained.seconds,
    } | {name: value for name, value in some.items() if value not in ([], None)}


def summarize_runs(
    name: str,
    recipe: Recipe,
    dataset: Dataset | Tree,
    runs: Sequence[dict[str, Any]],
    *,
    diverged: Sequence[int] = (),
    target: float | None = None,
    measured: Path = MEASURED,
) -> dict[str, Any]:
    """Return the result of several networks as one record: what --json prints, but for warnings and environment.

    Args:
        name: the recipe's, whose claim the accuracies are compared with.
        recipe: the recipe as it was trained.
        dataset: what it was trained on.
        runs: records of networks, at least one.
        diverged: seeds of further networks that diverged. No mean counts them, and with any no target is judged.
        target: accuracy to reach, in [0, 1]; None is the recipe's own.
        measured: the log of accuracies that were reached before, for data sets that the recipe claims nothing about.
    """
    accuracies = [run["accuracy"] for run in runs]
    target = CLAIMS[name].target if target is None else target
    changed = changed_fields(name, recipe)
    verdict: TargetVerdict = "not evaluated"
    if target is not None and is_whole_test_set(recipe, dataset) and not diverged:
        verdict = target_verdict(accuracies, target, CLAIMS[name].expected_sd)
    return {
        "recipe": name,
        "changed": changed,
        "dataset": dataset.name,
        "labels": dataset.labels,
        "content": dataset.content,
        "dataset_sha256": dataset.fingerprint,
        "split": dataset.split,
        "classes": recipe.inputs.num_classes,
        "channels": recipe.inputs.channels,
        "image_size": recipe.inputs.image_size,
        "resized": dataset.resized,
        "seeds": [run["seed"] for run in runs],
        "diverged": list(diverged),
        "accuracy": accuracies,
        "mean": float(np.mean(accuracies)),
        "sd": float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None,
        "ci95": mean_interval(accuracies, whole=1.0),
        "expected": expected_accuracy(name, changed, dataset, measured),
        "target": target,
        "target_met": verdict,
        **{part: float(np.mean([run[part] for run in runs])) for part in ("loss_of_first_steps", "loss_of_last_steps")},
        "seconds": {part: sum(run["seconds"][part] for run in runs) for part in runs[0]["seconds"]},
        "steps": recipe.total_steps,
        "params": recipe.num_params,
        "flops": recipe.flops,
    } | ({"test_crops": _mean_crops(runs)} if all("test_crops" in run for run in runs) else {})


def _mean_crops(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    # Of every test crop, the means over the networks.
    several = zip(*(run["test_crops"] for run in runs), strict=True)
    return [{name: float(np.mean([crop[name] for crop in crops])) for name in crops[0]} for crops in several]


def is_whole_test_set(recipe: Recipe, dataset: Dataset | Tree) -> bool:
    """Say whether a recipe is tested on all test images of CIFAR-10, in whichever order, not on validation images."""
    known = dataset.name == "cifar10" and dataset.split == "test" and dataset.content in ("official", "shuffled")
    return known and recipe.test_examples == TEST_IMAGES


def expected_accuracy(
    name: str, changed: dict[str, Any], dataset: Dataset | Tree, measured: Path = MEASURED
) -> float | None:
    """Mean accuracy that a recipe is known to reach on this data; None where it was changed, or nobody measured it.

    On CIFAR-10 it is the recipe's claim, where that holds for the order of the images; else, as on other data, the last
    line of `measured` for the same recipe and pixels.
    """
    if set(changed) - {"precision"}:
        return None
    on_cifar10 = dataset.name == "cifar10" and dataset.split == "test"
    if on_cifar10 and (known := expected_on_cifar10(name, dataset.content)) is not None:
        return known
    for line in reversed(read_lines(measured)):
        same = (line.get("recipe"), line.get("dataset_sha256")) == (name, dataset.fingerprint)
        if same and not set(line["changed"]) - {"precision"}:
            return line["mean"]
    return None


def describe_result(summary: dict[str, Any]) -> str:
    """Return the result as a sentence, with accuracies in percent."""
    count = len(summary["seeds"])
    content = ", shuffled" if summary["content"] == "shuffled" else ""
    split = ", validation images" if summary["split"] == "validation" else ""
    text = f"{summary['recipe']} on {summary['dataset']}{content}{split}: accuracy {summary['mean']:.2%}"
    if summary["ci95"]:
        low, high = summary["ci95"]
        text += f" (mean of {count}; 95% interval {low:.2%} to {high:.2%}; sd {summary['sd']:.2%})"
    else:
        text += " (one network)"
    if summary["diverged"]:
        text += f"; without {len(summary['diverged'])} that diverged"
    if summary["expected"] is not None:
        text += f"; expected {summary['expected']:.2%}"
    if summary["target"]:
        text += f"; target {summary['target']:.0%}: {summary['target_met']}"
    if summary.get("mixed"):
        text += f"; networks of different environments ({describe_differences(summary['mixed'])})"
    for crop in summary.get("test_crops", [])[1:]:
        text += f"; {crop['tta_accuracy']:.2%} on the test crop of {crop['size']:g} pixels"
    return text + _describe_data(summary)


def _describe_data(summary: dict[str, Any]) -> str:
    name, text = summary["dataset"], ""
    if name == SYNTHETIC:
        text = "This is the synthetic dataset, not CIFAR-10 (--data-dir DIR names a copy of that)"
    elif summary.get("labels"):
        text = f"Its labels are {summary['labels']}, not CIFAR-10's own: no target applies to them"
    elif name in REGISTRY and name != "cifar10":
        text = f"A target is an accuracy on CIFAR-10: none applies to {name}"
    elif name != "cifar10" or summary["content"] == "unknown":
        text = "This is data of your own, not CIFAR-10: no target applies to it"
    elif summary["split"] == "validation":
        text = "Validation images are for tuning: a target is judged on the test images only"
    elif summary["target"] and summary["target_met"] == "not evaluated":
        text = f"A target is judged on all {TEST_IMAGES:,} test images only"
    return f". {text}" if text else ""
