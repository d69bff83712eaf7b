"""What the released package takes and gives: its functions, arguments, pixels and files."""

import contextlib
import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from airjax.recipes.recipe import Recipe
from parity.kinds import airbench_network, nesterov_optimizer
from parity.upstream_cpu import load_package


@contextlib.contextmanager
def package_folder() -> Iterator[Path]:
    """Make a folder for the package's data, in which everything runs within the context."""
    # The package looks for its data in `cifar10` where it is run.
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        data = Path(folder) / "cifar10"
        data.mkdir()
        yield data


def train_arguments(recipe: Recipe) -> dict[str, Any]:
    """Return what the package's training takes from a recipe."""
    whiten_bias_epochs = airbench_network(recipe).whiten_bias_epochs
    return {
        "epochs": recipe.epochs,
        "label_smoothing": recipe.loss.label_smoothing,
        "learning_rate": recipe.optimizer.learning_rate,
        "bias_scaler": nesterov_optimizer(recipe).bias_scale,
        "momentum": recipe.optimizer.momentum,
        "weight_decay": recipe.optimizer.weight_decay,
        "whiten_bias_epochs": math.inf if whiten_bias_epochs is None else whiten_bias_epochs,
        "verbose": False,
    }


def block_widths(recipe: Recipe) -> dict[str, int]:
    """Return the channels of each block, by the package's names."""
    return dict(zip(("block1", "block2", "block3"), recipe.network.widths, strict=True))


def functions_of(recipe: Recipe) -> tuple[Callable[..., nn.Module], Callable[..., nn.Module]]:
    """Return the package's functions that make a network and train one. Raises ValueError for another structure."""
    package = load_package()
    network = airbench_network(recipe)
    match network.convs_per_block, network.residual:
        case 2, "none":
            return package.make_net94, package.train94
        case 3, "after-activation":
            return package.make_net96, package.train96
    structure = f"{network.convs_per_block} convolutions per block and residual {network.residual}"
    raise ValueError(f"airbench has no network with {structure}")


def make_normalizer(utils: Any) -> Callable[[Tensor], Tensor]:
    """Return the package's normalisation of images in [0, 1]."""
    return utils.T.Normalize(utils.CIFAR_MEAN, utils.CIFAR_STD)


def to_pixels(images: np.ndarray, dtype: torch.dtype) -> Tensor:
    """Bring images [N,32,32,3] uint8 into the package's form: [N,3,32,32] in [0, 1]."""
    pixels = torch.as_tensor(images).to(dtype) / 255
    return pixels.permute(0, 3, 1, 2).to(memory_format=torch.channels_last)


def save_images(file: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Write a file that the package's loader reads."""
    labels = labels.astype(np.int64)
    torch.save({"images": torch.tensor(images), "labels": torch.tensor(labels), "classes": []}, file)
