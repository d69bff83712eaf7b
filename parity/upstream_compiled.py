"""The released package as its script airbench94_compiled trains it: networks compiled once, reinitialised in place.

Two networks, because a first bias that stops training in the middle would be compiled anew: one trains it, the other
has it frozen, and takes over the first one's state at the epoch at which the bias freezes. The network, its loader, its
whitening, lookahead and evaluation are the package's own.
"""

import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from airjax.data.dataset import Dataset
from airjax.recipes.recipe import Recipe
from parity import upstream_trainer
from parity.kinds import airbench_network, nesterov_optimizer
from parity.torch_optimizer import learning_rate_factor, lookahead_decay

MODES: dict[str, Literal["default", "max-autotune"]] = {"cpu": "default", "cuda": "max-autotune"}


class Compiled(NamedTuple):
    """A network and the same through torch.compile, which share their tensors."""

    network: nn.Module
    forward: Any


class CompiledTrainer:
    """Whole trainings from seeds on the same two compiled networks. The first training compiles.

    Raises ValueError for a recipe that the package does not have.
    """

    def __init__(self, recipe: Recipe, data: Dataset, device: str = "cpu") -> None:
        upstream_trainer.require_recipe(recipe)
        self.recipe, self.device = recipe, device
        self.data = data.head(recipe.train_examples, recipe.test_examples)
        with upstream_trainer.open_package(recipe, device):
            self.training, self.frozen = (self._compile(bias_trains) for bias_trains in (True, False))

    def train(self, seed: int) -> tuple[np.ndarray, dict[str, float]]:
        """Logits [M,10] of the test images at the recipe's level of test-time augmentation, and the seconds."""
        recipe = self.recipe
        torch.manual_seed(seed)
        clock = _Clock(self.device)
        with tempfile.TemporaryDirectory() as folder, upstream_trainer.open_package(recipe, self.device) as utils:
            upstream_trainer.save_data(self.data, Path(folder))
            loader = upstream_trainer.make_loader(utils, recipe, Path(folder))
            test = utils.CifarLoader(folder, train=False, batch_size=2000)
            reinitialise(self.training.network)
            slow = utils.LookaheadState(self.training.forward)  # as in the script, before the filters are whitened
            whiten = clock.time("whiten")
            images = loader.normalize(loader.images[: recipe.value_of("whiten_examples")])
            utils.init_whitening_conv(self.training.network[0], images, recipe.value_of("whiten_epsilon"))  # pyright: ignore[reportIndexIssue]
            whiten()
            network = self._train_steps(slow, loader, clock)
            evaluate = clock.time("evaluate")
            logits = utils.infer(network.forward, test, recipe.evaluation.tta_level).float()
            evaluate()
            return logits.cpu().numpy(), clock.seconds

    def _compile(self, bias_trains: bool) -> Compiled:
        network = upstream_trainer.make_network(self.recipe)
        network[0].bias.requires_grad_(bias_trains)  # pyright: ignore[reportIndexIssue]
        return Compiled(network, torch.compile(network, mode=MODES[self.device]))

    def _train_steps(self, slow: Any, loader: Any, clock: "_Clock") -> Compiled:
        # Returns the network that the training ends on.
        recipe, current = self.recipe, self.training
        optimizer, scheduler = make_optimizer(recipe, current.network)
        step, freezes = 0, airbench_network(recipe).whiten_bias_epochs
        for epoch in range(math.ceil(recipe.epochs)):
            stop = clock.time("train")
            if current is self.training and freezes is not None and epoch >= freezes:
                current = self.frozen
                current.network.load_state_dict(self.training.network.state_dict())
                before = optimizer.state_dict(), scheduler.state_dict()
                optimizer, scheduler = make_optimizer(recipe, current.network)
                optimizer.load_state_dict(before[0])
                scheduler.load_state_dict(before[1])
            current.forward.train()
            for images, labels in loader:
                train_step(recipe, current.forward, optimizer, images, labels)
                scheduler.step()
                step += 1
                if step % recipe.value_of("lookahead_every") == 0:
                    slow.update(current.forward, decay=lookahead_decay(recipe, step))
                if step == recipe.total_steps:
                    slow.update(current.forward, decay=1.0)
                    break
            stop()
        return current


def reinitialise(network: nn.Module) -> None:
    """Draw a network's parameters anew and reset its statistics, in the tensors that it has."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.Linear):
            module.reset_parameters()


def make_optimizer(recipe: Recipe, network: nn.Module) -> tuple[torch.optim.SGD, Any]:
    """Make the script's optimizer and schedule. Both networks' have the same groups, whatever is frozen."""
    rate, decay = recipe.sgd_learning_rate, recipe.sgd_weight_decay
    named = list(network.named_parameters())
    groups = [
        {"params": [p for name, p in named if ("norm" in name) == of_norm], "lr": lr, "weight_decay": decay / lr}
        for of_norm, lr in ((True, rate * nesterov_optimizer(recipe).bias_scale), (False, rate))
    ]
    optimizer = torch.optim.SGD(groups, momentum=recipe.optimizer.momentum, nesterov=True)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(recipe, step))


def train_step(recipe: Recipe, forward: Any, optimizer: torch.optim.SGD, images: Tensor, labels: Tensor) -> None:
    """Take one step on images [B,3,32,32] and labels [B]."""
    losses = nn.functional.cross_entropy(
        forward(images), labels, label_smoothing=recipe.loss.label_smoothing, reduction="none"
    )
    optimizer.zero_grad(set_to_none=True)
    losses.sum().backward()
    optimizer.step()


class _Clock:
    # Adds up the seconds of named parts: on CUDA by its events, as the script does.
    def __init__(self, device: str) -> None:
        self.on_cuda = device == "cuda"
        self.seconds = {"whiten": 0.0, "train": 0.0, "evaluate": 0.0}

    def time(self, part: str) -> Callable[[], None]:
        # Begins a part, and returns what ends it.
        if not self.on_cuda:
            began = time.perf_counter()
            return lambda: self._add(part, time.perf_counter() - began)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()

        def stop() -> None:
            end.record()
            torch.cuda.synchronize()
            self._add(part, 1e-3 * start.elapsed_time(end))

        return stop

    def _add(self, part: str, seconds: float) -> None:
        self.seconds[part] += seconds
