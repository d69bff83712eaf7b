"""Muon in PyTorch, for the convolutions, beside torch's SGD for everything else. (§4.6)"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from airjax.recipes import optimizer_muon as recipes
from airjax.recipes.recipe import Recipe
from parity.torch_hiverge import Rescaling


class Muon(torch.optim.Optimizer):
    """Move kernels [O,I,h,w], in some steps once they are rescaled, along their orthogonalised momentum."""

    def __init__(self, kernels: Iterable[nn.Parameter], recipe: recipes.Muon, batch_size: int, num_steps: int) -> None:
        super().__init__(kernels, {"lr": recipe.learning_rate, "momentum": recipe.momentum})
        self.recipe, self.rescaling = recipe, Rescaling(recipe, num_steps)
        self.decay = recipe.conv_weight_decay * batch_size

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take one step."""
        rescaled = self.rescaling.due()
        for group in self.param_groups:
            for kernel in group["params"]:
                buffer = self.state[kernel].setdefault("momentum_buffer", torch.zeros_like(kernel))
                buffer.mul_(group["momentum"]).add_(kernel.grad)
                ahead = (kernel.grad + group["momentum"] * buffer).flatten(1)
                if rescaled:
                    kernel.mul_(len(kernel) ** 0.5 / kernel.norm())
                moved = orthogonalized(ahead, self.recipe).view(kernel.shape).to(kernel.dtype)
                kernel.sub_(moved, alpha=group["lr"])
                if self.decay:
                    kernel.mul_(1 - group["lr"] * self.decay)


def orthogonalized(matrix: Tensor, recipe: recipes.Muon) -> Tensor:
    """Return a matrix with singular values nearer to 1: one in float64 in float64, others in the recipe's type."""
    if len(matrix) > matrix.shape[1]:
        return orthogonalized(matrix.T, recipe).T
    if matrix.dtype != torch.float64:
        matrix = matrix.to(getattr(torch, recipe.newton_schulz_precision))
    a, b, c = recipe.newton_schulz_coefficients
    matrix = matrix / (matrix.norm() + recipe.newton_schulz_epsilon)
    for _ in range(recipe.newton_schulz_steps):
        square = matrix @ matrix.T
        matrix = a * matrix + (b * square + c * (square @ square)) @ matrix
    return matrix


class SgdAndMuon:
    """Two optimizers as one, so far as a training asks."""

    def __init__(self, sgd: torch.optim.SGD, muon: Muon) -> None:
        self.parts = (sgd, muon)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of both."""
        return [group for part in self.parts for group in part.param_groups]

    @property
    def state(self) -> dict[Tensor, dict[str, Tensor]]:
        """The buffers of both, by parameter."""
        return {parameter: state for part in self.parts for parameter, state in part.state.items()}

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=set_to_none)

    def step(self) -> None:
        """Take one step of both."""
        for part in self.parts:
            part.step()


def make_muon(recipe: Recipe, optimizer: recipes.Muon, trained: list[tuple[str, nn.Parameter]]) -> SgdAndMuon:
    """Return Muon over all kernels of convolutions, and SGD in two groups of its own over biases and head.

    The bias of the first convolution is in a third one, whose schedule ends where that bias is frozen.
    """
    decay = optimizer.sgd_weight_decay(recipe.batch_size)
    first = [p for name, p in trained if name == "0.bias"]
    norms = [p for name, p in trained if "norm" in name]
    rest = [p for name, p in trained if p.ndim != 4 and name != "0.bias" and "norm" not in name]
    table = (
        (first, optimizer.bias_learning_rate, max(recipe.freeze_step, 1)),
        (norms, optimizer.bias_learning_rate, None),
        (rest, optimizer.head_learning_rate, None),
    )
    groups = [
        {"params": params, "lr": rate, "weight_decay": decay / rate, "num_steps": steps}
        for params, rate, steps in table
        if params
    ]
    momentum = optimizer.sgd_momentum
    sgd = torch.optim.SGD(groups, momentum=momentum, nesterov=momentum > 0)
    kernels = [p for _, p in trained if p.ndim == 4]
    return SgdAndMuon(sgd, Muon(kernels, optimizer, recipe.batch_size, recipe.total_steps))
