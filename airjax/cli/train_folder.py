"""The folder that a training keeps its networks in (--out), and which of them still count when it is resumed.

DIR/recipe.json               recipe and data set of all its networks
DIR/runs.jsonl                one line for each finished network; the last line of a seed counts
DIR/environments.jsonl        one line for each environment (device, versions, settings) that any was trained in
DIR/epochs.jsonl              one line for each epoch of a network, or of a group of them, as it ends
DIR/outputs/SEED.safetensors  the logits of the test images, with test-time augmentation
DIR/model-SEED.safetensors    the networks
DIR/lock                      held by the process that trains
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import Float

from airjax.data import Dataset
from airjax.recipes.recipe import Recipe
from airjax.stream.tree import Tree
from airjax.training.backend import bfloat16_pays
from airjax.training.checkpoint import Model, ModelError, load, save_model
from airjax.training.environment import fingerprint_of
from airjax.training.events import EpochReport
from airjax.training.processes import first_does
from airjax.utils.records import append_line, hold_folder, read_lines, write_atomically, write_json

Record = dict[str, Any]
OUTPUTS = "outputs"  # a folder of its own: a folder with one .safetensors file in it is a model


class FolderError(ValueError):
    """A folder that a training must not write to; the message names it and the remedy."""


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a folder holds of the networks that are asked for."""

    runs: dict[int, Record]  # the lines of networks that count, by seed
    lost: list[str]  # why others do not: their files are missing or damaged
    mixed: dict[str, list[Any]]  # in what their environments and this one differ; empty: in nothing


def hold(out: Path) -> IO[str]:
    """Make the folder and keep other processes out of it until the stream is closed. Raises FolderError."""
    return hold_folder(out, FolderError)


def setting_of(recipe: Recipe, dataset: Dataset | Tree) -> str:
    """Digest of what all networks of a folder have in common: the recipe's fields and the data."""
    return _digest(recipe.to_dict(), dataset)


def _digest(recipe: Record, dataset: Dataset | Tree) -> str:
    parts = {"recipe": recipe, "data": dataset.fingerprint}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def choose_precision(recipe: Recipe, strategy: str, out: Path | None) -> str | None:
    """Return the precision that auto is: the one that the folder was begun in, or the one that pays off here.

    None is the platform's own (`airjax.training.backend.resolve_precision`).
    """
    begun = None if out is None else _precision_in(out)
    one_at_a_time = strategy in ("auto", "sequential", "map")  # the others convolve by XLA on a CPU
    return begun or ("bfloat16" if one_at_a_time and bfloat16_pays(recipe) else None)


def _precision_in(out: Path) -> str | None:
    try:
        return Recipe.from_dict(json.loads((out / "recipe.json").read_text())["recipe"]).precision
    except (OSError, ValueError, KeyError, TypeError):  # nothing yet, or `open_folder` says what is wrong
        return None


def open_folder(
    out: Path,
    name: str,
    recipe: Recipe,
    dataset: Dataset | Tree,
    environment: Record,
    seeds: Sequence[int],
    *,
    mixed: bool,
    found_at: Record | None = None,
) -> Contents:
    """Check what a folder holds, write what it is to hold, and return the networks of these seeds that are there.

    found_at is where the data set was found, "place", "labels_place" and "image_size", and of how many examples its
    validation split is, "validation".

    Raises FolderError where it holds networks of another recipe or other data or, unless mixed, of another environment;
    and where its recipe.json is damaged, or it cannot be written.
    """
    written = _require_same_recipe(out, recipe, dataset)
    lines = _lines(out)
    lost = {}
    for seed in set(lines) & set(seeds):
        if (fault := _model_fault(_model_file(out, seed), recipe)) is not None:
            lost[seed] = f"seed {seed} is trained again: {fault}"
            del lines[seed]
    differences = _differences(_environments(out, lines.values()), environment)
    if differences and not mixed:
        raise FolderError(
            f"{out} holds networks of another environment ({describe_differences(differences)}); choose another --out, "
            "or pool them with --mixed"
        )
    described = {"name": name, "recipe": written, "dataset": dataset.name, "content": dataset.content}
    described |= {"labels": dataset.labels, "split": dataset.split, "dataset_sha256": dataset.fingerprint}
    described |= found_at or {}
    try:
        write_json(out / "recipe.json", described)
        line = {"environment": fingerprint_of(environment)} | environment
        if line["environment"] not in _known_environments(out):
            append_line(out / "environments.jsonl", line)
    except OSError as error:
        raise FolderError(f"cannot write to --out {out}: {error.strerror or error}") from error
    runs = {seed: line for seed, line in lines.items() if seed in seeds}
    return Contents(runs, [lost[seed] for seed in sorted(lost)], differences)


def keep_run(
    out: Path,
    model: Model,
    record: Record,
    setting: str,
    environment: Record,
    logits: Float[np.ndarray, "m l"] | None = None,
) -> None:
    """Write a finished network: first its files, then its line. Raises OSError, which names the file.

    The logits of the test images are what a page about the network is made from; None leaves their file out.
    """
    if logits is not None:
        _keep_outputs(out, record["seed"], logits)
    save_model(_model_file(out, record["seed"]), model)
    append_line(out / "runs.jsonl", record | {"setting": setting, "environment": fingerprint_of(environment)})


