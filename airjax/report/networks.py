"""Read the folder of a training (`airjax train --out`): its networks, what they saw, and how far it has got."""

import functools
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from airjax.data import DataError, Dataset
from airjax.recipes.recipe import Recipe
from airjax.report.survey import SurveyError
from airjax.sweep.find_data import find_data
from airjax.utils.records import read_lines

MOST = 200  # networks whose logits are read
ROUNDED = 0.002  # of the accuracy: what half precision may change of the logits' largest
CURVES = ("train_loss", "train_accuracy", "validation_accuracy", "tta_accuracy")


class Networks(NamedTuple):
    """Everything that a page about a training's networks says."""

    folder: Path
    name: str  # of the recipe
    recipe: Recipe
    described: dict[str, Any]  # content of recipe.json
    runs: list[dict[str, Any]]  # a record for each finished network, by seed
    training: list[dict[str, Any]]  # the last epoch of those that are not finished
    curves: dict[str, Float[np.ndarray, "r e"]]  # by field; accuracies in percent
    grouped: bool  # whether some networks' curves are the means of the group that each was trained in
    gains: dict[int, tuple[float, float]]  # by seed: accuracy without and with test-time augmentation, in percent
    seeds: list[int]  # of those whose logits are kept
    logits: Float[np.ndarray, "r m l"] | None
    dataset: Dataset | None  # its test split is what the networks were tested on
    missing: str  # why there is none
    environments: list[dict[str, Any]]


def read_networks(folder: Path, data_dir: Path | None = None) -> Networks:
    """Read a folder of networks, also while it is written to.

    Args:
        folder: what `airjax train --out` wrote.
        data_dir: where the data set lies; without one it is looked for where the training found it and in the cache.

    Raises SurveyError, and DataError for a data_dir that does not hold it.
    """
    described = _read_recipe(folder)
    recipe = Recipe.from_dict(described["recipe"])
    lines = {line["seed"]: line for line in read_lines(folder / "runs.jsonl") if "seed" in line}
    runs = [lines[seed] for seed in sorted(lines)]
    epochs = [line for line in read_lines(folder / "epochs.jsonl") if {"seeds", "epoch"} <= set(line)]
    training, last = _in_training(epochs, set(lines)), _last_lines(epochs)
    if not runs and not training:
        raise SurveyError(f"no network in {folder} is finished, nor has ended an epoch; come back later")
    dataset, missing = _find(described, recipe, data_dir)
    seeds, logits = ([], None) if dataset is None else _read_logits(folder, list(lines))
    if dataset is not None and logits is not None and not _fits(logits[0], lines[seeds[0]], dataset):
        dataset, missing = None, f"{described['dataset']} as it is here is not what the networks were tested on"
    known = read_lines(folder / "environments.jsonl")
    used = {run.get("environment") for run in runs}
    return Networks(
        folder,
        described["name"],
        recipe,
        described,
        runs,
        training,
        _curves(last),
        any(len(line["seeds"]) > 1 for line in last.values()),
        _gains(list(last.values()), runs),
        seeds,
        logits,
        dataset,
        missing,
        [line for line in known if not runs or line.get("environment") in used],
    )


def networks_folder(folder: Path) -> Path | None:
    """Return where a folder has a training's networks; None where it has none, as a sweep's.

    That is the folder itself, or DIR/networks, where `airjax records verify` trains.
    """
    places = () if (folder / "workers").exists() else (folder, folder / "networks")
    return next((place for place in places if (place / "recipe.json").exists()), None)


