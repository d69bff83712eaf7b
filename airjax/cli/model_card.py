"""The page that travels with a network: what it is, how well it did, how to train it again, under which licence."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from airjax.recipes.recipe import Recipe
from airjax.training.checkpoint import Model
from airjax.utils.records import read_lines


class Origin(NamedTuple):
    """What the folder of a training says of one of its networks; None where it does not."""

    name: str | None = None  # of the recipe, before it was changed
    dataset: str | None = None
    dataset_sha256: str | None = None
    split: str | None = None  # that the accuracy is of: "test" or "validation"
    run: dict[str, Any] | None = None  # its line of runs.jsonl
    environment: dict[str, Any] | None = None


def origin_of(file: Path) -> Origin:
    """Find what is known of a model-SEED.safetensors, in the files that the training wrote beside it."""
    seed = file.stem.removeprefix("model-")
    runs = [line for line in read_lines(file.parent / "runs.jsonl") if str(line.get("seed")) == seed]
    try:
        described = json.loads((file.parent / "recipe.json").read_text())
    except (OSError, ValueError):
        described = {}
    described = described if isinstance(described, dict) else {}
    run = runs[-1] if runs else None
    environments = read_lines(file.parent / "environments.jsonl")
    mine = [line for line in environments if run and line.get("environment") == run.get("environment")]
    found = {name: described.get(name) for name in ("name", "dataset", "dataset_sha256", "split")}
    return Origin(**found, run=run, environment=mine[-1] if mine else None)


def make_card(model: Model, origin: Origin, licence: str) -> str:
    """Write a model card in Markdown, with the metadata that model hubs read at its top.

    Args:
        model: the network.
        origin: of `origin_of`.
        licence: the weights' licence, by the identifier that hubs use, such as "mit".
    """
    recipe, name = model.recipe, origin.name or "a recipe of airjax"
    dataset = origin.dataset or "an unnamed data set"
    head = ["---", f"license: {licence}", "library_name: airjax", "pipeline_tag: image-classification"]
    head += ["tags: [image-classification, jax, airjax]", "metrics: [accuracy]", "---"]
    text = [
        f"# {name} on {dataset}",
        f"An image classifier of {recipe.num_params:,} parameters for {_describe_inputs(recipe)}, trained by "
        "airjax in JAX, after [airbench](https://arxiv.org/abs/2404.00498).",
        *_results(recipe, origin),
        "## Use",
        "The folder, or the file in it, is read by `airjax.load(folder)`, and classified with by "
        "`airjax predict FOLDER IMAGE...`. Images are uint8, channels last, neither normalised nor scaled beforehand.",
        "## Data",
        f"{dataset}; SHA-256 of its arrays `{origin.dataset_sha256 or 'not recorded'}`. Classes, in the order of the "
        f"outputs: {', '.join(model.classes)}.",
        "## Recipe",
        "Every field, as it was trained:",
        _table(("field", "value"), recipe.flat()),
        "## Limits",
        "It knows its classes alone and gives any image one of them. Its accuracy is that on the images above; on "
        "others it was not measured.",
        "## Licence",
        f"The weights: {licence}. The images that it was trained on have terms of their own.",
    ]
    return "\n".join(head) + "\n\n" + "\n\n".join(text) + "\n"


def _describe_inputs(recipe: Recipe) -> str:
    inputs = recipe.inputs
    kind = {1: "grey ", 3: "RGB "}.get(inputs.channels, "")
    return f"{kind}images of {inputs.image_size} x {inputs.image_size} pixels and {inputs.num_classes} classes"


def _results(recipe: Recipe, origin: Origin) -> list[str]:
    run, environment = origin.run, origin.environment or {}
    if run is None:
        return ["## Results", "Not recorded: the training's records were not beside the network."]
    values = {
        f"{origin.split or 'test'} accuracy, with test-time augmentation {recipe.evaluation.tta_level}": (
            f"{run['accuracy']:.2%}"
        ),
        "training accuracy of the last epoch": f"{run['train_accuracy']:.2%}" if "train_accuracy" in run else None,
        "training loss of the last epoch": f"{run['train_loss']:.4f}" if "train_loss" in run else None,
        "seed": run["seed"],
        "steps": run.get("steps", recipe.total_steps),
        "seconds of training": f"{run['seconds']['train']:.1f}" if "seconds" in run else None,
        "device": environment.get("device"),
        "versions": ", ".join(f"{name} {number}" for name, number in environment.get("versions", {}).items()) or None,
        "commit of airjax": environment.get("commit"),
    }
    known = {name: value for name, value in values.items() if value is not None}
    return ["## Results", "One network: others of the same recipe differ by their seeds.", _table(("", ""), known)]


def _table(heads: tuple[str, str], rows: dict[str, Any]) -> str:
    cells = (f"| {name} | {str(value).replace('|', chr(92) + '|')} |" for name, value in rows.items())
    return "\n".join([f"| {heads[0]} | {heads[1]} |", "|-|-|", *cells])
