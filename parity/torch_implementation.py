"""What the parity suite asks of a PyTorch implementation, and our reference in that form."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from airjax.augment.draws import Draws
from airjax.data.dataset import CIFAR10_CLASSES, Dataset
from airjax.data.info import CIFAR10
from airjax.recipes.recipe import Recipe
from parity import reference
from parity.torch_draws import place_draws
from parity.torch_images import augment_epoch, normalize, prepare_images
from parity.torch_network import build_network, dtype_of, init_network, whitening_filters
from parity.torch_optimizer import Lookahead, learning_rate_factor

State = dict[str, Tensor]  # a state_dict


class TorchImplementation(NamedTuple):
    """A PyTorch implementation as functions of arrays, on a CPU, in the recipe's precision."""

    name: str
    recipes: tuple[str, ...]  # that it has
    build: Callable[[Recipe], nn.Module]  # an uninitialised network
    init: Callable[[Recipe, int], State]  # of a fresh network, from a seed
    augment: Callable[[Recipe, np.ndarray, Draws, int], np.ndarray]  # (uint8 images, draws, epoch) -> [N,32,32,3]
    filters: Callable[[Recipe, np.ndarray], np.ndarray]  # uint8 images -> whitening filters [24,3,2,2]
    factors: Callable[[Recipe], np.ndarray]  # learning-rate factors [T]
    lookahead: Callable[[nn.Module], Callable[[float], None]]  # network -> sync(decay), in place
    # The states before every step, and the final one; the last argument is handed the network before the first.
    train: Callable[[Recipe, State, Dataset, Draws, Callable[[nn.Module], object]], list[State]]
    logits: Callable[[Recipe, State, np.ndarray], np.ndarray]  # uint8 images -> [N,10] at the recipe's TTA level


def load_network(implementation: TorchImplementation, recipe: Recipe, state: State) -> nn.Module:
    """Load the implementation's network with these tensors. Raises RuntimeError unless every key fits."""
    network = implementation.build(recipe)
    network.load_state_dict(state, strict=True)
    return network


def copy_state(network: nn.Module) -> State:
    """Return a state_dict that later training does not change."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def take_examples(recipe: Recipe, images: np.ndarray, labels: np.ndarray) -> Dataset:
    """Return a data set of exactly the recipe's examples."""
    train, test = recipe.train_examples, recipe.test_examples
    labels = labels.astype(np.int32)
    parts = images[:train], labels[:train], images[-test:], labels[-test:]
    return Dataset("part", *parts, CIFAR10_CLASSES, CIFAR10)


def _init(recipe: Recipe, seed: int) -> State:
    return copy_state(init_network(recipe, torch.Generator().manual_seed(seed)))


def _augment(recipe: Recipe, images: np.ndarray, draws: Draws, epoch: int) -> np.ndarray:
    placed = place_draws(draws)
    prepared = prepare_images(recipe, torch.as_tensor(images), placed.flips, dtype_of(recipe))
    return augment_epoch(recipe, prepared, placed, epoch).permute(0, 2, 3, 1).numpy()


def _filters(recipe: Recipe, images: np.ndarray) -> np.ndarray:
    pixels = normalize(torch.as_tensor(images), dtype_of(recipe))
    epsilon, ascending = recipe.value_of("whiten_epsilon"), recipe.value_of("whiten_ascending")
    return whitening_filters(pixels, epsilon, ascending=ascending).numpy()


def _factors(recipe: Recipe) -> np.ndarray:
    return np.array([learning_rate_factor(recipe, step) for step in range(recipe.total_steps)])


def _lookahead(network: nn.Module) -> Callable[[float], None]:
    return Lookahead(network).sync


def _train(
    recipe: Recipe, state: State, data: Dataset, draws: Draws, prepare: Callable[[nn.Module], object]
) -> list[State]:
    network = load_network(OWN, recipe, state)
    prepare(network)
    states = [copy_state(network)]
    plain = recipe.override(tta_level=0)
    reference.train(plain, data, network=network, draws=draws, on_step=lambda _, n: states.append(copy_state(n)))
    return [*states[:-1], copy_state(network)]


def _logits(recipe: Recipe, state: State, images: np.ndarray) -> np.ndarray:
    return reference.evaluate(load_network(OWN, recipe, state), images, recipe.evaluation.tta_level, dtype_of(recipe))


OWN = TorchImplementation(
    name="reference",
    recipes=("94", "94-curriculum", "94-muon", "95", "96", "96-paper", "mini", "resnet18", "resnet18-80"),
    build=build_network,
    init=_init,
    augment=_augment,
    filters=_filters,
    factors=_factors,
    lookahead=_lookahead,
    train=_train,
    logits=_logits,
)