def read_filters(file: Path) -> Float[np.ndarray, "h w c k"] | None:
    """Read the whitening filters of a network's file; None where it has none, or is not there."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "numpy") as stream:
            names = [name for name in stream.keys() if name.endswith("whiten/kernel")]  # noqa: SIM118 it is no dict
            return stream.get_tensor(names[0]).astype(np.float32) if names else None
    except (OSError, SafetensorError):
        return None


def _read_recipe(folder: Path) -> dict[str, Any]:
    file = folder / "recipe.json"
    try:
        described = json.loads(file.read_text())
        Recipe.from_dict(described["recipe"])
        return {
            "name": "a recipe without a name",
            "dataset": "",
            "content": "unknown",
            "labels": None,
            "split": "test",
        } | described
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SurveyError(f"{file} cannot be read ({error}); airjax train --out writes it") from error


def _in_training(epochs: list[dict[str, Any]], finished: set[int]) -> list[dict[str, Any]]:
    # The last lines of unfinished networks; not of a group that was given up for smaller ones, which fit into memory.
    latest = {seed: line for line in epochs for seed in line["seeds"]}
    found = {tuple(line["seeds"]): line for seed, line in latest.items() if seed not in finished}
    return [line for seeds, line in sorted(found.items()) if all(latest[seed] is line for seed in seeds)]


def _last_lines(epochs: list[dict[str, Any]]) -> dict[tuple[int, int], dict[str, Any]]:
    # By seed and epoch, the last line that has them: a network may have been trained again, also in another group.
    found = {(seed, line["epoch"]): line for line in epochs for seed in line["seeds"]}
    return dict(sorted(found.items(), key=lambda item: item[0]))


def _curves(last: dict[tuple[int, int], dict[str, Any]]) -> dict[str, Float[np.ndarray, "r e"]]:
    # Each network of a group has the group's mean, so that a mean over networks counts a group as often as it should.
    places = {seed: place for place, seed in enumerate(dict.fromkeys(seed for seed, _ in last))}
    length = max((epoch for _, epoch in last), default=0)
    curves = {name: np.full((len(places), length), np.nan) for name in CURVES}
    for (seed, epoch), line in last.items():
        for name in CURVES:
            if line.get(name) is not None:
                curves[name][places[seed], epoch - 1] = (1 if name == "train_loss" else 100) * line[name]
    return curves


def _gains(epochs: list[dict[str, Any]], runs: list[dict[str, Any]]) -> dict[int, tuple[float, float]]:
    # Earlier versions wrote both into the last epoch of a network that trained alone, and nowhere else.
    found = {}
    for line in epochs:
        plain, averaged = line.get("validation_accuracy"), line.get("tta_accuracy")
        if len(line["seeds"]) == 1 and plain is not None and averaged is not None:
            found[line["seeds"][0]] = 100 * plain, 100 * averaged
    for run in runs:
        if "plain_accuracy" in run:
            found[run["seed"]] = 100 * run["plain_accuracy"], 100 * run["accuracy"]
        elif run.get("test_crops"):
            first = run["test_crops"][0]
            found[run["seed"]] = 100 * first["accuracy"], 100 * first["tta_accuracy"]
    return found


def _read_logits(folder: Path, seeds: list[int]) -> tuple[list[int], Float[np.ndarray, "r m l"] | None]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    found: dict[int, np.ndarray] = {}
    for seed in seeds:
        if len(found) == MOST:
            break
        try:
            found[seed] = load_file(folder / "outputs" / f"{seed}.safetensors")["logits"]
        except (OSError, KeyError, SafetensorError):  # of an earlier version, or of a network that is being written
            continue
    if not found:
        return [], None
    return list(found), np.stack(list(found.values())).astype(np.float32)


def _find(described: dict[str, Any], recipe: Recipe, data_dir: Path | None) -> tuple[Dataset | None, str]:
    if recipe.cropping is not None:  # as a data set in memory every image of the tree would be decoded
        return None, "The networks learned from a tree of images, which a page does not read"
    labels, source = described["labels"], _source(described, recipe)
    name = described["dataset"].removesuffix(f"+{labels}")
    try:
        dataset = _load(name, json.dumps(source), data_dir)
        return dataset.head(len(dataset.train_images), recipe.test_examples), ""
    except DataError as error:
        if data_dir is not None:
            raise
        return None, str(error)


@functools.lru_cache(maxsize=1)  # a server makes the page again after every epoch
def _load(name: str, source: str, data_dir: Path | None) -> Dataset:
    return find_data(name, json.loads(source), data_dir)


def _source(described: dict[str, Any], recipe: Recipe) -> dict[str, Any]:
    # Earlier versions did not say how many examples were held out.
    held_out = recipe.test_examples if described["split"] == "validation" else 0
    return {
        "fingerprint": described.get("dataset_sha256", ""),
        "content": described["content"],
        "place": described.get("place"),
        "labels": described["labels"],
        "labels_place": described.get("labels_place"),
        "image_size": described.get("image_size"),
        "validation": described.get("validation", held_out),
    }


def _fits(logits: np.ndarray, run: dict[str, Any], dataset: Dataset) -> bool:
    # Labels of other images would make numbers that look like any others.
    labels = dataset.test_labels
    return len(labels) == len(logits) and abs(float((logits.argmax(1) == labels).mean()) - run["accuracy"]) < ROUNDED
