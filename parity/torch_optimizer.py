"""Schedule, parameter groups, lookahead and the bias freeze in PyTorch. (§4.2-4.7)"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from airjax.recipes.optimizer import Piecewise, Schedule, Sgd
from airjax.recipes.optimizer_heavy_ball import HeavyBall
from airjax.recipes.optimizer_muon import Muon
from airjax.recipes.recipe import Recipe
from parity.torch_muon import SgdAndMuon, make_muon

TorchOptimizer = torch.optim.SGD | SgdAndMuon


def learning_rate_factor(recipe: Recipe, step: int, num_steps: int | None = None) -> float:
    """Learning-rate factor of the step with 0-based number step, of the recipe's steps or of num_steps. (§4.5, §7)"""
    if num_steps is None and recipe.ending is not None:
        total = recipe.total_steps - recipe.ending.tail_steps
        return max(_factor(recipe.schedule, total, min(step, total)), recipe.ending.tail_floor)
    return _factor(recipe.schedule, num_steps or recipe.total_steps, step)


def _factor(schedule: Schedule, total: int, step: int) -> float:
    if isinstance(schedule, Piecewise):
        factor = 1.0
        for drop in schedule.schedule_drops:
            if step >= round(drop * total):
                factor *= schedule.schedule_factor
        return factor
    peak = int(total * schedule.schedule_peak)
    if step < peak:
        return schedule.schedule_start + (1 - schedule.schedule_start) * step / peak
    return 1 + (schedule.schedule_end - 1) * (step - peak) / (total - peak)


def lookahead_decay(recipe: Recipe, steps_done: int) -> float:
    """Fraction of the slow weights kept when steps_done steps are complete. (§4.7)"""
    return recipe.value_of("lookahead_decay") * (steps_done / recipe.total_steps) ** 3


def make_optimizer(recipe: Recipe, network: nn.Module) -> TorchOptimizer:
    """SGD with Nesterov momentum over everything that trains, in the groups of the recipe's optimizer; or Muon."""
    trained = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    optimizer = _make_sgd(recipe, trained)
    for group in optimizer.param_groups:
        group["peak_lr"] = group["lr"]
    return optimizer


def _make_sgd(recipe: Recipe, trained: list[tuple[str, nn.Parameter]]) -> TorchOptimizer:
    if isinstance(recipe.optimizer, Muon):
        return make_muon(recipe, recipe.optimizer, trained)
    momentum, on_cuda = recipe.optimizer.momentum, all(p.is_cuda for _, p in trained)
    nesterov = momentum > 0 and not isinstance(recipe.optimizer, HeavyBall)
    return torch.optim.SGD(_groups(recipe, trained), momentum=momentum, nesterov=nesterov, fused=on_cuda or None)


def _groups(recipe: Recipe, trained: list[tuple[str, nn.Parameter]]) -> list[dict[str, Any]]:
    # With Sgd one group in torch's own units (§7). Otherwise two, the BatchNorm biases and everything else; torch
    # multiplies decay by the learning rate, so each group's coefficient is divided by its own. (§4.2, §4.3)
    optimizer = recipe.optimizer
    assert not isinstance(optimizer, Muon)
    if isinstance(optimizer, Sgd):
        params = [p for _, p in trained]
        return [{"params": params, "lr": optimizer.learning_rate, "weight_decay": optimizer.weight_decay}]
    if isinstance(optimizer, HeavyBall):  # FFCV's groups: what has "bn" in its name does not decay (§9)
        parts = [[p for name, p in trained if ("bn" in name) == fixed] for fixed in (True, False)]
        decays, rate = (0.0, optimizer.weight_decay), optimizer.learning_rate
        return [{"params": part, "lr": rate, "weight_decay": decay} for part, decay in zip(parts, decays, strict=True)]
    rate, decay = recipe.sgd_learning_rate, recipe.sgd_weight_decay
    return [
        {"params": [p for name, p in trained if ("norm" in name) == is_norm], "lr": lr, "weight_decay": decay / lr}
        for is_norm, lr in ((True, rate * optimizer.bias_scale), (False, rate))
    ]


def reduction_of(recipe: Recipe) -> Literal["sum", "mean"]:
    """Return what the optimizer's gradients are of: the losses' sum over the batch (§4.1), or their mean (§7)."""
    return "mean" if isinstance(recipe.optimizer, Sgd | HeavyBall) else "sum"


def schedule_step(recipe: Recipe, optimizer: TorchOptimizer, step: int) -> None:
    """Set the learning rates of the 0-based step; a group may have a schedule of so many steps of its own."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * learning_rate_factor(recipe, step, group.get("num_steps"))


class Lookahead:
    """A slow copy of every floating tensor of the network's state, running statistics included. (§4.7)"""

    def __init__(self, network: nn.Module) -> None:
        self.fast = [tensor for tensor in network.state_dict().values() if tensor.is_floating_point()]
        self.slow = [tensor.clone() for tensor in self.fast]

    def sync(self, decay: float) -> None:
        """slow := decay * slow + (1 - decay) * fast; fast := slow."""
        torch._foreach_lerp_(self.slow, self.fast, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]
        torch._foreach_copy_(self.fast, self.slow)  # pyright: ignore[reportPrivateImportUsage]


def train_bias(recipe: Recipe, network: nn.Module, step: int) -> None:
    """Train the first convolution's bias until freeze_step; then it has no gradient, and SGD passes it over. (§2)"""
    if recipe.network.freeze_epochs is None:
        return
    bias = network.get_submodule("0").bias
    if isinstance(bias, Tensor):
        bias.requires_grad_(step < recipe.freeze_step)
