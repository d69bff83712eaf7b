"""The worked studies of docs/studies, from sweeps: their numbers as a line of studies.jsonl, and their figures.

    python -m airjax.sweep benchmarks/plans/variance.toml --out DIR --workers 2
    python -m benchmarks.studies variance DIR --keep

and the same with `attribution`. The sweep's folder says which data it was made on, and where that lay; --data-dir names
another place. Line and figures go to runs/benchmarks, with --keep to benchmarks/results and docs/studies.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from airjax.cli.console import run_main
from airjax.data import DataError, Dataset
from airjax.report.drawing import render_figure
from airjax.stats.datamodels import (
    Datamodels,
    column_correlations,
    fit_datamodels,
    inclusion,
    margins,
    predict_outputs,
)
from airjax.stats.variance import (
    calibration_error,
    count_votes,
    disagreement,
    reliability,
    run_interval,
    run_variance,
)
from airjax.sweep.find_data import find_data
from airjax.sweep.plan import subset_of
from airjax.sweep.store import Results, ResultsError, load, read_plan
from airjax.training.environment import describe
from airjax.utils.records import dump_json
from benchmarks import study_figures
from benchmarks.record import RESULTS, add_output_options, save

FIGURES = Path(__file__).parent.parent / "docs" / "studies"
HELD_OUT = 100  # networks of the attribution study that its models are not fitted to
SHUFFLES = 200
SHOWN = 5  # test images whose training images are shown: the best predicted ones of so many classes


def main(arguments: list[str]) -> int:
    """Analyse a sweep, draw its figures, and save the line. Returns an exit code."""
    parser = argparse.ArgumentParser("python -m benchmarks.studies", description="The numbers of a worked study.")
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("sweep", type=Path, metavar="DIR")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--figures", type=Path, help="where the figures go")
    add_output_options(parser)
    options = parser.parse_args(arguments)
    try:
        results, plan = load(options.sweep).only(error=None), read_plan(options.sweep)
        source = plan.get("data", {}).get("cifar10")
        data = find_data("cifar10", source, options.data_dir)
    except (ResultsError, DataError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if len(results.rows) < plan["num_runs"]:
        print(f"error: {len(results.rows)} of {plan['num_runs']} networks are finished", file=sys.stderr)
        return 1
    record, figures = STUDIES[options.study](results, plan, data)
    folder = options.figures or (FIGURES if options.results == RESULTS else options.results)
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        (folder / f"{options.study}-{name}.png").write_bytes(render_figure(figure, "png"))
    head = {"study": options.study, "n": len(results.rows), "recipe": plan["recipes"][0]}
    record = head | record | {"seconds_per_network": float(np.median([row["seconds"] for row in results.rows]))}
    content = {"data": data.name, "content": source["content"] if source else data.content}
    save(options.results, "studies.jsonl", record | describe() | content)
    print(dump_json(record, indent=2))
    return 0


def study_variance(results: Results, plan: dict[str, Any], data: Dataset) -> tuple[dict[str, Any], dict[str, Any]]:
    """After Jordan 2023 (arXiv 2304.01910): what runs differ in, on this test set and on the test distribution."""
    predictions = results.array("predictions")
    labels = data.test_labels[: predictions.shape[1]]
    correct = predictions == labels
    accuracy, count = 100 * correct.mean(1), correct.shape[1]
    found = run_variance(correct)
    halves = np.random.default_rng(0).permutation(count)
    first, second = (100 * correct[:, half].mean(1) for half in np.array_split(halves, 2))
    fractions = correct.mean(0)
    votes = count_votes(predictions)
    record = {
        "diverged": sum(row["diverged"] for row in results.rows),
        "mean": float(accuracy.mean()),
        "sd": float(accuracy.std(ddof=1)),
        "sd_interval": run_interval(lambda values: float(values.std(ddof=1)), accuracy),
        "range": [float(accuracy.min()), float(accuracy.max())],
        # What the spread would be if a run erred on one image independently of the others.
        "independent_sd": 100 * float(np.sqrt((fractions * (1 - fractions)).sum())) / count,
        "distribution_sd": 100 * found.distribution_sd,
        "distribution_variance": found.distribution,
        "distribution_variance_interval": run_interval(lambda values: run_variance(values).distribution, correct),
        "halves_correlation": float(np.corrcoef(first, second)[0, 1]),
        "halves_interval": run_interval(_correlation, np.stack([first, second], axis=1)),
        "error": float(1 - correct.mean()),
        "disagreement": disagreement(predictions),
        "calibration_error_10_bins": calibration_error(predictions, labels, 10),
        "vote_accuracy": 100 * float((votes.argmax(1) == labels).mean()),
        "always_right": float((fractions == 1).mean()),
        "always_wrong": float((fractions == 0).mean()),
    }
    figures = {
        "accuracies": study_figures.draw_accuracies(accuracy, record["independent_sd"]),
        "halves": study_figures.draw_halves(first, second),
        "examples": study_figures.draw_fractions(fractions),
        "calibration": study_figures.draw_calibration(reliability(votes, labels, 10)),
    }
    return record, figures


class Fitted(NamedTuple):
    """Linear models of the test images' margins, and what they are judged by."""

    plain: Datamodels  # not told how many images of each class a subset has
    by_class: Datamodels  # of these numbers alone
    beyond: Datamodels  # of what these leave
    seen: np.ndarray  # bool [runs,pool], held-out networks last
    counts: np.ndarray  # [runs,l]: images of each class
    outputs: np.ndarray  # [runs,m]
    correlations: np.ndarray  # [m], with the held-out networks' margins


