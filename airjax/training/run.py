"""init -> whiten -> train -> evaluate, as one pure function of a key and arrays, and the pieces that it is made of."""

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int, Key, UInt8

from airjax.augment.batch import Batch, Selection, batch_at
from airjax.augment.draws import Draws, sample_draws
from airjax.augment.resize import resize
from airjax.augment.transforms import normalize
from airjax.kernels.backend import Backend
from airjax.nn.build import Variables, init_variables, set_from_images
from airjax.optim.hyperparameters import Hyperparameters, hyperparameters
from airjax.recipes.published import get_recipe
from airjax.recipes.recipe import Phase, Recipe
from airjax.training.backend import backend_of, resolve_precision
from airjax.training.data_parallel import own_part
from airjax.training.eval_plans import eval_batch
from airjax.training.evaluate import tta_logits
from airjax.training.selection import proxy_recipe
from airjax.training.selective import selective_logits
from airjax.training.step import StepMetrics, TrainState, accuracy_of, averaged_variables, init_state, train_step
from airjax.utils.reprs import one_line
from airjax.utils.seeds import fixed_algorithm

State = TypeVar("State")  # a TrainState, or those of several networks
Metrics = TypeVar("Metrics")
Step = Callable[[State], tuple[State, Metrics]]


class Arrays(NamedTuple):
    """A data set on the device. At least as many examples as the recipe uses."""

    train_images: UInt8[Array, "n h w c"]
    train_labels: Int[Array, " n"]
    test_images: UInt8[Array, "m h w c"]
    test_labels: Int[Array, " m"]

    def __repr__(self) -> str:
        return one_line(self)


class RunResult(NamedTuple):
    """What one training yields."""

    variables: Variables
    metrics: StepMetrics  # each [t]: one entry per step
    logits: Float[Array, "m l"]  # of the test images, with test-time augmentation
    accuracy: Float[Array, ""]  # fraction of the test images classified right

    def __repr__(self) -> str:
        return one_line(self)


class Task(NamedTuple):
    """All arrays that the steps of one network read. A group of networks maps over what differs between them."""

    images: UInt8[Array, "n h w c"]
    labels: Int[Array, " n"]
    draws: Draws
    hyper: Hyperparameters
    selection: Selection | None = None  # None: the network's examples are the first ones, in the data set's order

    def __repr__(self) -> str:
        return one_line(self)


class Segment(NamedTuple):
    """Consecutive steps that one call takes."""

    epoch: int
    frozen: tuple[str, ...]  # groups of parameters that do not train
    num_steps: int
    image_size: int | None = None  # height and width of its images, in pixels; None: the data's own


