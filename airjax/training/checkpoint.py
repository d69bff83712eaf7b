"""Trained networks on disk: one safetensors file each, with the recipe in its metadata.

The same network is the same bytes, whichever process writes it.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from airjax.data.dataset import CIFAR10_CLASSES
from airjax.nn.build import Variables, init_variables
from airjax.recipes.recipe import Recipe
from airjax.training.backend import backend_of, resolve_precision
from airjax.training.model_folder import FolderFaultError, find_weights, read_config
from airjax.utils.platform import default_platform
from airjax.utils.records import write_atomically
from airjax.utils.reprs import one_line
from airjax.utils.seeds import make_key

FORMAT = "airjax-2"  # all metadata is one entry: safetensors writes several in random order
FIRST_FORMAT = "airjax-1"  # an entry each for format, recipe and classes

# What safetensors calls the floating-point types; others keep its name.
STORED_TYPES: dict[Any, str] = {"F16": "float16", "F32": "float32", "F64": "float64", "BF16": "bfloat16"}


class Model(NamedTuple):
    """A trained network."""

    recipe: Recipe  # with its precision resolved
    variables: Variables
    classes: tuple[str, ...] = CIFAR10_CLASSES

    def __repr__(self) -> str:
        return one_line(self)


class ModelError(Exception):
    """A model file that is missing, damaged or of another kind, or a network that is not its recipe's."""


def needed_tensors(recipe: Recipe) -> dict[str, jax.ShapeDtypeStruct]:
    """Return the names, shapes and types of the tensors of a recipe's network: "params/block1/conv1" and so on.

    Raises ValueError where the recipe's precision is unavailable in this process.
    """
    recipe, backend = resolve_precision(recipe), backend_of(recipe)
    return named_tensors(jax.eval_shape(lambda: init_variables(recipe, backend, make_key(0))))


def named_tensors(variables: Variables) -> dict[str, Any]:
    """Return the leaves of variables by their paths, such as "batch_stats/block1/norm1/mean"."""
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def value_fault(name: str, values: Float[np.ndarray, "..."]) -> str | None:
    """Say what a tensor of that name cannot hold, or None: values that are not finite, or a negative variance."""
    if not np.isfinite(values).all():
        return "holds values that are not finite (NaN or infinity)"
    if name.endswith("/var") and (values < 0).any():
        return f"holds a negative variance ({values.min():g})"
    return None


def save_model(file: str | os.PathLike[str], model: Model) -> None:
    """Write a model, atomically.

    A network that diverged is written as it is, but `load` refuses its values.

    Raises:
        TypeError: the file is not a path, or the model not a `Model`.
        ModelError: the variables are not those of the recipe's network; the message names the tensor.
        OSError: the file cannot be written.
    """
    from safetensors.numpy import save

    if not isinstance(file, str | os.PathLike):
        raise TypeError(f"save_model(file, model) takes a path first, not a {type(file).__name__}")
    if not isinstance(model, Model):
        hint = "; pass its .model" if hasattr(model, "model") else ""
        raise TypeError(f"save_model(file, model) takes an airjax.Model second, not a {type(model).__name__}{hint}")
    tensors = {name: np.asarray(leaf) for name, leaf in named_tensors(jax.device_get(model.variables)).items()}
    _check_tensors(model.recipe, {name: (value.shape, value.dtype.name) for name, value in tensors.items()}, "network")
    content = save(dict(sorted(tensors.items())), {"airjax": json.dumps(metadata_of(model), sort_keys=True)})
    write_atomically(Path(file), content)


def metadata_of(model: Model) -> dict[str, Any]:
    """Return what a model's file says of it besides the tensors. Raises ModelError for classes that do not fit."""
    classes = _checked_classes(model.classes, model.recipe, "network")
    return {"format": FORMAT, "recipe": model.recipe.to_dict(), "classes": classes}


