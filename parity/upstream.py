"""The released PyPI package `airbench` as a second, independent PyTorch implementation."""

import importlib
import importlib.metadata
import tempfile
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from airjax.augment.draws import Draws
from airjax.data.dataset import CIFAR10_CLASSES, Dataset
from airjax.data.info import CIFAR10
from airjax.recipes.recipe import Recipe
from parity.torch_draws import place_draws
from parity.torch_images import augment_epoch, prepare_images
from parity.torch_implementation import State, TorchImplementation, copy_state
from parity.torch_network import dtype_of
from parity.upstream_cpu import load_package, on_cpu
from parity.upstream_package import (
    block_widths,
    functions_of,
    make_normalizer,
    package_folder,
    save_images,
    to_pixels,
    train_arguments,
)


def make_implementation() -> TorchImplementation:
    """Make the package as the parity suite needs it. Raises MissingError."""
    load_package()
    return TorchImplementation(
        name=f"airbench {importlib.metadata.version('airbench')}",
        recipes=("94", "95", "96-paper"),
        build=build,
        init=init,
        augment=augment,
        filters=filters,
        factors=factors,
        lookahead=lookahead,
        train=train,
        logits=logits,
    )


def build(recipe: Recipe) -> nn.Module:
    """Build the package's network in the recipe's precision. Raises ValueError for one that it does not have."""
    make_net, _ = functions_of(recipe)
    with on_cpu(dtype_of(recipe)):
        return make_net(widths=block_widths(recipe), batchnorm_momentum=recipe.network.batchnorm_momentum)


def init(recipe: Recipe, seed: int) -> State:
    """Return a fresh network of the package."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return copy_state(build(recipe))


def augment(recipe: Recipe, images: np.ndarray, draws: Draws, epoch: int) -> np.ndarray:
    """Images of an epoch by the package's loader, which is handed the draws instead of random numbers."""
    placed, dtype = place_draws(draws), dtype_of(recipe)
    moves = {"translate": recipe.augmentation.translate, "cutout": recipe.augmentation.cutout}
    moves["flip"] = int(bool(placed.flips.any() or placed.mirrors[epoch].any()))
    with tempfile.TemporaryDirectory() as folder, on_cpu(dtype) as utils:
        save_images(Path(folder) / "train.pt", images, np.zeros(len(images), np.int64))
        loader = utils.CifarLoader(folder, batch_size=len(images), aug=moves, shuffle=False, altflip=True)
        integers = []
        for number in range(epoch + 1):
            if placed.shifts is not None:
                integers.append(placed.shifts[number].long() - recipe.augmentation.translate)
            if placed.corners is not None:
                integers += placed.corners[number].long().unbind(1)
        # Below one half means mirrored; the integers come in the order in which the loader asks for them.
        flips = torch.where(placed.flips, 0.0, 1.0)
        with (
            mock.patch.object(utils.torch, "rand", mock.Mock(return_value=flips)),
            mock.patch.object(utils.torch, "randint", mock.Mock(side_effect=integers)),
        ):
            batches = [next(iter(loader))[0] for _ in range(epoch + 1)]
    return batches[-1].permute(0, 2, 3, 1).numpy()


def filters(recipe: Recipe, images: np.ndarray) -> np.ndarray:
    """Whitening filters by the package, from images [N,32,32,3] uint8."""
    with on_cpu(dtype_of(recipe)) as utils:
        layer = nn.Conv2d(3, 24, 2)
        pixels = to_pixels(images, dtype_of(recipe))
        utils.init_whitening_conv(layer, make_normalizer(utils)(pixels), recipe.value_of("whiten_epsilon"))
        return layer.weight.detach().numpy()


