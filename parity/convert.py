"""torch state_dict <-> airjax variables. Every key is consumed; values pass unchanged. (§1)

The state_dict has the key names of the released package, of a ResNet those of torchvision, so a network trained in
either framework is evaluated in the other.
"""

import io
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import Tensor

from airjax.nn.build import Variables
from airjax.recipes.inputs import Inputs
from airjax.recipes.network import PATCH, AirbenchNet
from airjax.recipes.network_imagenet import STEM, ImageNetResNet18
from airjax.recipes.network_resnet import ResNet18
from airjax.recipes.recipe import Recipe
from airjax.training.backend import backend_of
from airjax.training.checkpoint import Model, load, save_model, value_fault
from airjax.utils.records import write_atomically
from parity.state_file import ConvertError, dense, read_state, unwrap

Layout = Literal["OIHW", "OI", "O"]
TO_JAX: dict[Layout, tuple[int, ...]] = {"OIHW": (2, 3, 1, 0), "OI": (1, 0), "O": (0,)}
TO_TORCH: dict[Layout, tuple[int, ...]] = {"OIHW": (3, 2, 0, 1), "OI": (1, 0), "O": (0,)}


class Entry(NamedTuple):
    """One tensor under both of its names."""

    torch_key: str
    path: tuple[str, ...]  # in airjax's variables, collection first
    layout: Layout  # torch's order of axes
    shape: tuple[int, ...]  # in torch


def entries(recipe: Recipe) -> list[Entry]:
    """Return every tensor that both frameworks have, in torch's order."""
    network, inputs = recipe.network, recipe.inputs
    return _airbench(network, inputs) if isinstance(network, AirbenchNet) else resnet_entries(network, inputs)


def _airbench(network: AirbenchNet, inputs: Inputs) -> list[Entry]:
    kernel = ("frozen" if network.whitening is not None else "params", "whiten", "kernel")
    width = network.first_width(inputs)
    table = [Entry("0.weight", kernel, "OIHW", (width, inputs.channels, PATCH, PATCH))]
    if network.whiten_bias:
        table.append(Entry("0.bias", ("params", "whiten", "bias"), "O", (width,)))
    for index, shape in enumerate(network.conv_shapes(inputs)):
        block, number = index // network.convs_per_block + 1, index % network.convs_per_block + 1
        theirs, ours = f"{block + 1}.", f"block{block}"
        kernel_shape = (shape.outputs, shape.inputs, 3, 3)
        table.append(Entry(f"{theirs}conv{number}.weight", ("params", ours, f"conv{number}"), "OIHW", kernel_shape))
        table += _norm(f"{theirs}norm{number}", (ours, f"norm{number}"), shape.outputs, scaled=False)
    return [*table, Entry("7.weight", ("params", "head"), "OI", (inputs.num_classes, network.widths[-1]))]


def resnet_entries(network: ResNet18 | ImageNetResNet18, inputs: Inputs) -> list[Entry]:
    """Return every tensor of a ResNet under torchvision's name and airjax's, in torch's order."""
    side = STEM if isinstance(network, ImageNetResNet18) else 3
    stem = (network.widths[0], inputs.channels, side, side)
    table = [Entry("conv1.weight", ("params", "conv"), "OIHW", stem), *_norm("bn1", ("norm",), stem[0], scaled=True)]
    for block in network.blocks(inputs):
        theirs, ours = f"layer{block.stage}.{block.number - 1}.", f"stage{block.stage}_block{block.number}"
        convs = [
            ("conv1", "bn1", "conv1", "norm1", block.inputs, 3),
            ("conv2", "bn2", "conv2", "norm2", block.outputs, 3),
        ]
        if block.projects:
            convs.append(("downsample.0", "downsample.1", "shortcut", "norm_shortcut", block.inputs, 1))
        for conv, bn, kernel, norm, channels, size in convs:
            shape = (block.outputs, channels, size, size)
            table.append(Entry(f"{theirs}{conv}.weight", ("params", ours, kernel), "OIHW", shape))
            table += _norm(theirs + bn, (ours, norm), block.outputs, scaled=True)
    head = (inputs.num_classes, network.widths[-1])
    weight, bias = Entry("fc.weight", ("params", "head", "kernel"), "OI", head), ("params", "head", "bias")
    return [*table, weight, Entry("fc.bias", bias, "O", head[:1])]


def _norm(torch_name: str, path: tuple[str, ...], features: int, *, scaled: bool) -> list[Entry]:
    names = [("weight", "params", "scale")] if scaled else []
    names += [
        ("bias", "params", "bias"),
        ("running_mean", "batch_stats", "mean"),
        ("running_var", "batch_stats", "var"),
    ]
    return [Entry(f"{torch_name}.{theirs}", (group, *path, ours), "O", (features,)) for theirs, group, ours in names]


def constants(recipe: Recipe) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors that only torch has: BatchNorm's counter of steps, and a scale that is always 1."""
    table = entries(recipe)
    known = {entry.torch_key for entry in table}
    norms = [(entry.torch_key.removesuffix("running_mean"), entry.shape) for entry in table]
    norms = [(name, shape) for name, shape in norms if f"{name}running_mean" in known]
    scales = {f"{name}weight": shape for name, shape in norms if f"{name}weight" not in known}
    return scales | {f"{name}num_batches_tracked": () for name, _ in norms}


