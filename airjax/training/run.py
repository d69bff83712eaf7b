"""init -> whiten -> train -> evaluate, as one pure function of a key and arrays, and the pieces that it is made of."""

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from airjax.augment.batch import Selection, batch_at
from airjax.augment.draws import Draws, sample_draws
from airjax.augment.transforms import normalize
from airjax.kernels.layers import Convolution
from airjax.nn.airbench import Variables, init_variables
from airjax.nn.whitening import whitening_filters
from airjax.optim.nesterov import Hyperparameters, hyperparameters
from airjax.recipes.precision import precision_of, resolve_precision
from airjax.recipes.published import get_recipe
from airjax.recipes.recipe import Recipe
from airjax.training.evaluate import eval_batch, tta_logits
from airjax.training.step import StepMetrics, TrainState, accuracy_of, finish, init_state, train_step
from airjax.utils.reprs import one_line
from airjax.utils.seeds import fixed_algorithm

Step = Callable[[TrainState], tuple[TrainState, StepMetrics]]


class Arrays(NamedTuple):
    """A data set on the device. At least as many examples as the recipe uses."""

    train_images: Array  # [N,32,32,3] uint8
    train_labels: Array  # [N] int32
    test_images: Array  # [M,32,32,3] uint8
    test_labels: Array  # [M] int32

    def __repr__(self) -> str:
        return one_line(self)


class RunResult(NamedTuple):
    """What one training yields."""

    variables: Variables
    metrics: StepMetrics  # each [T]: one entry per step
    logits: Array  # [M,10] of the test images, with test-time augmentation
    accuracy: Array  # [] share of the test images classified right

    def __repr__(self) -> str:
        return one_line(self)


class Segment(NamedTuple):
    """Consecutive steps that one call does."""

    epoch: int
    train_whiten_bias: bool
    num_steps: int


def segments(recipe: Recipe, *, by_epoch: bool, at_most: int | None = None) -> list[Segment]:
    """The run's steps, cut where the bias freezes, with by_epoch at every epoch's end, and into at_most steps.

    With at_most, the first segment is a single step, so that a training soon shows that it works.
    """
    cuts = {0, recipe.freeze_step, recipe.total_steps}
    if by_epoch:
        cuts |= set(range(0, recipe.total_steps, recipe.steps_per_epoch))
    if at_most is not None:
        cuts |= {1} | {cut for first, end in itertools.pairwise(sorted(cuts)) for cut in range(first, end, at_most)}
    bounds = sorted(cuts)
    return [
        Segment(start // recipe.steps_per_epoch, start < recipe.freeze_step, stop - start)
        for start, stop in itertools.pairwise(bounds)
    ]


def start_run(
    recipe: Recipe, key: Array, train_images: Array, hyper: Hyperparameters, selection: Selection | None = None
) -> tuple[TrainState, Draws]:
    """Initial state with whitened first convolution, and the draws, from a key and train_images [N,32,32,3] uint8."""
    with fixed_algorithm():
        init_key, draws_key = jax.random.split(key)
    variables = init_variables(recipe, init_key)
    if recipe.whiten:
        precision = precision_of(recipe)
        if selection is None:
            images = train_images[: recipe.whiten_examples]
        else:
            images = train_images[selection.indices[: recipe.whiten_examples]]
        images = normalize(images, precision.statistics)
        filters = whitening_filters(images, recipe.whiten_epsilon).astype(precision.params)
        variables = {**variables, "frozen": {"whiten": {"kernel": filters}}}
    return init_state(recipe, variables, hyper), sample_draws(recipe, draws_key)


def advance(
    recipe: Recipe,
    state: TrainState,
    images: Array,
    labels: Array,
    draws: Draws,
    hyper: Hyperparameters,
    selection: Selection | None = None,
    *,
    train_whiten_bias: bool,
    convolution: Convolution = "native",
) -> tuple[TrainState, StepMetrics]:
    """Take the step that the state is at, on its batch of images [N,32,32,3] uint8 and labels [N]."""
    with jax.named_scope("batch"):
        batch = batch_at(recipe, images, labels, draws, state.step, selection)
    return train_step(recipe, state, batch, hyper, train_whiten_bias=train_whiten_bias, convolution=convolution)


def advance_many(take: Step, state: TrainState, num_steps: int) -> tuple[TrainState, StepMetrics]:
    """Take a step num_steps times inside one program; the metrics gain a leading axis [num_steps]."""
    return lax.scan(lambda carried, _: take(carried), state, length=num_steps)


def advance_up_to(take: Step, state: TrainState, count: Array, at_most: int) -> tuple[TrainState, StepMetrics]:
    """Take a step count [] <= at_most times, compiled for any count. Of metrics [at_most] the first count hold."""

    def body(done: Array, carried: tuple[TrainState, StepMetrics]) -> tuple[TrainState, StepMetrics]:
        state, metrics = take(carried[0])
        return state, jax.tree.map(lambda column, value: column.at[done].set(value), carried[1], metrics)

    _, one = jax.eval_shape(take, state)
    metrics = jax.tree.map(lambda value: jnp.zeros(at_most, value.dtype), one)
    return lax.fori_loop(0, count, body, (state, metrics))


def make_run(recipe: Recipe | str) -> Callable[[Array, Arrays], RunResult]:
    """The whole training as one pure function run(key, data), to be jitted, vmapped or mapped.

    The key is `airjax.make_key(seed)`, the data `airjax.to_device(data, recipe)`. For accelerators: on a CPU its
    convolutions inside a loop are many times slower than outside, so use `airjax.training.loop.train` there.
    """
    recipe = resolve_precision(get_recipe(recipe))

    def run(key: Array, data: Arrays) -> RunResult:
        hyper = hyperparameters(recipe)
        state, draws = start_run(recipe, key, data.train_images, hyper)
        parts = []
        for segment in segments(recipe, by_epoch=False):
            take = functools.partial(
                advance,
                recipe,
                images=data.train_images,
                labels=data.train_labels,
                draws=draws,
                hyper=hyper,
                train_whiten_bias=segment.train_whiten_bias,
            )
            state, metrics = advance_many(take, state, segment.num_steps)
            parts.append(metrics)
        variables = finish(state)
        images, labels = data.test_images[: recipe.test_examples], data.test_labels[: recipe.test_examples]
        logits = lax.map(
            lambda image: tta_logits(recipe, variables, image[None])[0], images, batch_size=eval_batch(recipe)
        )
        metrics = jax.tree.map(lambda *steps: jnp.concatenate(steps), *parts)
        return RunResult(variables, metrics, logits, accuracy_of(logits, labels, precision_of(recipe).statistics))

    return run