def factors(recipe: Recipe) -> np.ndarray:
    """Return the learning-rate factors that the package's training hands to its scheduler."""
    seen: list[Callable[[int], Any]] = []
    schedulers = torch.optim.lr_scheduler

    class Spy(schedulers.LambdaLR):
        def __init__(self, optimizer: Any, factor: Callable[[int], Any]) -> None:
            seen.append(factor)
            super().__init__(optimizer, factor)

    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    labels = np.zeros(4, np.int32)
    data = Dataset("noise", images, labels, images, labels, CIFAR10_CLASSES, CIFAR10)
    with mock.patch.object(schedulers, "LambdaLR", Spy):
        _run(recipe, build(recipe), data, lambda _: iter(()))
    return np.array([float(seen[0](step)) for step in range(recipe.total_steps)])


def lookahead(network: nn.Module) -> Callable[[float], None]:
    """Return the package's lookahead over a network: a function of the decay."""
    dtype = next(network.parameters()).dtype
    with on_cpu(dtype) as utils:
        state = utils.LookaheadState(network)

    def sync(decay: float) -> None:
        with on_cpu(dtype):
            state.update(network, decay=decay)

    return sync


def train(
    recipe: Recipe, state: State, data: Dataset, draws: Draws, prepare: Callable[[nn.Module], object]
) -> list[State]:
    """Run the package's own training, on batches made from the draws: the states before every step, and the final
    one.

    prepare is handed the network before the first step. The state's whitening filters are kept: whitened anew, in
    float32 some would come out with another sign than in float64, and the two trainings would be of different networks.
    """
    network, states = build(recipe), []
    network.load_state_dict(state, strict=True)
    prepare(network)
    placed, dtype = place_draws(draws), dtype_of(recipe)
    prepared = prepare_images(recipe, torch.as_tensor(data.train_images), placed.flips, dtype)
    labels = torch.as_tensor(data.train_labels).long()

    def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        images = augment_epoch(recipe, prepared, placed, epoch)
        for chosen in placed.order[epoch].split(recipe.batch_size)[: recipe.steps_per_epoch]:
            states.append(copy_state(network))
            yield images[chosen], labels[chosen]

    utils = importlib.import_module(f"{load_package().__name__}.utils")
    with mock.patch.object(utils, "init_whitening_conv"):
        _run(recipe, network, data, batches)
    return [*states, copy_state(network)]


def logits(recipe: Recipe, state: State, images: np.ndarray) -> np.ndarray:
    """Return the package's logits [N,10] at the recipe's level of test-time augmentation."""
    network = build(recipe)
    network.load_state_dict(state, strict=True)
    with on_cpu(dtype_of(recipe)) as utils:
        loader = types.SimpleNamespace(images=to_pixels(images, dtype_of(recipe)), normalize=make_normalizer(utils))
        return utils.infer(network, loader, recipe.evaluation.tta_level).numpy()


def _run(
    recipe: Recipe, network: nn.Module, data: Dataset, batches: Callable[[int], Iterator[tuple[Tensor, Tensor]]]
) -> None:
    _, train_net = functions_of(recipe)
    dtype = dtype_of(recipe)
    with package_folder() as folder, on_cpu(dtype) as utils:
        save_images(folder / "test.pt", data.test_images[:1], data.test_labels[:1])
        # The package whitens on the first 5,000 images, always; here those are the recipe's.
        pixels = to_pixels(data.train_images[: recipe.value_of("whiten_examples")], dtype)
        loader = _Batches(recipe, pixels, make_normalizer(utils), batches)
        train_net(**train_arguments(recipe), train_loader=loader, make_net=lambda: network)


class _Batches:
    # What the package's training asks of a loader.
    def __init__(self, recipe: Recipe, pixels: Tensor, normalize: Any, batches: Callable[[int], Iterator[Any]]) -> None:
        self.batch_size, self.length, self.epoch = recipe.batch_size, recipe.steps_per_epoch, 0
        self.images, self.normalize, self.batches = pixels, normalize, batches

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        self.epoch += 1
        return self.batches(self.epoch - 1)