def load(file: str | os.PathLike[str]) -> Model:
    """Read a model back, exactly as it was saved: from its file, or from a folder with one network, as hubs have them.

    In a folder, config.json takes the place of metadata that the file does not have.

    Raises:
        TypeError: the file is not a path.
        DeviceError: JAX cannot start.
        ModelError: the file is missing, damaged, not an airjax model, or a tensor is missing, left over, of another
            shape or type, not finite, or a negative variance; the message names it.
    """
    from safetensors import SafetensorError, safe_open

    if not isinstance(file, str | os.PathLike):
        raise TypeError(f"load(file) takes a path, not a {type(file).__name__}")
    config: dict[str, str] = {}
    if Path(file).is_dir():
        try:
            file, config = find_weights(file), read_config(file)
        except FolderFaultError as error:
            raise ModelError(str(error)) from error
    default_platform()
    try:
        with safe_open(file, framework="numpy") as content:
            recipe, classes = _read_metadata(file, _with_config(content.metadata() or {}, config))
            stored = {name: content.get_slice(name) for name in content.keys()}  # noqa: SIM118
            found: dict[str, tuple[tuple[int, ...], str]] = {
                name: (tuple(part.get_shape()), STORED_TYPES.get(part.get_dtype(), str(part.get_dtype())))
                for name, part in stored.items()
            }
            _check_tensors(recipe, found, file)
            tensors = {name: np.array(content.get_tensor(name)) for name in found}
    except FileNotFoundError as error:
        raise ModelError(f"{file} does not exist; python -m airjax.train --out DIR writes models") from error
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file} is not a safetensors file, or is damaged: {error}") from error
    faults = [f"{name} {fault}" for name, values in tensors.items() if (fault := value_fault(name, values))]
    if faults:
        raise ModelError(f"{file}: {_first(faults)}; the network diverged, or the file is damaged")
    return Model(recipe, jax.tree.map(jnp.asarray, nest(tensors)), classes)


def _with_config(metadata: dict[str, str], config: dict[str, str]) -> dict[str, str]:
    own = "airjax" in metadata or metadata.get("format") == FIRST_FORMAT
    return metadata if own else metadata | config


def _read_metadata(file: str | os.PathLike[str], metadata: dict[str, str]) -> tuple[Recipe, tuple[str, ...]]:
    try:
        if "airjax" in metadata:
            described: dict[str, Any] = json.loads(metadata["airjax"])
        elif metadata.get("format") == FIRST_FORMAT:
            described = metadata | {name: json.loads(metadata[name]) for name in ("recipe", "classes")}
        else:
            described = {"format": metadata.get("format")}
        if described["format"] not in (FORMAT, FIRST_FORMAT):
            raise ModelError(f"{file} is not an airjax model: its format is {described['format']!r}, not {FORMAT!r}")
        recipe = Recipe.from_dict(described["recipe"])
        return recipe, _checked_classes(described["classes"], recipe, file)
    except (KeyError, ValueError, TypeError) as error:
        raise ModelError(f"{file} has no readable recipe: {error}") from error


def _checked_classes(classes: Any, recipe: Recipe, source: object) -> tuple[str, ...]:
    named = isinstance(classes, list | tuple) and all(isinstance(name, str) for name in classes)
    if not named or len(classes) != recipe.inputs.num_classes:
        raise ModelError(f"{source}: classes is {classes!r}, but it must be {recipe.inputs.num_classes} names")
    return tuple(classes)


def _check_tensors(recipe: Recipe, found: dict[str, tuple[tuple[int, ...], str]], source: object) -> None:
    # found: shape and type of every tensor.
    try:
        needed = {name: (leaf.shape, leaf.dtype.name) for name, leaf in needed_tensors(recipe).items()}
    except ValueError as error:
        raise ModelError(f"{source}: {error}") from error
    faults = [f"{name} is missing" for name in needed if name not in found]
    faults += [f"{name} does not belong to its recipe" for name in found if name not in needed]
    for name in sorted(set(needed) & set(found)):
        for what, is_, wanted in zip(("shape", "type"), found[name], needed[name], strict=True):
            if is_ != wanted:
                faults.append(f"{name} has {what} {is_}, but its recipe needs {wanted}")
    if faults:
        raise ModelError(f"{source}: {_first(faults)}")


def _first(faults: list[str], limit: int = 3) -> str:
    return "; ".join(faults[:limit]) + (f"; and {len(faults) - limit} more" if len(faults) > limit else "")


def nest(tensors: Mapping[str, np.ndarray]) -> Variables:
    """Return variables from their leaves by paths: the reverse of `named_tensors`."""
    variables: Variables = {"params": {}, "frozen": {}, "batch_stats": {}}
    for name, tensor in tensors.items():
        *folders, last = name.split("/")
        node = variables
        for folder in folders:
            node = node.setdefault(folder, {})
        node[last] = tensor
    return variables