def to_state_dict(recipe: Recipe, variables: Variables) -> dict[str, Tensor]:
    """airjax variables -> torch state_dict of the same dtypes, the step counters at the end of the recipe's training.

    Raises ConvertError for a tensor missing, left over or of another shape.
    """
    leaves = {
        tuple(entry.key for entry in path): np.array(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables)
    }
    tensors = {
        entry.torch_key: _permuted(entry, leaves.pop(entry.path), TO_TORCH)
        for entry in entries(recipe)
        if entry.path in leaves
    }
    _check(recipe, {key: value.shape for key, value in tensors.items()}, ["/".join(path) for path in leaves])
    # torch does not know numpy's bfloat16, which is 16 bits to it.
    state = {
        key: torch.from_numpy(value.view(np.int16)).view(torch.bfloat16)
        if value.dtype == jnp.bfloat16
        else torch.from_numpy(value)
        for key, value in tensors.items()
    }
    for name, shape in constants(recipe).items():
        counter = name.endswith("num_batches_tracked")
        like = state[name.rsplit(".", 1)[0] + ".running_mean"]
        state[name] = torch.tensor(recipe.total_steps) if counter else torch.ones(shape, dtype=like.dtype)
    return state


def to_variables(recipe: Recipe, state: dict[str, Tensor]) -> Variables:
    """torch state_dict -> airjax variables in the recipe's dtypes; keys may have the names of wrappers in them.

    Raises ConvertError for a tensor missing, left over, of another shape, not dense or not of finite floating-point
    numbers, and for a BatchNorm scale that is not 1.
    """
    state = unwrap(state)
    fixed = constants(recipe)
    scales = {key: state.pop(key) for key in fixed if key in state}
    known = {entry.torch_key for entry in entries(recipe)}
    arrays = {key: dense(key, value) for key, value in state.items() if key in known}
    left_over = sorted(set(state) - known) + [f"{k} missing" for k in fixed if k not in scales]
    _check(recipe, {key: value.shape for key, value in arrays.items()}, left_over)
    trained = [k for k, value in scales.items() if k.endswith(".weight") and not (dense(k, value) == 1).all()]
    if trained:
        raise ConvertError(f"airjax has no BatchNorm scale, but {', '.join(trained)} is not 1 everywhere")
    precision, half = backend_of(recipe).precision, recipe.value_of("batchnorm_half")
    params, running = (precision.params, precision.compute) if half else (precision.statistics, precision.statistics)
    variables: Variables = {"params": {}, "frozen": {}, "batch_stats": {}}
    for entry in entries(recipe):
        *folders, last = entry.path
        node: dict[str, Any] = variables
        for folder in folders:
            node = node.setdefault(folder, {})
        of_norm = len(entry.path) > 2 and entry.path[-2].startswith("norm")
        of_params = params if of_norm else precision.params
        dtype = running if folders[0] == "batch_stats" else of_params
        with np.errstate(over="ignore"):  # the check of the values says it
            values = jnp.asarray(_permuted(entry, arrays[entry.torch_key], TO_JAX), dtype)
        if fault := value_fault("/".join(entry.path), np.asarray(values)):
            raise ConvertError(f"{entry.torch_key} {fault} as {jnp.dtype(dtype).name}")
        node[last] = values
    return variables


def export_model(model_file: Path, state_file: Path) -> None:
    """Write an airjax model as a plain state_dict, atomically. Raises airjax.ModelError, ConvertError or OSError."""
    model, content = load(model_file), io.BytesIO()
    torch.save(to_state_dict(model.recipe, model.variables), content)
    write_atomically(state_file, content.getvalue())


def import_model(state_file: Path, model_file: Path, recipe: Recipe) -> None:
    """Write a state_dict as an airjax model of that recipe, in float32 unless the recipe names another precision.

    Raises ConvertError for a file that is no state_dict or does not fit the recipe, or OSError.
    """
    save_model(model_file, Model(recipe, to_variables(recipe, read_state(state_file))))


def _permuted(entry: Entry, array: np.ndarray, order: dict[Layout, tuple[int, ...]]) -> np.ndarray:
    axes = order[entry.layout]
    if array.ndim != len(axes):
        raise ConvertError(f"{entry.torch_key} has shape {array.shape}; the recipe has {entry.shape}")
    return np.ascontiguousarray(array.transpose(axes))


def _check(recipe: Recipe, shapes: dict[str, tuple[int, ...]], left_over: list[str]) -> None:
    wanted = {entry.torch_key: entry.shape for entry in entries(recipe)}
    problems = [f"{key} missing" for key in wanted if key not in shapes] + left_over
    problems += [f"{key} {tuple(shape)}, not {wanted[key]}" for key, shape in shapes.items() if shape != wanted[key]]
    if problems:
        raise ConvertError("the network does not fit the recipe: " + ", ".join(problems[:5]))
