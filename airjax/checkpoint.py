"""Trained networks on disk: one safetensors file with the recipe in its metadata."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from airjax.data.dataset import CIFAR10_CLASSES
from airjax.model import Variables
from airjax.recipe import Recipe
from airjax.records import write_atomically

FORMAT = "airjax-1"


class Model(NamedTuple):
    """A trained network."""

    recipe: Recipe  # with its precision resolved
    variables: Variables
    classes: tuple[str, ...] = CIFAR10_CLASSES


class ModelError(Exception):
    """A model file that is missing, damaged or of another kind; the message says which."""


def save_model(file: str | Path, model: Model) -> None:
    """Write a model, atomically. Raises OSError where that is not possible."""
    from safetensors.numpy import save

    leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(model.variables))
    tensors = {"/".join(entry.key for entry in path): np.asarray(leaf) for path, leaf in leaves}
    metadata = {"format": FORMAT, "recipe": json.dumps(model.recipe.to_dict()), "classes": json.dumps(model.classes)}
    write_atomically(Path(file), save(tensors, metadata))


def load(file: str | Path) -> Model:
    """Read a model back, exactly as it was saved. Raises ModelError."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as content:
            metadata: dict[str, Any] = content.metadata() or {}
            tensors = {name: np.array(content.get_tensor(name)) for name in content.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise ModelError(f"{file} does not exist") from error
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file} is not a safetensors file, or is damaged: {error}") from error
    if metadata.get("format") != FORMAT:
        raise ModelError(f"{file} is not an airjax model: its format is {metadata.get('format')!r}, not {FORMAT!r}")
    try:
        recipe = Recipe.from_dict(json.loads(metadata["recipe"]))
        classes = tuple(json.loads(metadata["classes"]))
    except (KeyError, ValueError, TypeError) as error:
        raise ModelError(f"{file} has no readable recipe: {error}") from error
    variables: Variables = {"params": {}, "frozen": {}, "batch_stats": {}}
    for name, tensor in tensors.items():
        *folders, last = name.split("/")
        node = variables
        for folder in folders:
            node = node.setdefault(folder, {})
        node[last] = jnp.asarray(tensor)
    return Model(recipe, variables, classes)