def _keep_outputs(out: Path, seed: int, logits: Float[np.ndarray, "m l"]) -> None:
    from safetensors.numpy import save

    (out / OUTPUTS).mkdir(exist_ok=True)
    # Half precision: three digits of a probability. A logit beyond its range would become infinite.
    largest = float(np.finfo(np.float16).max)
    kept = np.clip(logits, -largest, largest).astype(np.float16)
    write_atomically(out / OUTPUTS / f"{seed}.safetensors", save({"logits": kept}))


class EpochLog:
    """Writes a line for every epoch of the networks in training, by which a page can follow them.

    Of several processes the first one writes, and all fail where it cannot. Without a folder it does nothing.
    """

    def __init__(self, out: Path | None) -> None:
        self._file = None if out is None else out / "epochs.jsonl"
        self._seeds: Sequence[int] = ()

    def begin(self, seeds: Sequence[int]) -> None:
        """Begin a network, or a group of them: then the numbers are the group's means."""
        self._seeds = seeds

    def epoch(self, report: EpochReport) -> None:
        """Write the line of an epoch, counted from 1. Raises OSError, which names the file."""
        if self._file is not None:
            line = {"seeds": list(self._seeds)} | report._asdict() | {"epoch": report.epoch + 1}
            first_does(functools.partial(append_line, self._file, line))


def describe_differences(differences: dict[str, list[Any]]) -> str:
    """Differences of environments in words: "versions.jax: 0.10.0, 0.10.1"."""
    return "; ".join(f"{name}: {', '.join(map(str, values))}" for name, values in differences.items())


def _lines(out: Path) -> dict[int, Record]:
    return {line["seed"]: line for line in read_lines(out / "runs.jsonl") if "seed" in line}


def _model_file(out: Path, seed: int) -> Path:
    return out / f"model-{seed}.safetensors"


def _model_fault(file: Path, recipe: Recipe) -> str | None:
    try:
        return None if load(file).recipe == recipe else f"{file} is a network of another recipe"
    except ModelError as error:
        return str(error)


def _require_same_recipe(out: Path, recipe: Recipe, dataset: Dataset | Tree) -> Record:
    # Returns the recipe as the folder has it: lines of an earlier version name the digest of that form.
    file, remedy = out / "recipe.json", "choose another --out"
    there, data, written = None, None, recipe.to_dict()
    try:
        if file.exists():
            described = json.loads(file.read_text())
            written, data = described["recipe"], described["dataset_sha256"]
            there = Recipe.from_dict(written)
    except (ValueError, KeyError, TypeError) as error:
        raise FolderError(f"{file} is damaged ({error}); remove it or {remedy}") from error
    except OSError as error:
        raise FolderError(f"cannot read {file}: {error.strerror}; {remedy}") from error
    if there and there != recipe:
        before, now = there.flat(), recipe.flat()
        pairs = ((field, before[field], now[field]) for field in before)
        changed = "; ".join(f"{name.replace('_', '-')} {old}, now {new}" for name, old, new in pairs if old != new)
        raise FolderError(f"{out} holds networks of another recipe ({changed}); {remedy}")
    if data and data != dataset.fingerprint:
        raise FolderError(f"{out} holds networks of another data set (see {file}); {remedy}")
    known = {_digest(written, dataset), setting_of(recipe, dataset)}
    for line in _lines(out).values():
        if "setting" not in line and there is None:
            raise FolderError(f"{out} does not say which recipe its networks are of: {file} is gone; {remedy}")
        if "setting" in line and line["setting"] not in known:
            raise FolderError(f"{out} holds networks of another recipe or data set: seed {line['seed']}'s is; {remedy}")
    return written


def _known_environments(out: Path) -> dict[str, Record]:
    lines = read_lines(out / "environments.jsonl")
    return {line["environment"]: line for line in lines if "environment" in line}


def _environments(out: Path, runs: Iterable[Record]) -> list[Record]:
    # Those of some networks. A folder of an earlier version has one file for all, and its lines name no environment.
    known, found = _known_environments(out), []
    for name in dict.fromkeys(run.get("environment") for run in runs):
        found.append(known.get(name, {"environment": name}) if name else _first_environment(out))
    return found


def _first_environment(out: Path) -> Record:
    try:
        return json.loads((out / "environment.json").read_text())
    except (OSError, ValueError):
        return {"environment": "unknown"}


def _differences(others: list[Record], environment: Record) -> dict[str, list[Any]]:
    # The values that differ, this environment's last, of all that both sides say: an earlier version said less.
    here = {"environment": fingerprint_of(environment)} | environment
    values: dict[str, list[Any]] = {}
    for other in others:
        if other.get("environment") == here["environment"]:
            continue
        for name in [name for name in environment if name in other and name != "commit"] or ["environment"]:
            before, now = _flat(name, other[name]), _flat(name, here[name])
            for key in [key for key in before | now if before.get(key) != now.get(key)]:
                values[key] = [value for value in values.get(key, []) if value != now.get(key)]
                values[key] += [value for value in (before.get(key), now.get(key)) if value not in values[key]]
    return values


def _flat(name: str, value: Any) -> dict[str, Any]:
    return {f"{name}.{key}": inner for key, inner in value.items()} if isinstance(value, dict) else {name: value}
