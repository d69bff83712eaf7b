"""Put what is known of a training's networks together into one page."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from airjax.recipes.published import CLAIMS, RECIPES, changed_fields
from airjax.report.augmented import augmented_strip
from airjax.report.charts import Spec
from airjax.report.figures import draw_accuracies, draw_curve, draw_gains, draw_stages
from airjax.report.figures_classes import draw_classes, draw_confusion, draw_difficulty, draw_reliability
from airjax.report.networks import Networks, first_kernel
from airjax.report.page import Table, fill_page
from airjax.report.pictures import confident_mistakes, filter_pictures, hardest_pictures
from airjax.report.probabilities import confidence_reliability, expected_calibration_error, mean_probability
from airjax.report.render import Page
from airjax.report.tables import environment_tables, pairs_table
from airjax.stats.intervals import mean_interval, sample_sd, target_verdict
from airjax.stats.variance import count_votes
from airjax.utils.units import format_seconds

FEWEST_FOR_DIFFICULTY = 3  # networks
OF_DATA = ("mean", "std", "channels", "classes", "image_size", "num_classes", "train_examples", "test_examples")
LISTED = 100  # networks in the table
VERDICTS = {
    "confirmed": "reached",
    "mean": "reached by the mean",
    "within noise": "missed by less than chance explains",
}
CURVE_TITLES = {
    "train_accuracy": "training examples, augmented",
    "validation_accuracy": "test images",
    "tta_accuracy": "test images, with test-time augmentation",
}


def render_networks(networks: Networks) -> Page:
    """Render the page of a folder of networks."""
    charts = draw_networks(networks)
    return Page(fill_page("networks.html", _values(networks), charts), charts)


def draw_networks(networks: Networks) -> dict[str, Spec]:
    """Draw all figures that there is something to draw of, by name."""
    drawn: dict[str, Spec] = {}
    curves = networks.curves
    if curves["train_loss"].size:
        drawn["loss"] = draw_curve(["loss"], [curves["train_loss"]], "training loss", ".3f")
        known = {name: curves[name] for name in CURVE_TITLES if not np.isnan(curves[name]).all()}
        titles = [CURVE_TITLES[name] for name in known]
        drawn["learning"] = draw_curve(titles, list(known.values()), "accuracy, %")
    if networks.runs:
        accuracies, names = _accuracies(networks), [f"seed {run['seed']}" for run in networks.runs]
        if len(accuracies) > 1:
            drawn["accuracy"] = draw_accuracies([networks.name], [accuracies], [names])
        drawn["stages"] = draw_stages(_stages(networks))
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
    by_class = [100 * correct[:, labels == k].mean(1) if (labels == k).any() else None for k in range(len(classes))]
    missing = np.full(len(logits), np.nan)
    columns = np.stack([missing if column is None else column for column in by_class], 1)
    found = confidence_reliability(logits, labels)
    drawn = {
        "classes": draw_classes(titles, [columns], classes),
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
        "headline": _headline(networks),
        "sentence": _sentence(networks),
        "facts": _facts(networks),
        "changed": _changed_table(networks, changed),
        "is_known": networks.name in RECIPES,
        "name": networks.name,
        "runs": _runs_table(networks),
        "gain": _gain(networks),
        "command": _command(networks, changed),
        "environments": environment_tables([_whole(one) for one in networks.environments]),
        **_pictures(networks),
    }


def _pictures(networks: Networks) -> dict[str, Any]:
    # What needs logits, images or weights; and why something is missing.
    dataset, logits = networks.dataset, networks.logits
    kernel = first_kernel(networks.folder, networks.runs[0]["seed"]) if networks.runs else None
    seed = networks.runs[0]["seed"] if networks.runs else networks.training[0]["seeds"][0]
    values: dict[str, Any] = {
        "filters": [] if kernel is None else filter_pictures(kernel),
        "strip": None if dataset is None else augmented_strip(networks.recipe, dataset, seed),
        "seed": seed,
        "missing": networks.missing,
        "mistakes": [],
        "hardest": [],
        "pairs": None,
        "calibration": None,
        "read": len(networks.seeds),
    }
    if dataset is None or logits is None:
        if logits is None and networks.runs:
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
    }


def _accuracies(networks: Networks) -> np.ndarray:
    return np.array([100 * run["accuracy"] for run in networks.runs])


def _stages(networks: Networks) -> dict[str, float]:
    stages = networks.runs[0]["seconds"]
    return {stage: float(np.median([run["seconds"].get(stage, 0.0) for run in networks.runs])) for stage in stages}


def _headline(networks: Networks) -> str:
    if not networks.runs:
        return "No network is finished yet"
    values = _accuracies(networks)
    text = f"Accuracy {values.mean():.2f}%"
    if (interval := mean_interval(values, whole=100.0)) is None:
        return f"{text} (one network)"
    low, high = interval
    return f"{text} (95% interval {low:.2f} to {high:.2f}%, n = {len(values)})"


def _sentence(networks: Networks) -> str:
    parts = []
    if networks.runs:
        parts.append(f"Trained in {format_seconds(_stages(networks).get('train', 0.0))} a network")
        if (verdict := _verdict(networks)) is not None:
            parts.append(verdict)
    for line in networks.training:
        names = ", ".join(map(str, line["seeds"][:3])) + (", ..." if len(line["seeds"]) > 3 else "")
        total = int(np.ceil(networks.recipe.epochs))
        parts.append(f"Seed {names} has ended epoch {line['epoch']} of {total}")
    return ". ".join(parts) + "."


def _verdict(networks: Networks) -> str | None:
    # A target is an accuracy on all test images of CIFAR-10.
    claim, described = CLAIMS.get(networks.name), networks.described
    official = described["dataset"] == "cifar10" and described["content"] in ("official", "shuffled")
    whole = described["split"] == "test" and described["labels"] is None and networks.recipe.test_examples == 10_000
    if claim is None or claim.target is None or not (official and whole):
        return None
    accuracies = [run["accuracy"] for run in networks.runs]
    verdict = target_verdict(accuracies, claim.target, claim.expected_sd)
    return f"The target of {claim.target:.0%} is {VERDICTS.get(verdict, 'missed')}"


def _facts(networks: Networks) -> list[tuple[str, str]]:
    recipe, described = networks.recipe, networks.described
    split = ", validation images" if described["split"] == "validation" else ""
    facts = [("networks", f"{len(networks.runs):,}")]
    if len(networks.runs) > 1:
        facts.append(("standard deviation", f"{sample_sd(_accuracies(networks)):.2f} points"))
    if networks.runs:
        total = sum(sum(run["seconds"].values()) for run in networks.runs)
        facts.append(("time of all stages", format_seconds(total)))
    labels = f", labels {described['labels']}" if described["labels"] else ""
    devices = dict.fromkeys(str(one.get("device", "not recorded")) for one in networks.environments)
    return [
        *facts,
        ("recipe", f"{networks.name}, {recipe.epochs:g} epochs"),
        ("data", f"{described['dataset']}, {described['content']}{labels}{split}"),
        ("test images", f"{recipe.test_examples:,}"),
        ("parameters", f"{recipe.num_params:,}"),
        ("operations", f"{recipe.flops:.3g} FLOP"),
        ("device", ", ".join(devices) or "not recorded"),
    ]


def _changed_table(networks: Networks, changed: dict[str, Any]) -> Table | None:
    if not changed:
        return None
    before = RECIPES[networks.name].flat()
    return Table(
        ["field", "the recipe's", "here"], [[name, _text(before[name]), _text(changed[name])] for name in changed]
    )


def _runs_table(networks: Networks) -> Table | None:
    if not networks.runs:
        return None
    heads = ["seed", "accuracy, %", "without augmentation, %", "training loss", "training accuracy, %", "seconds"]
    rows = []
    for run in networks.runs[:LISTED]:
        plain = networks.gains.get(run["seed"])
        numbers = (f"{100 * run['accuracy']:.2f}", "" if plain is None else f"{plain[0]:.2f}")
        trained = (
            (f"{run['train_loss']:.4f}", f"{100 * run['train_accuracy']:.2f}") if "train_loss" in run else ("", "")
        )
        rows.append([run["seed"], *numbers, *trained, f"{sum(run['seconds'].values()):.1f}"])
    if len(networks.runs) > LISTED:
        rows.append([f"and {len(networks.runs) - LISTED:,} more", *[""] * 5])
    return Table(heads, rows)


def _gain(networks: Networks) -> str | None:
    if not networks.gains:
        return None
    gains = np.array([averaged - plain for plain, averaged in networks.gains.values()])
    text = f"{gains.mean():+.2f} points"
    # A gain is from -100 to 100 points; the interval is one of numbers from 0.
    if (interval := mean_interval(100 + gains, whole=200.0)) is not None:
        text += f" (95% interval {interval[0] - 100:+.2f} to {interval[1] - 100:+.2f}, n = {len(gains)})"
    return text


def _command(networks: Networks, changed: dict[str, Any]) -> str:
    seeds = sorted(run["seed"] for run in networks.runs) or networks.training[0]["seeds"]
    described, parts = networks.described, ["airjax", "train", "--recipe", networks.name]
    if seeds == list(range(seeds[0], seeds[0] + len(seeds))):
        parts += ["--seed", str(seeds[0]), "--seeds", str(len(seeds))]
    parts += ["--data", described["dataset"] or "auto"]
    parts += ["--labels", described["labels"]] if described["labels"] else []
    parts += ["--validation", str(networks.recipe.test_examples)] if described["split"] == "validation" else []
    for name, value in changed.items():
        if name not in OF_DATA:
            parts += _flag(name, value)
    return " ".join([*parts, "--out", "DIR"])


def _flag(name: str, value: Any) -> list[str]:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    values: Sequence[Any] = value if isinstance(value, list | tuple) else [value]
    return [f"--{flag}", *map(str, values)]


def _text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else "none" if value is None else str(value)


def _whole(environment: dict[str, Any]) -> dict[str, Any]:
    return {"environment": "unknown", "device": "not recorded", "commit": None, "versions": {}} | environment
