"""The training method in PyTorch, in our own words: the reference for airjax, and its speed baseline.

It takes *draws*, arrays of every random choice about the data, so that both frameworks can see the very same flips,
shifts, orders and cutouts; or a seed, from which it samples its own. CPU and CUDA; float32, float64, float16 as
released, bfloat16, and float32 under autocast. Section numbers refer to docs/recipes.md.
"""

import functools
import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from airjax.augment.draws import Draws
from airjax.data.dataset import Dataset
from airjax.recipes.augmentation import Tta
from airjax.recipes.recipe import Recipe
from airjax.training.selection import proxy_recipe
from parity.torch_curriculum import TailAverage, scale_at
from parity.torch_draws import TensorDraws, place_draws, sample_draws
from parity.torch_faster import Proxy, iterate_batches, select, start_proxy
from parity.torch_hiverge import select_views
from parity.torch_images import normalize, prepare_images, tta_views
from parity.torch_network import dtype_of, init_network, whitening_filters
from parity.torch_optimizer import (
    Lookahead,
    TorchOptimizer,
    lookahead_decay,
    make_optimizer,
    reduction_of,
    schedule_step,
    train_bias,
)

EVAL_BATCH = {"cpu": 100, "cuda": 2000}  # images per forward pass of an evaluation
CompileMode = Literal["default", "reduce-overhead", "max-autotune"]


class FinishedTraining(NamedTuple):
    """A finished training and what it cost."""

    network: nn.Module
    losses: np.ndarray  # [T] mean training loss of every step
    logits: np.ndarray  # [M,10] of the test images, with test-time augmentation
    accuracy: float  # fraction of the test images classified right
    seconds: dict[str, float]  # whiten, train, evaluate


class Training(NamedTuple):
    """What the steps of a training work on, in place."""

    network: nn.Module
    forward: Callable[[Tensor], Tensor]  # the network, or the network compiled
    optimizer: TorchOptimizer
    slow: Lookahead | None  # None without lookahead
    proxy: Proxy | None = None  # None without selection
    tail: TailAverage | None = None  # None without a tail


def start_training(
    recipe: Recipe, network: nn.Module, forward: Callable[[Tensor], Tensor], proxy: nn.Module | None = None
) -> Training:
    """Return the training of a network before its first step, and of its proxy where the recipe has a selection."""
    slow = Lookahead(network) if recipe.averaging is not None else None
    selects = None if proxy is None else start_proxy(recipe, proxy)
    tail = TailAverage(recipe, network) if recipe.ending is not None else None
    return Training(network, forward, make_optimizer(recipe, network), slow, selects, tail)


def start_proxy_network(recipe: Recipe, images: Tensor, generator: torch.Generator) -> nn.Module | None:
    """Return the initial proxy as `start_network` makes it; None without selection. (§4.8)"""
    return None if recipe.selection is None else start_network(proxy_recipe(recipe), images, generator)


def start_network(recipe: Recipe, images: Tensor, generator: torch.Generator) -> nn.Module:
    """Return a network initialised from generator, on its device, and whitened on images [N,32,32,3] uint8 if it is.

    (§2)
    """
    network = init_network(recipe, generator, generator.device)
    count = recipe.network.examples_at_start
    if count:
        dtype = dtype_of(recipe, generator.device)
        epsilon, ascending = recipe.value_of("whiten_epsilon"), recipe.value_of("whiten_ascending")
        filters = whitening_filters(normalize(images[:count], dtype), epsilon, ascending=ascending)
        network.get_parameter("0.weight").data.copy_(filters)
    return network


