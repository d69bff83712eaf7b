"""One optimizer step as a pure function: (state, batch) -> (state, metrics). (§4)"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float, Int

from airjax.augment.batch import Batch
from airjax.kernels.backend import Backend
from airjax.nn.build import Variables, apply_train
from airjax.optim.build import make_optimizer
from airjax.optim.groups import label_params
from airjax.optim.hyperparameters import Hyperparameters
from airjax.optim.lookahead import LookaheadState, lookahead_init, lookahead_update, tail_update
from airjax.optim.schedule import lookahead_decay
from airjax.recipes.recipe import Recipe
from airjax.training.backend import backend_of
from airjax.training.data_parallel import gather_parts, mean_over_devices, own_part, sum_over_devices
from airjax.training.selection import at_step, hardest, mark, proxy_recipe, take_examples
from airjax.utils.reprs import one_line


class TrainState(NamedTuple):
    """What one step hands to the next."""

    step: Int[Array, ""]  # optimizer steps done
    params: Any  # trained parameters
    frozen: Any  # whitening filters; empty where the first convolution is trained
    batch_stats: Any  # BatchNorm's running means and variances
    opt_state: optax.OptState
    lookahead: LookaheadState | None  # None without lookahead
    proxy: "TrainState | None" = None  # the network that selects examples; None without selection
    tail: LookaheadState | None = None  # the tail's average; None without a tail

    def __repr__(self) -> str:
        return one_line(self)


class StepMetrics(NamedTuple):
    """What one step reports, about the batch as it was trained on, before the update."""

    loss: Any  # [] sum of the losses, each times its example's weight if it has one, over their number; [t] of a run
    accuracy: Any  # [] or [t]: fraction of the examples classified right, whatever they weigh

    def __repr__(self) -> str:
        return one_line(self)


def init_state(
    recipe: Recipe, backend: Backend, variables: Variables, hyper: Hyperparameters, proxy: Variables | None = None
) -> TrainState:
    """Return the state before the first step, of a recipe with a selection from its proxy's variables, too."""
    params, batch_stats = variables["params"], variables["batch_stats"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        frozen=variables.get("frozen", {}),
        batch_stats=batch_stats,
        opt_state=make_optimizer(recipe, backend.precision, hyper).init(params),
        lookahead=None if recipe.averaging is None else lookahead_init((params, batch_stats)),
        proxy=None if proxy is None else init_state(proxy_recipe(recipe), backend, proxy, hyper)._replace(tail=None),
        tail=None if recipe.ending is None else lookahead_init((params, batch_stats)),
    )


def variables_of(state: TrainState) -> Variables:
    """Return the network in a state."""
    return {"params": state.params, "frozen": state.frozen, "batch_stats": state.batch_stats}


def smoothed_loss(
    logits: Float[Array, "n l"], labels: Int[Array, " n"], label_smoothing: Float[Array, ""]
) -> Float[Array, " n"]:
    """Compute each example's cross entropy with its label, smoothed over all l classes. (§4.1)"""
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype), label_smoothing)
    return optax.softmax_cross_entropy(logits, targets)


def train_step(
    recipe: Recipe,
    state: TrainState,
    batch: Batch,
    hyper: Hyperparameters,
    *,
    frozen: tuple[str, ...] = (),
    backend: Backend | None = None,
) -> tuple[TrainState, StepMetrics]:
    """Take one step of the recipe's optimizer, and of lookahead; of a recipe with a selection, of its proxy first. (§4)

    recipe, frozen and backend are static. frozen names the groups of parameters that do not train, ("whiten_bias",)
    towards the end: nothing before the first 3x3 convolution needs a gradient then, and that part of the backward pass
    is not computed. A backend of None is this process's (`airjax.training.backend.backend_of`). With a backend's mesh
    batch is what this device has of it, and the results are those of the whole batch.
    """
    backend, proxy = backend or backend_of(recipe), state.proxy
    mesh = backend.mesh
    if recipe.selection is not None:
        assert proxy is not None
        with jax.named_scope("proxy"):
            proxy, chosen, _ = select_examples(recipe, proxy._replace(step=state.step), batch, hyper, backend)
        # Those of a device may be in another one's part.
        batch = take_examples(gather_parts(mesh, batch), own_part(mesh, chosen))
        state = state._replace(proxy=proxy)

    def summed_loss(params: Any) -> tuple[Array, tuple[Array, Array, Any]]:
        losses, (logits, batch_stats) = batch_losses(recipe, backend, state, batch, hyper, frozen, params)
        return losses.sum(), (losses, logits, batch_stats)

    (_, (losses, logits, batch_stats)), gradients = jax.value_and_grad(summed_loss, has_aux=True)(state.params)
    gradients, optimizer = sum_over_devices(mesh, gradients), make_optimizer(recipe, backend.precision, hyper, frozen)
    params, opt_state = apply_gradients(optimizer, state, gradients)
    state = finish_step(recipe, state, params, batch_stats, opt_state)
    accuracy = accuracy_of(logits, batch.labels, backend.precision.statistics)
    return state, mean_over_devices(mesh, StepMetrics(losses.mean(), accuracy))


