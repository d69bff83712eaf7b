"""A network that learns from a tree of images in each framework, from the same weights and batches. (§9)"""

import functools
import time
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from airjax.nn.build import init_variables
from airjax.recipes.published import get_recipe
from airjax.recipes.recipe import Recipe
from airjax.stream.batches import open_batches
from airjax.stream.tree import Tree
from airjax.training.backend import backend_of, resolve_precision
from airjax.training.run import split_key
from airjax.training.stream_data import fit_tree, members_of, train_view
from airjax.training.stream_eval import eval_views
from airjax.training.stream_loop import train_stream
from airjax.utils.seeds import make_key
from parity.convert import to_state_dict
from parity.reference import train_step, tta_logits
from parity.run import run
from parity.torch_imagenet import normalized
from parity.torch_network import build_network
from parity.torch_optimizer import make_optimizer, reduction_of, schedule_step


class Learned(NamedTuple):
    """What one framework made of a seed."""

    framework: str
    seed: int
    accuracy: float  # on the first test crop with mirrored views, in [0, 1]
    losses: list[float]  # of every step
    seconds: float  # whole, with compilation


def small_recipe(epochs: float) -> Recipe:
    """Return the recipe of 16 epochs for a CPU: half of the channels, batches of 64, 64 and then 96 pixels."""
    return get_recipe("imagenet-resnet18-16").override(
        epochs=epochs,
        **{"widths": (32, 64, 128, 256), "batch_size": 64, "learning_rate": 0.05, "precision": "float32"},
        **{"ramp_first": 64, "ramp_last": 96, "test_sizes": (128, 96)},
    )


def learn_in_airjax(recipe: Recipe, tree: Tree, seed: int, workers: int) -> Learned:
    """Train and evaluate as `airjax train` does."""
    begun = time.perf_counter()
    done = train_stream(recipe, tree, seed, workers=workers)
    return Learned("airjax", seed, done.accuracy, done.metrics.loss.tolist(), time.perf_counter() - begun)


def learn_in_torch(recipe: Recipe, tree: Tree, seed: int, workers: int) -> Learned:
    """Train and evaluate our own PyTorch network from the weights with which airjax starts, on the same batches."""
    begun, recipe = time.perf_counter(), resolve_precision(fit_tree(recipe, tree))
    network = build_network(recipe)
    network.load_state_dict(to_state_dict(recipe, _initial(recipe, seed)))
    network = network.train().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizer = make_optimizer(recipe, network)
    how: Any = {"label_smoothing": recipe.loss.label_smoothing, "reduction": reduction_of(recipe)}
    view, losses = train_view(recipe, members_of(recipe, [seed])[0]), []
    with open_batches(tree.train, view, workers=workers) as batches:
        for step, batch in zip(range(recipe.total_steps), batches, strict=False):
            schedule_step(recipe, optimizer, step)
            images = normalized(torch.from_numpy(batch.images), torch.from_numpy(batch.mirrors), torch.float32)
            loss = train_step(network, optimizer, images, torch.from_numpy(batch.labels).long(), **how)
            losses.append(loss.item() / len(batch.labels))
    accuracy = _accuracy(recipe, network.eval(), tree, workers)
    return Learned("PyTorch", seed, accuracy, losses, time.perf_counter() - begun)


def _initial(recipe: Recipe, seed: int) -> Any:
    return run(functools.partial(init_variables, recipe, backend_of(recipe)), split_key(make_key(seed))[0])


@torch.no_grad()
def _accuracy(recipe: Recipe, network: nn.Module, tree: Tree, workers: int) -> float:
    view, right, evaluation = eval_views(recipe, backend_of(recipe))[0], 0, recipe.evaluation
    how = {"uniform": evaluation.tta_uniform, "mirrored": evaluation.tta_mirror}
    with open_batches(tree.val, view, workers=workers) as batches:
        for batch in batches:
            pixels = torch.from_numpy(batch.images)
            seen = normalized(pixels, torch.zeros(len(pixels), dtype=torch.bool), torch.float32)
            logits = tta_logits(network, seen, evaluation.tta_level, **how)
            right += int((logits.argmax(1).numpy() == batch.labels).sum())
    return right / len(tree.val_labels)


def describe(learned: list[Learned], tree: Tree) -> dict[str, Any]:
    """Return what is kept of the networks: accuracies with Wilson's 95% interval, and the losses."""
    from statsmodels.stats.proportion import proportion_confint

    images = len(tree.val_labels)
    runs = []
    for one in learned:
        low, high = np.asarray(proportion_confint(round(one.accuracy * images), images, method="wilson"), float)
        last = float(np.mean(one.losses[-len(one.losses) // 8 :]))
        kept = {"framework": one.framework, "seed": one.seed, "accuracy": one.accuracy, "interval": [low, high]}
        runs.append(kept | {"first_loss": one.losses[0], "last_loss": last, "seconds": one.seconds})
    return {"tree": tree.name, "train_images": len(tree.train_labels), "test_images": images, "networks": runs}