def train(
    recipe: Recipe,
    data: Dataset,
    *,
    seed: int = 0,
    network: nn.Module | None = None,
    proxy: nn.Module | None = None,
    draws: Draws | None = None,
    device: str = "cpu",
    compile_mode: CompileMode | None = None,
    autocast: bool = False,
    on_step: Callable[[int, nn.Module], None] | None = None,
) -> FinishedTraining:
    """Train one network and evaluate it.

    Args:
        recipe: the method. It uses the first `train_examples` and `test_examples` of the data.
        data: the data set.
        seed: what the initial network and the draws follow from, where they are not given.
        network: start from this one, as it is, and train it in place.
        proxy: the same of the network that selects examples, for a recipe that does.
        draws: the random choices about the data, for example airjax's.
        device: "cpu" or "cuda".
        compile_mode: run the network through torch.compile; its warm-up is not on the clock.
        autocast: let torch choose what of the network to compute in bfloat16.
        on_step: called with the number of steps done and the network, after lookahead.
    """
    dtype, clock = dtype_of(recipe, device), _Clock(device)
    data = data.head(recipe.train_examples, recipe.test_examples)
    images, labels, test_images = (
        torch.as_tensor(array, device=device)
        for array in (data.train_images, data.train_labels.astype(np.int64), data.test_images)
    )
    generator = torch.Generator(device).manual_seed(seed)
    if network is None:
        clock.start()
        network = start_network(recipe, images, generator)
        proxy = start_proxy_network(recipe, images, generator)
        clock.stop("whiten")
    forward = forward_of(recipe, network, device, compile_mode, autocast=autocast)
    training = start_training(recipe, network, forward, proxy)

    clock.start()
    choices = sample_draws(recipe, generator) if draws is None else place_draws(draws, device)
    prepared = prepare_images(recipe, images, choices.flips, dtype)
    losses = run_steps(recipe, training, prepared, labels, choices, on_step)
    if training.slow is not None:
        training.slow.sync(1.0)  # the network ends as its slow copy, and steps after the last sync are lost
    clock.stop("train")

    clock.start()
    logits = evaluate(forward, test_images, recipe.evaluation, dtype, device)
    clock.stop("evaluate")
    accuracy = float((logits.argmax(1) == data.test_labels).mean())
    mean_losses = torch.stack(losses).double().cpu().numpy() / recipe.step_examples
    return FinishedTraining(network, mean_losses, logits, accuracy, clock.seconds)


def run_steps(
    recipe: Recipe,
    training: Training,
    prepared: Tensor,
    labels: Tensor,
    draws: TensorDraws,
    on_step: Callable[[int, nn.Module], None] | None,
) -> list[Tensor]:
    """Take every step of a training on images as `prepare_images` gives them; returns the steps' losses []."""
    network, losses = training.network.train(), []
    batches = iterate_batches(recipe, prepared, labels, draws)
    for step, (images, targets) in zip(range(recipe.total_steps), batches, strict=False):
        losses.append(advance(recipe, training, step, images, targets))
        if on_step is not None:
            on_step(step + 1, network)
    return losses


def advance(recipe: Recipe, training: Training, step: int, images: Tensor, labels: Tensor) -> Tensor:
    """Take the 0-based step on images [B,3,32,32] and labels [B], with all that belongs to it; return its loss [].

    The images are scaled to the size of the step. Lookahead and the tail come after the optimizer.
    """
    images = scale_at(recipe, images, step)
    if training.proxy is not None:
        places, _ = select(recipe, training.proxy, step, images, labels)
        images, labels = images[places], labels[places]
    train_bias(recipe, training.network, step)
    schedule_step(recipe, training.optimizer, step)
    loss = train_step(
        training.forward,
        training.optimizer,
        images,
        labels,
        label_smoothing=recipe.loss.label_smoothing,
        reduction=reduction_of(recipe),
    )
    if training.slow is not None and (step + 1) % recipe.value_of("lookahead_every") == 0:
        training.slow.sync(lookahead_decay(recipe, step + 1))
    if training.tail is not None:
        training.tail.update(step + 1)
    return loss


def train_step(
    forward: Callable[[Tensor], Tensor],
    optimizer: torch.optim.Optimizer | TorchOptimizer,
    images: Tensor,
    labels: Tensor,
    *,
    label_smoothing: float,
    reduction: Literal["sum", "mean"] = "sum",
) -> Tensor:
    """Take one step on images [B,3,32,32] and labels [B]; return the summed loss [], not ready yet. (§4.1, §4.4, §7)"""
    loss = F.cross_entropy(forward(images), labels, label_smoothing=label_smoothing, reduction=reduction)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return loss.detach() * (len(labels) if reduction == "mean" else 1)