def select_examples(
    recipe: Recipe, proxy: TrainState, batch: Batch, hyper: Hyperparameters, backend: Backend
) -> tuple[TrainState, Int[Array, " k"], Float[Array, " b"]]:
    """Take the proxy's step on a batch of b examples: find the k hardest, and every few steps learn from them. (§4.8)

    Returns the proxy after the step, the examples' indices in the batch, ascending, and all examples' losses. BatchNorm
    sees the whole batch, in training mode, and so do the gradients of the chosen examples' losses. On several devices
    these are indices in the whole batch, and the losses of all of it.
    """
    selection, own, mesh = recipe.selection, proxy_recipe(recipe), backend.mesh
    assert selection is not None
    losses_of = functools.partial(batch_losses, own, backend, proxy, batch, hyper, ())
    losses, pullback, (_, batch_stats) = jax.vjp(losses_of, proxy.params, has_aux=True)
    losses = gather_parts(mesh, losses)
    chosen = hardest(losses, recipe.step_examples)

    def learn() -> tuple[Any, optax.OptState]:
        (gradients,) = sum_over_devices(mesh, pullback(own_part(mesh, mark(losses, chosen))))
        state = proxy._replace(opt_state=at_step(proxy.opt_state, proxy.step))
        return apply_gradients(make_optimizer(own, backend.precision, hyper), state, gradients)

    # A branch, because the backward pass is two thirds of the proxy's work; vmapped, both sides are computed.
    due = proxy.step % selection.proxy_every == 0
    params, opt_state = jax.lax.cond(due, learn, lambda: (proxy.params, proxy.opt_state))
    return finish_step(own, proxy, params, batch_stats, opt_state), chosen, losses


def batch_losses(
    recipe: Recipe,
    backend: Backend,
    state: TrainState,
    batch: Batch,
    hyper: Hyperparameters,
    frozen: tuple[str, ...],
    params: Any,
) -> tuple[Float[Array, " b"], tuple[Float[Array, "b l"], Any]]:
    """Compute each example's loss, times its weight, with a state's network and these parameters.

    Also returns the logits and BatchNorm's new running statistics.
    """
    variables = {"params": stop_gradients(params, frozen), "frozen": state.frozen, "batch_stats": state.batch_stats}
    logits, batch_stats = apply_train(recipe, backend, variables, batch.images)
    losses = smoothed_loss(logits, batch.labels, hyper.label_smoothing)
    if batch.weights is not None:
        losses = losses * batch.weights.astype(losses.dtype)
    return losses, (logits, batch_stats)


def apply_gradients(
    optimizer: optax.GradientTransformation, state: TrainState, gradients: Any
) -> tuple[Any, optax.OptState]:
    """Return the parameters and the optimizer's state after its update by the gradients of the summed loss."""
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    return optax.apply_updates(state.params, updates), opt_state


def finish_step(
    recipe: Recipe, state: TrainState, params: Any, batch_stats: Any, opt_state: optax.OptState
) -> TrainState:
    """Return the state after a step, with lookahead where the recipe has it and the step is one of its own. (§4.7)"""
    fast, steps_done, lookahead, tail = (params, batch_stats), state.step + 1, state.lookahead, state.tail
    if recipe.averaging is not None and lookahead is not None:
        sync = steps_done % recipe.averaging.lookahead_every == 0
        fast, lookahead = lookahead_update(fast, lookahead, lookahead_decay(recipe, steps_done), sync)
    if tail is not None:
        fast, tail = tail_update(recipe, fast, tail, steps_done)
    params, batch_stats = fast
    moved = {"params": params, "batch_stats": batch_stats, "opt_state": opt_state}
    return state._replace(step=steps_done, lookahead=lookahead, tail=tail, **moved)


def stop_gradients(params: Any, frozen: tuple[str, ...]) -> Any:
    """Return the parameters, with those of frozen groups as constants."""
    if not frozen:
        return params
    labels = label_params(params)
    return jax.tree.map(lambda one, label: jax.lax.stop_gradient(one) if label in frozen else one, params, labels)


def accuracy_of(
    logits: Float[Array, "n l"], labels: Int[Array, " n"], dtype: DTypeLike = jnp.float32
) -> Float[Array, ""]:
    """Compute the fraction of the rows of logits whose largest entry is at the label."""
    return (logits.argmax(-1).astype(labels.dtype) == labels).mean(dtype=dtype)


def averaged_variables(state: TrainState) -> Variables:
    """Return the trained network: lookahead's slow copy where there is one. (§4.7)"""
    if state.lookahead is None:
        return variables_of(state)
    params, batch_stats = state.lookahead.slow
    return {"params": params, "frozen": state.frozen, "batch_stats": batch_stats}
