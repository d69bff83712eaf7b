"""Selection by a proxy in PyTorch: batches across epochs, and which examples of them are trained on. (§3, §4.8)"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from airjax.recipes.recipe import Recipe
from airjax.training.selection import proxy_recipe
from parity.torch_draws import TensorDraws
from parity.torch_images import augment_epoch
from parity.torch_optimizer import (
    Lookahead,
    TorchOptimizer,
    lookahead_decay,
    make_optimizer,
    reduction_of,
    schedule_step,
)


class Proxy(NamedTuple):
    """The network that selects, and what its steps work on, in place."""

    recipe: Recipe  # its own
    network: nn.Module
    optimizer: TorchOptimizer
    slow: Lookahead | None  # None without lookahead


def start_proxy(recipe: Recipe, network: nn.Module) -> Proxy:
    """Return the proxy of a recipe with a selection before its first step."""
    own = proxy_recipe(recipe)
    slow = Lookahead(network) if own.averaging is not None else None
    return Proxy(own, network.train(), make_optimizer(own, network), slow)


def select(recipe: Recipe, proxy: Proxy, step: int, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Take the proxy's 0-based step on a batch: the places [K] to train on, ascending, and all losses [B]. (§4.8)

    In a step in which it learns, it does so from the examples that it has chosen; BatchNorm sees all of them.
    """
    schedule_step(proxy.recipe, proxy.optimizer, step)
    learns = step % recipe.value_of("proxy_every") == 0
    with torch.set_grad_enabled(learns):
        smoothing = recipe.loss.label_smoothing
        losses = F.cross_entropy(proxy.network(images), labels, label_smoothing=smoothing, reduction="none")
    # Of equal losses the first: topk leaves it open.
    places = losses.detach().sort(descending=True, stable=True).indices[: recipe.step_examples].sort().values
    if learns:
        proxy.optimizer.zero_grad(set_to_none=True)
        chosen = losses[places]
        (chosen.sum() if reduction_of(recipe) == "sum" else chosen.mean()).backward()
        proxy.optimizer.step()
    if proxy.slow is not None and (step + 1) % recipe.value_of("lookahead_every") == 0:
        proxy.slow.sync(lookahead_decay(proxy.recipe, step + 1))
    return places, losses.detach()


def iterate_batches(
    recipe: Recipe, prepared: Tensor, labels: Tensor, draws: TensorDraws
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the images [B,3,H,W] and labels [B] of every step, from images as `prepare_images` gives them. (§3)

    Where the remainder of an epoch is not dropped, the next epoch's first examples complete its last batch.
    """
    size, whole = recipe.batch_size, recipe.augmentation.drop_remainder
    left: tuple[Tensor, Tensor] | None = None
    for epoch, order in enumerate(draws.order):
        augmented = augment_epoch(recipe, prepared, draws, epoch)
        chosen = order[: recipe.steps_per_epoch * size] if whole else order
        if left is not None:
            first, chosen = chosen[: size - len(left[1])], chosen[size - len(left[1]) :]
            yield torch.cat([left[0], augmented[first]]), torch.cat([left[1], labels[first]])
        for part in chosen.split(size):
            batch = augmented[part], labels[part]
            left = batch if len(part) < size else None
            if left is None:
                yield batch