def study_attribution(results: Results, plan: dict[str, Any], data: Dataset) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fit linear models of the test images' margins, after Ilyas et al. 2022 (arXiv 2202.00622)."""
    (pool,) = plan["pools"].values()
    classes, labels = data.train_labels[:pool], data.test_labels[: results.array("logits").shape[1]]
    found = _fit(results, plan, classes, labels)
    # Single images' weights, on top of those of their class.
    models = found.beyond._replace(
        weights=found.beyond.weights + found.by_class.weights[classes],
        intercepts=found.beyond.intercepts + found.by_class.intercepts,
    )
    correlations = found.correlations
    same_class = classes[:, None] == labels
    weights = found.plain.weights - found.plain.weights.mean(0)
    record = {
        "accuracy": 100 * float(np.mean([row["accuracy"] for row in results.rows])),
        "fitted": len(found.seen) - HELD_OUT,
        "held_out": HELD_OUT,
        "training_images": pool,
        "subset": plan["recipes"][0]["train_examples"],
        "test_images": len(labels),
        "plain_penalty": found.plain.penalty,
        "plain_correlation": float(_held_out(found.plain, found.seen, found.outputs).mean()),
        "plain_left_out_correlation": float(found.plain.left_out_correlation.mean()),
        "class_counts_correlation": float(_held_out(found.by_class, found.counts, found.outputs).mean()),
        "penalty": models.penalty,
        "held_out_correlation": float(correlations.mean()),
        "held_out_correlation_quartiles": np.percentile(correlations, (25, 50, 75)).tolist(),
        **_beyond_classes(found),
        "weight_same_class": float(weights[same_class].mean()),
        "weight_other_class": float(weights[~same_class].mean()),
        "helpers_of_the_same_class": _fraction_of_class(weights, same_class),
    }
    best = np.argsort(-correlations)
    _, first_of_class = np.unique(labels[best], return_index=True)
    chosen = best[np.sort(first_of_class)[:SHOWN]]
    figures = {
        "correlations": study_figures.draw_correlations(correlations),
        "images": study_figures.draw_influences(models, chosen, correlations, data),
    }
    return record, figures


def _fit(results: Results, plan: dict[str, Any], classes: np.ndarray, labels: np.ndarray) -> Fitted:
    order = np.argsort([row["subset"] for row in results.rows])
    seen = inclusion(np.stack([subset_of(plan, row) for row in results.rows]), len(classes))[order]
    outputs = margins(results.array("logits"), labels)[order]
    # How many images of each class a subset has is chance as well, and says a lot: what do single images say beyond it?
    counts = seen @ np.eye(10)[classes]
    fitted = slice(None, -HELD_OUT)
    plain = fit_datamodels(seen[fitted], outputs[fitted])
    by_class = fit_datamodels(counts[fitted], outputs[fitted])
    beyond = fit_datamodels(seen[fitted], outputs[fitted] - predict_outputs(by_class, counts[fitted]))
    predicted = predict_outputs(beyond, seen[-HELD_OUT:]) + predict_outputs(by_class, counts[-HELD_OUT:])
    correlations = column_correlations(predicted, outputs[-HELD_OUT:])
    return Fitted(plain, by_class, beyond, seen, counts, outputs, correlations)


def _held_out(models: Datamodels, inputs: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    # [m]: how the models' predictions of the held-out networks go with what these did.
    return column_correlations(predict_outputs(models, inputs[-HELD_OUT:]), outputs[-HELD_OUT:])


def _beyond_classes(found: Fitted) -> dict[str, float]:
    unexplained = found.outputs[-HELD_OUT:] - predict_outputs(found.by_class, found.counts[-HELD_OUT:])
    predicted = predict_outputs(found.beyond, found.seen[-HELD_OUT:])
    correlations = column_correlations(predicted, unexplained)
    generator = np.random.default_rng(0)
    # What models of the same kind reach by chance: predictions compared with other networks' outputs.
    chance = [
        column_correlations(predicted, unexplained[generator.permutation(HELD_OUT)]).mean() for _ in range(SHUFFLES)
    ]
    return {
        "beyond_classes_correlation": float(correlations.mean()),
        "beyond_classes_positive": float((correlations > 0).mean()),
        "beyond_classes_chance_sd": float(np.std(chance)),
    }


def _correlation(pairs: np.ndarray) -> float:
    return float(np.corrcoef(pairs.T)[0, 1])


def _fraction_of_class(weights: np.ndarray, same_class: np.ndarray, count: int = 10) -> float:
    # Of the training images that help each test image most, how many are of its class.
    order = np.argsort(-weights, axis=0)[:count]
    return float(np.take_along_axis(same_class, order, axis=0).mean())


Study = Callable[[Results, dict[str, Any], Dataset], tuple[dict[str, Any], dict[str, Any]]]
STUDIES: dict[str, Study] = {"variance": study_variance, "attribution": study_attribution}

if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]), keep_running=True)
