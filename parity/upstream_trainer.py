"""Whole trainings by the released package, with its own loader and its own random numbers."""

import contextlib
import importlib
import importlib.metadata
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from airjax.data.dataset import Dataset
from airjax.recipes.recipe import Recipe
from parity.kinds import nesterov_optimizer
from parity.torch_network import dtype_of
from parity.upstream_cpu import load_package, on_cpu
from parity.upstream_package import (
    block_widths,
    functions_of,
    package_folder,
    save_images,
    train_arguments,
)

OTHERWISE = "compare with our own PyTorch reference"  # of an error: what else to do
WHITEN_EXAMPLES = 5000  # of the training images, always
# What the package takes from a recipe; all else is in its code, as the default recipe has it.
TAKEN = {
    "epochs", "batch_size", "train_examples", "test_examples", "precision", "widths", "convs_per_block", "residual",
    "batchnorm_momentum", "whiten_examples", "whiten_bias_epochs", "learning_rate", "weight_decay", "momentum",
    "bias_scale", "label_smoothing", "translate", "cutout", "tta_level",
}  # fmt: skip


def require_recipe(recipe: Recipe) -> None:
    """Raise ValueError for a recipe that the package cannot train; the message names the field and the remedy."""
    functions_of(recipe)
    nesterov_optimizer(recipe)
    for name, has in Recipe().flat().items():
        asked = recipe.value_of(name)
        if name not in TAKEN and asked != has:
            raise ValueError(f"airbench trains with {name} {has} only, not {asked}; leave it at {has}, or {OTHERWISE}")
    whitened, freezes = recipe.value_of("whiten_examples"), recipe.value_of("whiten_bias_epochs")
    if min(whitened, recipe.train_examples) != min(WHITEN_EXAMPLES, recipe.train_examples):
        raise ValueError(
            f"airbench whitens on {WHITEN_EXAMPLES} images, but whiten_examples is {whitened}; leave it at "
            f"{WHITEN_EXAMPLES}, or {OTHERWISE}"
        )
    # The package compares the number of the epoch, airjax that of the step.
    if freezes is not None and freezes % 1:
        raise ValueError(
            f"airbench freezes the first bias between two epochs, but whiten_bias_epochs is {freezes}; round it, or "
            f"{OTHERWISE}"
        )


def package_dtype(recipe: Recipe, device: str) -> torch.dtype:
    """Return what the package computes in: on a GPU float16, as shipped; on a CPU the recipe's precision."""
    return torch.float16 if device == "cuda" else dtype_of(recipe, device)


def open_package(recipe: Recipe, device: str) -> contextlib.AbstractContextManager[Any]:
    """Return the package's `utils` within the context, computing in `package_dtype`."""
    if device == "cpu":
        return on_cpu(package_dtype(recipe, device))
    return contextlib.nullcontext(importlib.import_module(f"{load_package().__name__}.utils"))


def make_network(recipe: Recipe) -> nn.Module:
    """Make a fresh network of the package, on its device while the package is open."""
    make_net, _ = functions_of(recipe)
    return make_net(widths=block_widths(recipe), batchnorm_momentum=recipe.network.batchnorm_momentum)


def save_data(data: Dataset, folder: Path) -> None:
    """Write the files that the package's loader reads."""
    save_images(folder / "train.pt", data.train_images, data.train_labels)
    save_images(folder / "test.pt", data.test_images, data.test_labels)


def make_loader(utils: Any, recipe: Recipe, folder: Path) -> Any:
    """Make the package's loader of training batches, from the files in a folder."""
    moves = {"flip": True, "translate": recipe.augmentation.translate, "cutout": recipe.augmentation.cutout}
    return utils.CifarLoader(str(folder), batch_size=recipe.batch_size, aug=moves, altflip=True)


class Trainer:
    """The package's whole training from a seed, with its own loader and its own random numbers.

    On a GPU it is the package as it is shipped, in float16; on a CPU, in the recipe's precision.

    Raises ValueError for a recipe that the package does not have.
    """

    def __init__(self, recipe: Recipe, data: Dataset, device: str = "cpu") -> None:
        require_recipe(recipe)
        self.recipe, self.data, self.device = recipe, data.head(recipe.train_examples, recipe.test_examples), device

    def train(self, seed: int) -> tuple[np.ndarray, dict[str, float]]:
        """Logits [M,10] of the test images at the recipe's level of test-time augmentation, and the seconds."""
        recipe = self.recipe
        _, train_net = functions_of(recipe)
        torch.manual_seed(seed)
        with package_folder() as folder, open_package(recipe, self.device) as utils:
            save_data(self.data, folder)
            loader = make_loader(utils, recipe, folder)
            start = time.perf_counter()
            network = train_net(
                **train_arguments(recipe),
                train_loader=loader,
                make_net=lambda: make_network(recipe),
                tta_level=0,
            )
            trained = time.perf_counter()
            test = utils.CifarLoader(str(folder), train=False, batch_size=2000)
            logits = utils.infer(network, test, recipe.evaluation.tta_level).float().cpu().numpy()
            return logits, {"train": trained - start, "evaluate": time.perf_counter() - trained}
