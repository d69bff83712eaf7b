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
from typing import Any

import numpy as np

from airjax.cli.console import run_main
from airjax.data import DataError, Dataset
from airjax.report.drawing import render_figure
from airjax.stats.datamodels import column_correlations, fit_datamodels, inclusion, margins, predict_outputs
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


def study_attribution(results: Results, plan: dict[str, Any], data: Dataset) -> tuple[dict[str, Any], dict[str, Any]]:
    """After Ilyas et al. 2022 (arXiv 2202.00622): linear models of the test images' margins."""
    (pool,) = plan["pools"].values()
    seen = inclusion(np.stack([subset_of(plan, row) for row in results.rows]), pool)
    logits = results.array("logits")
    labels = data.test_labels[: logits.shape[1]]
    outputs = margins(logits, labels)
    order = np.argsort([row["subset"] for row in results.rows])
    fitted, held_out = order[:-HELD_OUT], order[-HELD_OUT:]
    held_outputs = outputs[held_out]
    plain = fit_datamodels(seen[fitted], outputs[fitted])
    # How many images of each class a subset has is chance as well, and says a lot: what do single images say beyond it?
    classes = data.train_labels[:pool]
    counts = seen @ np.eye(10)[classes]
    by_class = fit_datamodels(counts[fitted], outputs[fitted])
    beyond = fit_datamodels(seen[fitted], outputs[fitted] - predict_outputs(by_class, counts[fitted]))
    models = beyond._replace(
        weights=beyond.weights + by_class.weights[classes], intercepts=beyond.intercepts + by_class.intercepts
    )
    correlations = column_correlations(predict_outputs(models, seen[held_out]), held_outputs)
    unexplained = held_outputs - predict_outputs(by_class, counts[held_out])
    predicted = predict_outputs(beyond, seen[held_out])
    beyond_correlations = column_correlations(predicted, unexplained)
    generator = np.random.default_rng(0)
    # What models of the same kind reach by chance: predictions compared with other networks' outputs.
    chance = [
        column_correlations(predicted, unexplained[generator.permutation(HELD_OUT)]).mean() for _ in range(SHUFFLES)
    ]
    same_class = classes[:, None] == labels
    weights = plain.weights - plain.weights.mean(0)  # of the model that has not been told the classes
    record = {
        "accuracy": 100 * float(np.mean([row["accuracy"] for row in results.rows])),
        "fitted": len(fitted),
        "held_out": HELD_OUT,
        "training_images": pool,
        "subset": plan["recipes"][0]["train_examples"],
        "test_images": len(labels),
        "plain_penalty": plain.penalty,
        "plain_correlation": float(column_correlations(predict_outputs(plain, seen[held_out]), held_outputs).mean()),
        "plain_left_out_correlation": float(plain.left_out_correlation.mean()),
        "class_counts_correlation": float(
            column_correlations(predict_outputs(by_class, counts[held_out]), held_outputs).mean()
        ),
        "penalty": models.penalty,
        "held_out_correlation": float(correlations.mean()),
        "held_out_correlation_quartiles": np.percentile(correlations, (25, 50, 75)).tolist(),
        "beyond_classes_correlation": float(beyond_correlations.mean()),
        "beyond_classes_positive": float((beyond_correlations > 0).mean()),
        "beyond_classes_chance_sd": float(np.std(chance)),
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
