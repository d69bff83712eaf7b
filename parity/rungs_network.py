"""Rungs of one forward and backward pass: every intermediate, loss, gradient, running statistic; and evaluation."""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from airjax import images as airjax_images
from airjax import model, step, tta
from airjax.driver import convolution_for
from airjax.optimizer import hyperparameters
from airjax.recipe import Recipe
from parity.compare import Comparison, Place, compare
from parity.convert import entries, to_state_dict, to_variables
from parity.peer import State, load_network
from parity.run import run
from parity.setting import BOTH, Setting, at_precision, jax_precision, narrow
from parity.states import arbitrary_state, cast
from parity.torch_images import normalize
from parity.torch_network import dtype_of

BATCH = 6
POOLS = (2, 2, 2, 3)  # the sizes of the network's pools, in their order
RUNG_OF_KIND = {
    "intermediate": "intermediates",
    "loss": "loss",
    "gradient": "gradients",
    "statistic": "running-statistics",
}


def rung_network(setting: Setting) -> Iterator[Comparison]:
    """One training pass from arbitrary weights: float64 with few channels, float32 with the recipe's own. (§1, §4.1)

    In float32 some of the pools' hundred thousands of windows are nearly tied, and a last bit decides which pixel a
    gradient goes to. So PyTorch's pools take the pixels that airjax's took, and how much smaller these are than the
    largest of their windows is compared instead.
    """
    for precision in setting.precisions:
        wide = precision == "float32"
        recipe = at_precision(setting.recipe if wide else narrow(setting.recipe), precision)
        state = arbitrary_state(recipe, seed=0)
        ours, before = _airjax_pass(recipe, state, setting)
        taken = [winners(x, size) for x, size in zip(before, POOLS, strict=True)] if wide else None
        theirs = {
            p: _torch_pass(at_precision(recipe, p), state, setting, taken) for p in BOTH if wide or p == precision
        }
        for name, array in ours.items():
            place = Place(RUNG_OF_KIND[name.split(" ")[0]], setting.name, precision)
            yield compare(place, name, array, theirs["float64"][name], theirs["float32"][name] if wide else None)
        if wide:
            for number in range(len(POOLS)):
                exact, rounded = (theirs[p][f"largest {number}"] for p in BOTH)
                place = Place("intermediates", setting.name, precision)
                yield compare(
                    place, f"pool {number}, pixels taken", theirs["float64"][f"pool {number}"], exact, rounded
                )


def rung_tta(setting: Setting) -> Iterator[Comparison]:
    """Logits at every level of test-time augmentation, from arbitrary weights and running statistics. (§5)"""
    pixels = setting.images[:BATCH]
    for precision in setting.precisions:
        # The views do not depend on the network: one recipe is enough for them, and the others show evaluation mode.
        for level in (0, 1, 2) if setting.name == "94" else (0,):
            recipe = at_precision(dataclasses.replace(narrow(setting.recipe), tta_level=level), precision)
            state = arbitrary_state(recipe, seed=1)
            with jax_precision(precision):
                function = functools.partial(tta.tta_logits, recipe)
                ours = run(function, to_variables(recipe, state), jnp.asarray(pixels))
            exact, rounded = (setting.peer.logits(at_precision(recipe, p), cast(state, p), pixels) for p in BOTH)
            place = Place("tta", setting.name, precision)
            yield compare(place, f"level {level}", ours, exact, rounded if precision == "float32" else None)


