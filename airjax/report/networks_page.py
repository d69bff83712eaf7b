"""Put what is known of a training's networks together into one page."""

from typing import Any

import numpy as np

from airjax.recipes.published import RECIPES, changed_fields
from airjax.report.augmented import augmented_strip
from airjax.report.charts import Spec
from airjax.report.figures import PAIRS, draw_accuracies, draw_curve, draw_gains, draw_stages, has_bands
from airjax.report.figures_classes import (
    describe_classes,
    draw_classes,
    draw_confusion,
    draw_difficulty,
    draw_reliability,
)
from airjax.report.networks import Networks, read_filters
from airjax.report.networks_texts import (
    accuracies_of,
    changed_table,
    command,
    facts,
    headline,
    mean_gain,
    runs_table,
    sentence,
    stage_seconds,
    whole_environment,
)
from airjax.report.page import Page, fill_page
from airjax.report.pictures import confident_mistakes, filter_pictures, hardest_pictures
from airjax.report.probabilities import confidence_reliability, expected_calibration_error, mean_probability
from airjax.report.summary import accuracies_by_class
from airjax.report.tables import environment_tables, pairs_table
from airjax.stats.variance import count_votes

FEWEST_FOR_DIFFICULTY = 3  # networks
CURVE_TITLES = {
    "train_accuracy": "training examples, augmented",
    "validation_accuracy": "test images",
    "tta_accuracy": "with test-time augmentation",
}


def render_networks(networks: Networks) -> Page:
    """Render the page of a folder of networks."""
    charts = draw_networks(networks)
    return fill_page("networks.html", _values(networks), charts)


def draw_networks(networks: Networks) -> dict[str, Spec]:
    """Draw all figures that there is something to draw of, by name."""
    drawn: dict[str, Spec] = {}
    curves = networks.curves
    if curves["train_loss"].size:
        grouped = networks.grouped
        drawn["loss"] = draw_curve(["loss"], [curves["train_loss"]], "training loss", ".3f", grouped=grouped)
        known = {name: curves[name] for name in CURVE_TITLES if not np.isnan(curves[name]).all()}
        titles = [CURVE_TITLES[name] for name in known]
        drawn["learning"] = draw_curve(titles, list(known.values()), "accuracy, %", grouped=grouped)
    if networks.runs:
        accuracies, names = accuracies_of(networks), [f"seed {run['seed']}" for run in networks.runs]
        if len(accuracies) > 1:
            drawn["accuracy"] = draw_accuracies([networks.name], [accuracies], [names])
        drawn["stages"] = draw_stages(stage_seconds(networks))
    if len(networks.gains) > 1:
        pairs = np.array(list(networks.gains.values()))
        drawn["gains"] = draw_gains([f"seed {seed}" for seed in networks.gains], pairs[:, 0], pairs[:, 1])
    return drawn | _draw_test_images(networks)


def _draw_test_images(networks: Networks) -> dict[str, Spec]:
    logits, dataset = networks.logits, networks.dataset
    if logits is None or dataset is None:
        return {}
    labels, classes, titles = dataset.test_labels, dataset.classes, [networks.name]
    predictions = logits.argmax(2)
    votes = count_votes(predictions, len(classes))
    correct = predictions == labels
    found = confidence_reliability(logits, labels)
    drawn = {
        "classes": draw_classes(titles, [accuracies_by_class(correct, labels, len(classes))], classes),
        "confusion": draw_confusion(votes, labels, classes),
        "reliability": draw_reliability(titles, [found], "probability of the class that is seen, %"),
    }
    if len(logits) >= FEWEST_FOR_DIFFICULTY:
        drawn["difficulty"] = draw_difficulty(titles, [votes], labels)
    return drawn


def _values(networks: Networks) -> dict[str, Any]:
    changed = changed_fields(networks.name, networks.recipe) if networks.name in RECIPES else {}
    return {
        "title": f"{networks.name} on {networks.described['dataset'] or 'its data set'}",
        "verdict": "incomplete" if networks.training else "complete",
        "headline": headline(networks),
        "sentence": sentence(networks),
        "facts": facts(networks),
        "changed": changed_table(networks, changed),
        "is_known": networks.name in RECIPES,
        "name": networks.name,
        "runs": runs_table(networks),
        "gain": mean_gain(networks),
        "paired": _counted(min(PAIRS, len(networks.gains)), len(networks.gains)),
        "command": command(networks, changed),
        "environments": environment_tables([whole_environment(one) for one in networks.environments]),
        **_pictures(networks),
    }


def _pictures(networks: Networks) -> dict[str, Any]:
    # What needs logits, images or weights; and why something is missing.
    dataset, logits = networks.dataset, networks.logits
    seed = networks.runs[0]["seed"] if networks.runs else networks.training[0]["seeds"][0]
    kernel = read_filters(networks.folder / f"model-{seed}.safetensors")
    values: dict[str, Any] = {
        "filters": [] if kernel is None else filter_pictures(kernel),
        "strip": None if dataset is None else augmented_strip(networks.recipe, dataset, seed),
        "seed": seed,
        "missing": networks.missing,
        "mistakes": [],
        "hardest": [],
        "pairs": None,
        "calibration": None,
        "of_outputs": "",
        "of_classes": "",
        "grouped": networks.grouped,
        "banded": has_bands(list(networks.curves.values())) and not networks.grouped,
        "several": logits is not None and len(logits) > 1,
    }
    if dataset is None or logits is None:
        if dataset is not None and logits is None and networks.runs:
            values["missing"] = "The folder holds no outputs of its networks: an earlier version trained them"
        return values
    images, labels, classes = dataset.test_images, dataset.test_labels, dataset.classes
    votes = count_votes(logits.argmax(2), len(classes))
    error = expected_calibration_error(confidence_reliability(logits, labels))
    several = len(logits) >= FEWEST_FOR_DIFFICULTY
    return values | {
        "mistakes": confident_mistakes(mean_probability(logits), images, labels, classes),
        "hardest": hardest_pictures(votes, images, labels, classes) if several else [],
        "pairs": pairs_table(votes, labels, classes),
        "calibration": f"{100 * error:.2f}",
        "of_outputs": _counted(len(logits), len(networks.runs)),
        "of_classes": describe_classes(len(classes)),
    }


def _counted(shown: int, there: int) -> str:
    # Nothing where all are shown: what is left out is said.
    return f"{shown:,} of {there:,} networks" if shown < there else ""
