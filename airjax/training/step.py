"""One optimizer step as a pure function: (state, batch) -> (state, metrics). (§4)"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from airjax.augment.batch import Batch
from airjax.kernels.layers import Convolution
from airjax.nn.airbench import Variables, apply_train
from airjax.optim.lookahead import LookaheadState, lookahead_init, lookahead_update
from airjax.optim.nesterov import Hyperparameters, make_optimizer
from airjax.optim.schedule import lookahead_decay
from airjax.recipes.precision import precision_of
from airjax.recipes.recipe import CLASSES, Recipe
from airjax.utils.reprs import one_line


class TrainState(NamedTuple):
    """What one step hands to the next."""

    step: Array  # [] int32: optimizer steps done
    params: Any  # trained parameters
    frozen: Any  # whitening filters; empty where the first convolution is trained
    batch_stats: Any  # BatchNorm's running means and variances
    opt_state: optax.OptState
    lookahead: LookaheadState | None  # None without lookahead

    def __repr__(self) -> str:
        return one_line(self)


class StepMetrics(NamedTuple):
    """What one step reports, about the batch as it was trained on."""

    loss: Any  # [] mean loss per example, weighted where the examples are; [T] for the steps of a run
    accuracy: Any  # the same: share of examples classified right, before the update

    def __repr__(self) -> str:
        return one_line(self)


def init_state(recipe: Recipe, variables: Variables, hyper: Hyperparameters) -> TrainState:
    """The state before the first step."""
    params, batch_stats = variables["params"], variables["batch_stats"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        frozen=variables.get("frozen", {}),
        batch_stats=batch_stats,
        opt_state=make_optimizer(recipe, hyper, train_whiten_bias=True).init(params),
        lookahead=lookahead_init((params, batch_stats)) if recipe.lookahead else None,
    )


def variables_of(state: TrainState) -> Variables:
    """The network in a state."""
    return {"params": state.params, "frozen": state.frozen, "batch_stats": state.batch_stats}


def smoothed_loss(logits: Array, labels: Array, label_smoothing: Array) -> Array:
    """Cross entropy [N] of logits [N,10] with labels [N] int, smoothed over all classes. (§4.1)"""
    targets = optax.smooth_labels(jax.nn.one_hot(labels, CLASSES, dtype=logits.dtype), label_smoothing)
    return optax.softmax_cross_entropy(logits, targets)


def train_step(
    recipe: Recipe,
    state: TrainState,
    batch: Batch,
    hyper: Hyperparameters,
    *,
    train_whiten_bias: bool,
    convolution: Convolution = "native",
) -> tuple[TrainState, StepMetrics]:
    """One step of SGD with Nesterov momentum and lookahead. (§4)

    recipe, train_whiten_bias and convolution are static. Once the whitening bias no longer trains, nothing before the
    first 3x3 convolution needs a gradient, and that part of the backward pass is not computed.
    """

    def summed_loss(params: Any) -> tuple[Array, tuple[Array, Array, Any]]:
        if not train_whiten_bias:
            params = {**params, "whiten": {**params["whiten"], "bias": jax.lax.stop_gradient(params["whiten"]["bias"])}}
        variables = {"params": params, "frozen": state.frozen, "batch_stats": state.batch_stats}
        logits, batch_stats = apply_train(recipe, variables, batch.images, convolution)
        losses = smoothed_loss(logits, batch.labels, hyper.label_smoothing)
        if batch.weights is not None:
            losses = losses * batch.weights.astype(losses.dtype)
        return losses.sum(), (losses, logits, batch_stats)

    (_, (losses, logits, batch_stats)), gradients = jax.value_and_grad(summed_loss, has_aux=True)(state.params)
    optimizer = make_optimizer(recipe, hyper, train_whiten_bias)
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    fast = (optax.apply_updates(state.params, updates), batch_stats)
    steps_done, lookahead = state.step + 1, state.lookahead
    if lookahead is not None:
        sync = steps_done % recipe.lookahead_every == 0
        fast, lookahead = lookahead_update(fast, lookahead, lookahead_decay(recipe, steps_done), sync)
    params, batch_stats = fast
    metrics = StepMetrics(losses.mean(), accuracy_of(logits, batch.labels, precision_of(recipe).statistics))
    return TrainState(steps_done, params, state.frozen, batch_stats, opt_state, lookahead), metrics


def accuracy_of(logits: Array, labels: Array, dtype: Any = jnp.float32) -> Array:
    """Share [] of the rows of logits [N,10] whose largest entry is at labels [N]."""
    return (logits.argmax(-1).astype(labels.dtype) == labels).mean(dtype=dtype)


def finish(state: TrainState) -> Variables:
    """The trained network: lookahead's slow copy where there is one. (§4.7)"""
    if state.lookahead is None:
        return variables_of(state)
    params, batch_stats = state.lookahead.slow
    return {"params": params, "frozen": state.frozen, "batch_stats": batch_stats}