def _airjax_pass(recipe: Recipe, state: State, setting: Setting) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    # Every array of a training pass, under torch's names and in torch's layout; and what goes into each pool.
    def forward_backward(variables: Any, images: Any, labels: Any) -> Any:
        frozen = {key: value for key, value in variables.items() if key != "params"}

        def loss(params: Any) -> Any:
            normalized = airjax_images.normalize(images, recipe.precision)
            logits, updated = model.Network(recipe, convolution_for(recipe)).apply(
                {**frozen, "params": params},
                normalized,
                train=True,
                mutable=["batch_stats", "intermediates"],
                capture_intermediates=True,
            )
            losses = step.smoothed_loss(logits, labels, hyperparameters(recipe).label_smoothing)
            return losses.sum(), (losses, logits, updated)

        return jax.value_and_grad(loss, has_aux=True)(variables["params"])

    with jax_precision(recipe.precision):
        variables = to_variables(recipe, state)
        images, labels = jnp.asarray(setting.images[:BATCH]), jnp.asarray(setting.labels[:BATCH])
        (total, (losses, logits, updated)), gradients = run(forward_backward, variables, images, labels)
        sown, arrays = updated["intermediates"], {"intermediate 8": logits}
        before = [sown[f"block{number}"]["to_pool"][0] for number in (1, 2, 3)] + [sown["block3"]["output"][0]]
        arrays["intermediate 0"] = _nchw(sown["whiten_conv"][0])
        arrays["intermediate 6"] = sown["features"][0]
        for number in (1, 2, 3):
            block = sown[f"block{number}"]
            arrays[f"intermediate {number + 1}"] = _nchw(block["output"][0])
            for norm in range(1, recipe.convs_per_block + 1):
                arrays[f"intermediate {number + 1}.norm{norm}"] = _nchw(block[f"norm{norm}"]["__call__"][0])
        arrays |= {"loss of each example": losses, "loss sum": total}
        params = {**variables, "params": gradients, "batch_stats": updated["batch_stats"]}
        state = to_state_dict(recipe, params)
        for entry in entries(recipe):
            if entry.path[0] != "frozen":
                kind = "statistic" if entry.path[0] == "batch_stats" else "gradient"
                arrays[f"{kind} {entry.torch_key}"] = state[entry.torch_key].numpy()
    return {name: np.asarray(array) for name, array in arrays.items()}, [_nchw(x) for x in before]


def _torch_pass(
    recipe: Recipe, state: State, setting: Setting, taken: list[np.ndarray] | None
) -> dict[str, np.ndarray]:
    # The same of torch, whose pools take these pixels; None: the largest.
    network = load_network(setting.peer, recipe, cast(state, recipe.precision)).train()
    arrays: dict[str, Tensor] = {}
    for name, module in network.named_modules():
        if name in ("0", "2", "3", "4", "6", "8") or "norm" in name:
            module.register_forward_hook(functools.partial(_keep, arrays, f"intermediate {name}"))
    pools = [module for module in network.modules() if isinstance(module, nn.MaxPool2d)]
    for number, pool in enumerate(pools if taken else ()):
        assert taken is not None
        pool.register_forward_hook(functools.partial(_take, arrays, number, torch.from_numpy(taken[number])))
    pixels, labels = torch.as_tensor(setting.images[:BATCH]), torch.as_tensor(setting.labels[:BATCH]).long()
    logits = network(normalize(pixels, dtype_of(recipe)))
    losses = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing, reduction="none")
    losses.sum().backward()
    arrays |= {"loss of each example": losses, "loss sum": losses.sum()}
    arrays |= {f"gradient {name}": p.grad for name, p in network.named_parameters() if p.grad is not None}
    arrays |= {f"statistic {name}": b for name, b in network.named_buffers() if "running" in name}
    return {name: array.detach().numpy() for name, array in arrays.items()}


def _keep(arrays: dict[str, Tensor], name: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
    del module, inputs
    arrays[name] = output.detach().clone()


def winners(x: np.ndarray, size: int) -> np.ndarray:
    """Which pixel of each size x size window of x [N,C,H,W] is the largest, by rows, the first of equals: [N,C,h,w]."""
    return _windows(torch.from_numpy(np.ascontiguousarray(x)), size).numpy().argmax(-1)


def _windows(x: Tensor, size: int) -> Tensor:
    return x.unfold(2, size, size).unfold(3, size, size).flatten(4)  # [N,C,h,w,size * size]


def _take(
    arrays: dict[str, Tensor], number: int, chosen: Tensor, module: nn.Module, inputs: Any, output: Tensor
) -> Tensor:
    arrays[f"largest {number}"] = output
    pixels = _windows(inputs[0], POOLS[number]).gather(-1, chosen[..., None])[..., 0]
    arrays[f"pool {number}"] = pixels
    return pixels


def _nchw(array: Any) -> np.ndarray:
    return np.asarray(array).transpose(0, 3, 1, 2)