@torch.no_grad()
def tta_logits(
    forward: Callable[[Tensor], Tensor], images: Tensor, level: int, *, uniform: bool = False, mirrored: bool = True
) -> Tensor:
    """Weighted mean of the logits [N,10] over the views of normalised images [N,3,32,32]. (§5)"""
    views = tta_views(images, level, uniform=uniform, mirrored=mirrored)
    return sum((weight * forward(view) for weight, view in views), start=torch.zeros(()).to(images))


def evaluate(
    network: Any, images: np.ndarray | Tensor, evaluation: Tta, dtype: torch.dtype, device: str = "cpu"
) -> np.ndarray:
    """Logits [N,10] of images [N,32,32,3] uint8 with the running statistics."""
    network.eval()

    def logits_of(level: int, images: Tensor) -> Tensor:
        batches = images.split(EVAL_BATCH[torch.device(device).type])
        how = {"uniform": evaluation.tta_uniform, "mirrored": evaluation.tta_mirror}
        return torch.cat([tta_logits(network, normalize(batch, dtype), level, **how) for batch in batches])

    pixels = torch.as_tensor(images, device=device)
    plain, full = (functools.partial(logits_of, level) for level in (0, evaluation.tta_level))
    logits = select_views(evaluation, pixels, plain, full) if evaluation.selects(evaluation.tta_level) else full(pixels)
    return (logits.float() if logits.dtype == torch.bfloat16 else logits).cpu().numpy()  # numpy has no bfloat16


def forward_of(
    recipe: Recipe, network: nn.Module, device: str, mode: CompileMode | None, *, autocast: bool = False
) -> Callable[[Tensor], Tensor]:
    """Return what computes a network's logits: itself or compiled, in its own precision or as autocast has it."""
    computed = Autocast(network, torch.device(device).type) if autocast else network
    return computed if mode is None else _compiled(recipe, network, computed, device, mode)


class Autocast(nn.Module):
    """A network of which torch computes in bfloat16 what it thinks fit; its logits are in float32."""

    def __init__(self, network: nn.Module, device: str) -> None:
        super().__init__()
        self.network, self.device = network, device

    def forward(self, images: Tensor) -> Tensor:
        """Images as the network takes them."""
        with torch.autocast(self.device, torch.bfloat16):
            return self.network(images).float()


def _compiled(
    recipe: Recipe, network: nn.Module, computed: nn.Module, device: str, mode: CompileMode
) -> Callable[[Tensor], Tensor]:
    # What computes the network, compiled and warmed up for every phase and for evaluation; the network is restored.
    compiled, dtype = torch.compile(computed, mode=mode), dtype_of(recipe, device)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    size = recipe.inputs.image_size
    images = torch.zeros(recipe.step_examples, recipe.inputs.channels, size, size, dtype=dtype, device=device)
    images = images.to(memory_format=torch.channels_last)
    # The phases guard on requires_grad and on the images' size.
    for step in {phase.start for phase in recipe.phases()} | {0, recipe.total_steps}:
        train_bias(recipe, network, step)
        compiled(scale_at(recipe, images, step)).sum().backward()
    computed.eval()
    level, batch, count = recipe.evaluation.tta_level, EVAL_BATCH[torch.device(device).type], recipe.test_examples
    counts = [count, recipe.evaluation.num_selected(count)] if recipe.evaluation.selects(level) else [count]
    # Every size that a batch of them has, the last one's included.
    for size in sorted({min(batch, number) for number in counts} | {number % batch for number in counts} - {0}):
        # By way of the views, whose strides differ.
        views = images[:1].expand(size, -1, -1, -1).contiguous(memory_format=torch.channels_last)
        tta_logits(compiled, views, level)
    computed.train()
    train_bias(recipe, network, 0)
    network.load_state_dict(before)
    network.zero_grad(set_to_none=True)
    return compiled


class _Clock:
    # Adds up the seconds of named parts; a CUDA device is waited for at both ends.
    def __init__(self, device: str) -> None:
        self.on_cuda = torch.device(device).type == "cuda"
        self.seconds = {"whiten": 0.0, "train": 0.0, "evaluate": 0.0}
        self.start()

    def _now(self) -> float:
        if self.on_cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    def start(self) -> None:
        self.since = self._now()

    def stop(self, part: str) -> None:
        self.seconds[part] += self._now() - self.since
