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
from airjax.training.selection import proxy_recipe
from parity import reference
from parity.torch_draws import place_draws
from parity.torch_images import augment_epoch, normalize, prepare_images
from parity.torch_network import build_network, dtype_of, init_network, whitening_filters
from parity.torch_optimizer import Lookahead, learning_rate_factor

State = dict[str, Tensor]  # a state_dict
PROXY = "proxy."  # before the names of a proxy's tensors, where a state_dict has both networks


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
    # The states before every step, and the final one; the last argument is handed the network before the first. With a
    # selection the states are of both networks, and it is handed both, the proxy first.
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


def join_proxy(state: State) -> State:
    """Return a proxy's tensors under the names that they have beside the network's own."""
    return {PROXY + name: tensor for name, tensor in state.items()}


def split_state(state: State) -> tuple[State, State]:
    """Return the tensors of the network, and of its proxy under their own names."""
    own = {name: tensor for name, tensor in state.items() if not name.startswith(PROXY)}
    return own, {name.removeprefix(PROXY): tensor for name, tensor in state.items() if name.startswith(PROXY)}


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
    own, selects = split_state(state)
    network, plain = load_network(OWN, recipe, own), recipe.override(tta_level=0)
    proxy = None if recipe.selection is None else load_network(OWN, proxy_recipe(recipe), selects)
    prepare(network if proxy is None else nn.ModuleList([proxy, network]))

    def both() -> State:
        return copy_state(network) | ({} if proxy is None else join_proxy(copy_state(proxy)))

    states = [both()]
    reference.train(plain, data, network=network, proxy=proxy, draws=draws, on_step=lambda *_: states.append(both()))
    return [*states[:-1], both()]


def _logits(recipe: Recipe, state: State, images: np.ndarray) -> np.ndarray:
    return reference.evaluate(load_network(OWN, recipe, state), images, recipe.evaluation, dtype_of(recipe))


OWN = TorchImplementation(
    name="reference",
    recipes=(
        *("94", "94-airjax", "94-curriculum", "94-hiverge", "94-muon", "95", "96", "96-faster", "96-paper"),
        *("mini", "mini-faster", "mini-muon", "resnet18", "resnet18-80"),
    ),
    build=build_network,
    init=_init,
    augment=_augment,
    filters=_filters,
    factors=_factors,
    lookahead=_lookahead,
    train=_train,
    logits=_logits,
)