def segments(
    recipe: Recipe, *, by_epoch: bool, at_most: Callable[[int | None], int | None] = lambda image_size: None
) -> list[Segment]:
    """Cut the run's steps at the ends of its phases, with by_epoch at every epoch's end, and into at_most steps.

    at_most is asked for each size of images, and None is no limit. Where there is one, the first segment is a single
    step, so that a training soon shows that it works.
    """
    phases = recipe.phases()
    cuts = {0, *(phase.stop for phase in phases)}
    if by_epoch:
        cuts |= set(range(0, recipe.total_steps, recipe.steps_per_epoch))
    for first, end in itertools.pairwise(sorted(cuts)):
        limit = at_most(_phase_at(phases, first).image_size)
        if limit is not None:
            cuts |= {1, *range(first, end, limit)}
    found = []
    for start, stop in itertools.pairwise(sorted(cuts)):
        phase = _phase_at(phases, start)
        found.append(Segment(start // recipe.steps_per_epoch, phase.frozen, stop - start, phase.image_size))
    return found


def start_run(
    recipe: Recipe,
    backend: Backend,
    key: Key[Array, ""],
    train_images: UInt8[Array, "n h w c"],
    hyper: Hyperparameters,
    selection: Selection | None = None,
) -> tuple[TrainState, Draws]:
    """Return the initial state, with a whitened first convolution where there is one, and the draws, from a key."""
    init_key, draws_key = split_key(key)
    variables, proxy = start_network(recipe, backend, init_key, train_images, selection), None
    if recipe.selection is not None:
        with fixed_algorithm():
            proxy_key = jax.random.fold_in(init_key, 1)  # so that the network is the one without a proxy
        proxy = start_network(proxy_recipe(recipe), backend, proxy_key, train_images, selection)
    return init_state(recipe, backend, variables, hyper, proxy), sample_draws(recipe, draws_key)


def split_key(key: Key[Array, ""]) -> tuple[Key[Array, ""], Key[Array, ""]]:
    """Return the key of a run's initial weights, and that of its draws."""
    with fixed_algorithm():
        init_key, draws_key = jax.random.split(key)
    return init_key, draws_key


def start_network(
    recipe: Recipe,
    backend: Backend,
    key: Key[Array, ""],
    train_images: UInt8[Array, "n h w c"],
    selection: Selection | None = None,
) -> Variables:
    """Return a recipe's initial network, with a whitened first convolution where there is one, from a key."""
    variables, count = init_variables(recipe, backend, key), recipe.network.examples_at_start
    if not count:
        return variables
    images = train_images[:count] if selection is None else train_images[selection.indices[:count]]
    images = normalize(images, recipe.inputs, backend.precision.statistics)
    return set_from_images(recipe, backend, variables, images)


def advance(
    recipe: Recipe,
    backend: Backend,
    state: TrainState,
    task: Task,
    *,
    frozen: tuple[str, ...] = (),
    image_size: int | None = None,
    batch_at: Callable[..., Batch] = batch_at,
) -> tuple[TrainState, StepMetrics]:
    """Take the step that the state is at, on its batch, scaled to image_size; all but state and task are static."""
    with jax.named_scope("batch"):
        how: dict[str, Any] = {"dtype": backend.precision.compute}
        if backend.mesh is not None:  # this device's examples alone are gathered and augmented
            how["part"] = functools.partial(own_part, backend.mesh)
        batch = batch_at(recipe, task.images, task.labels, task.draws, state.step, task.selection, **how)
        if image_size is not None:
            assert recipe.resolution is not None
            antialias = recipe.resolution.curriculum_antialias
            batch = batch._replace(images=resize(batch.images, image_size, antialias=antialias))
    return train_step(recipe, state, batch, task.hyper, frozen=frozen, backend=backend)


def advance_many(take: Step[State, Metrics], state: State, num_steps: int, unroll: int = 1) -> tuple[State, Metrics]:
    """Take a step num_steps times inside one program; the metrics gain a leading axis [num_steps]."""
    return lax.scan(lambda carried, _: take(carried), state, length=num_steps, unroll=unroll)


def advance_up_to(
    take: Step[State, Metrics], state: State, count: Int[Array, ""], at_most: int
) -> tuple[State, Metrics]:
    """Take a step count <= at_most times, compiled for any count. Of metrics [at_most] the first count hold."""

    def body(done: Array, carried: tuple[State, Metrics]) -> tuple[State, Metrics]:
        state, metrics = take(carried[0])
        return state, jax.tree.map(lambda column, value: column.at[done].set(value), carried[1], metrics)

    _, one = jax.eval_shape(take, state)
    metrics = jax.tree.map(lambda value: jnp.zeros(at_most, value.dtype), one)
    return lax.fori_loop(0, count, body, (state, metrics))


def make_run(recipe: Recipe | str) -> Callable[[Array, Arrays], RunResult]:
    """Return the whole training as one pure function run(key, data), to be jitted, vmapped or mapped.

    The key is `airjax.make_key(seed)`, the data `airjax.to_device(data, recipe)`. For accelerators: on a CPU its
    convolutions inside a loop are many times slower than outside, so use `airjax.training.loop.train` there. Raises
    ValueError for a recipe that learns from a tree of images.
    """
    recipe = resolve_precision(get_recipe(recipe))
    recipe.require_in_memory()
    return functools.partial(_run, recipe, backend_of(recipe, convolution="native"))


def _run(recipe: Recipe, backend: Backend, key: Key[Array, ""], data: Arrays) -> RunResult:
    statistics = backend.precision.statistics
    hyper = hyperparameters(recipe)
    state, draws = start_run(recipe, backend, key, data.train_images, hyper)
    task, parts = Task(data.train_images, data.train_labels, draws, hyper), []
    for segment in segments(recipe, by_epoch=False):
        how = {"frozen": segment.frozen, "image_size": segment.image_size}
        take = functools.partial(advance, recipe, backend, task=task, **how)
        state, metrics = advance_many(take, state, segment.num_steps, backend.unroll)
        parts.append(metrics)
    variables = averaged_variables(state)
    images, labels = data.test_images[: recipe.test_examples], data.test_labels[: recipe.test_examples]

    def logits_of(images: Array, level: int) -> Array:
        return lax.map(
            lambda image: tta_logits(recipe, variables, image[None], level, backend=backend)[0],
            images,
            batch_size=min(eval_batch(recipe, backend), len(images)),
        )

    logits = selective_logits(recipe, images, logits_of, recipe.evaluation.tta_level)
    metrics = jax.tree.map(lambda *steps: jnp.concatenate(steps), *parts)
    return RunResult(variables, metrics, logits, accuracy_of(logits, labels, statistics))


def _phase_at(phases: tuple[Phase, ...], step: int) -> Phase:
    return next(phase for phase in phases if phase.start <= step < phase.stop)
