"""Say in words and tables what is known of a training's networks."""

import itertools
import shlex
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from airjax.data.registry import find_entry
from airjax.recipes.published import CLAIMS, RECIPES
from airjax.report.networks import Networks
from airjax.report.page import Table
from airjax.stats.intervals import mean_interval, sample_sd, target_verdict
from airjax.utils.units import format_seconds

OF_DATA = ("mean", "std", "channels", "classes", "image_size", "num_classes")
OF_A_TREE = ("train_examples", "test_examples")  # whose images are all used
LISTED = 100  # networks in the table
VERDICTS = {
    "confirmed": "reached",
    "mean": "reached by the mean",
    "within noise": "missed by less than chance explains",
}


def accuracies_of(networks: Networks) -> np.ndarray:
    """Return the accuracies [R] of the finished networks, in percent."""
    return np.array([100 * run["accuracy"] for run in networks.runs])


def stage_seconds(networks: Networks) -> dict[str, float]:
    """Return the seconds of each stage of a training: the medians of the networks."""
    stages = networks.runs[0]["seconds"]
    return {stage: float(np.median([run["seconds"].get(stage, 0.0) for run in networks.runs])) for stage in stages}


def headline(networks: Networks) -> str:
    """Say the mean accuracy, its interval and n."""
    if not networks.runs:
        return "No network is finished yet"
    values = accuracies_of(networks)
    text = f"Accuracy {values.mean():.2f}%"
    if (interval := mean_interval(values, whole=100.0)) is None:
        return f"{text} (one network)"
    low, high = interval
    return f"{text} (95% interval {low:.2f} to {high:.2f}%, n = {len(values)})"


def sentence(networks: Networks) -> str:
    """Say how long a training took, whether the target was reached, and what is in training."""
    parts = []
    if networks.runs:
        parts.append(f"Trained in {format_seconds(stage_seconds(networks).get('train', 0.0))} a network")
        if (verdict := _verdict(networks)) is not None:
            parts.append(verdict)
    for line in networks.training:
        names = ", ".join(map(str, line["seeds"][:3])) + (", ..." if len(line["seeds"]) > 3 else "")
        total = int(np.ceil(networks.recipe.epochs))
        parts.append(f"Seed {names} has ended epoch {line['epoch']} of {total}")
    return ". ".join(parts) + "."


def count_planned(networks: Networks) -> int:
    """Count the networks that are finished or in training."""
    return len({run["seed"] for run in networks.runs}.union(*(line["seeds"] for line in networks.training)))


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


def facts(networks: Networks) -> list[tuple[str, str]]:
    """Return short facts, the most important first: pairs of a name and a value."""
    recipe, described = networks.recipe, networks.described
    split = ", validation images" if described["split"] == "validation" else ""
    facts = [("networks", f"{len(networks.runs):,}")]
    if len(networks.runs) > 1:
        facts.append(("standard deviation", f"{sample_sd(accuracies_of(networks)):.2f} points"))
    if networks.runs:
        total = sum(sum(run["seconds"].values()) for run in networks.runs)
        facts.append(("time of all stages", format_seconds(total)))
    labels = f", labels {described['labels']}" if described["labels"] else ""
    devices = dict.fromkeys(str(one.get("device", "not recorded")) for one in networks.environments)
    return [
        *facts,
        ("recipe", f"{networks.name}, {recipe.epochs:g} epochs, {recipe.precision}"),
        ("data", f"{described['dataset']}, {described['content']}{labels}{split}"),
        ("test images", f"{recipe.test_examples:,}"),
        ("parameters", f"{recipe.num_params:,}"),
        ("operations", f"{recipe.flops:.3g} FLOP"),
        ("device", ", ".join(devices) or "not recorded"),
    ]


def changed_table(networks: Networks, changed: dict[str, Any]) -> Table | None:
    """Tabulate what was changed of the recipe; None where nothing was."""
    before = RECIPES[networks.name].flat() if changed else {}
    # "auto" is what the device is best at: nobody changed it.
    rows = [[name, _text(before[name]), _text(changed[name])] for name in changed if before[name] != "auto"]
    return Table(["field", "the recipe's", "here"], rows) if rows else None


def runs_table(networks: Networks) -> Table | None:
    """Tabulate the networks; None where none is finished."""
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


def mean_gain(networks: Networks) -> str | None:
    """Say what test-time augmentation gains on average; None where it is not known."""
    if not networks.gains:
        return None
    gains = np.array([averaged - plain for plain, averaged in networks.gains.values()])
    text = f"{gains.mean():+.2f} points"
    # A gain is from -100 to 100 points; the interval is one of numbers from 0.
    if (interval := mean_interval(100 + gains, whole=200.0)) is not None:
        text += f" (95% interval {interval[0] - 100:+.2f} to {interval[1] - 100:+.2f}, n = {len(gains)})"
    return text


def command(networks: Networks, changed: dict[str, Any]) -> str:
    """Return the commands that train the same networks, a line for each row of seeds, given the recipe's changes."""
    seeds = sorted(run["seed"] for run in networks.runs) or networks.training[0]["seeds"]
    begin, rest = ["airjax", "train", "--recipe", networks.name], _data_and_changes(networks, changed)
    shared = Counter(run["batches_of"] for run in networks.runs if "batches_of" in run)
    group = ["--group", str(1 + max(shared.values()))] if shared else []  # the first network's batches are its own
    lines = []
    for _, row in itertools.groupby(enumerate(seeds), lambda pair: pair[1] - pair[0]):
        numbers = [seed for _, seed in row]
        of_row = ["--seed", str(numbers[0]), "--seeds", str(len(numbers))]
        lines.append([*begin, *of_row, *group, *rest, "--out", "DIR"])
    return "\n".join(shlex.join(line) for line in lines)


def _data_and_changes(networks: Networks, changed: dict[str, Any]) -> list[str]:
    described, parts = networks.described, []
    name = described["dataset"].removesuffix(f"+{described['labels']}")
    parts += ["--data", name if find_entry(name) else described.get("place") or name or "auto"]
    parts += ["--labels", described["labels"]] if described["labels"] else []
    parts += ["--image-size", str(described["image_size"])] if described.get("image_size") else []
    held_out = networks.recipe.test_examples if described["split"] == "validation" else 0
    held_out = described.get("validation", held_out)
    parts += ["--validation", str(held_out)] if held_out else []
    left_out = OF_DATA if networks.recipe.cropping is None else (*OF_DATA, *OF_A_TREE)
    for name, value in changed.items():
        if name not in left_out:
            parts += _flag(name, value)
    return parts


def _flag(name: str, value: Any) -> list[str]:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    values: Sequence[Any] = value if isinstance(value, list | tuple) else [value]
    return [f"--{flag}", *map(str, values)]


def _text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else "none" if value is None else str(value)


def whole_environment(environment: dict[str, Any]) -> dict[str, Any]:
    """Fill in what the line of an environment does not say."""
    return {"environment": "unknown", "device": "not recorded", "commit": None, "versions": {}} | environment
