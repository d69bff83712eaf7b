"""Many networks at once: one interface, several strategies, the same networks whichever is chosen."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from airjax.data.dataset import Dataset
from airjax.driver import Clock, Driver, TrainedRun, calls, default_driver, kinds_of, place, settle
from airjax.members import Members, Programs, Strategy, compile_members, make_members, strategy_convolution
from airjax.memory import available_bytes, is_out_of_memory, predicted_bytes
from airjax.model import Variables
from airjax.precision import resolve_precision
from airjax.recipe import Recipe
from airjax.run import Arrays
from airjax.step import StepMetrics
from airjax.strategy import choose_strategy
from airjax.tta import EvalPlan, eval_plan


class ManyRuns(NamedTuple):
    """K finished trainings."""

    recipe: Recipe  # with its precision resolved
    strategy: Strategy
    group: int  # members that were trained at once
    metrics: StepMetrics  # each [K,T]
    logits: np.ndarray  # [K,M,10] of the test images, with test-time augmentation
    accuracy: np.ndarray  # [K] share of the test images classified right; a diverged network has one, too
    diverged: np.ndarray  # [K] bool: a loss or a logit is not finite
    variables: list[Variables]  # K networks; empty unless asked for
    seconds: dict[str, float]  # compile, whiten, train, evaluate: of all members together

    def runs(self, seeds: Sequence[int]) -> list[TrainedRun]:
        """The trainings one by one, each with an equal share of the time; needs the variables."""
        seconds = {part: total / len(seeds) for part, total in self.seconds.items()}
        return [
            TrainedRun(
                self.recipe,
                seed,
                self.variables[k],
                StepMetrics(self.metrics.loss[k], self.metrics.accuracy[k]),
                self.logits[k],
                float(self.accuracy[k]),
                seconds,
            )
            for k, seed in enumerate(seeds)
        ]


def run_many(
    recipe: Recipe,
    members: Members | Array,
    data: Dataset,
    *,
    strategy: Strategy | Literal["auto"] = "auto",
    group: int | None = None,
    driver: Driver | None = None,
    eval_size: int | None = None,
    keep_variables: bool = False,
    on_group: Callable[[int], None] | None = None,
) -> ManyRuns:
    """Train many networks.

    Args:
        recipe: the method of all of them.
        members: what differs, or simply their keys [K]; `seed_keys` gives those of seeds.
        data: the data set. With subsets its training split may be larger than the recipe's train_examples.
        strategy: "sequential", one after the other; "map", one after the other inside one program; "vmap", each step of
            all members at once; "vmap-matmul", the same with convolutions as batched matrix products; "sharded", spread
            over all local devices, vmap on each; "auto", whichever was measured to be the fastest.
        group: members in memory at once; None is what was measured to be the fastest with "auto", else all of them.
            Halved as often as needed when memory does not suffice, by prediction or by trial.
        driver: as for `airjax.driver.train`.
        eval_size: test images that go through all networks of a group at once; fewer need less memory.
        keep_variables: return the networks as well.
        on_group: called with the number of members finished so far.

    Raises ValueError for members or a group that do not fit, or fewer examples than the recipe uses.
    """
    recipe = resolve_precision(recipe)
    if not isinstance(members, Members):
        members = make_members(recipe, members)
    count = len(members.keys)
    if group is not None and group < 1:
        raise ValueError(f"group is {group}, but at least one member must be trained at once")
    if strategy == "auto":
        strategy, measured = choose_strategy(recipe, count)
        group = group or measured
    convolution = strategy_convolution(recipe, strategy)
    driver = driver or default_driver(convolution)
    evaluation = eval_plan(recipe, convolution) if eval_size is None else EvalPlan(eval_size, passes=1)
    smallest = jax.local_device_count() if strategy == "sharded" else 1
    group = 1 if strategy == "sequential" else _round_up(min(group or count, count), smallest)
    clock = Clock()
    arrays = _place(recipe, members, data)
    done: list[_Finished] = []
    finished = 0
    while finished < count:
        try:
            clock.start()
            part = _take(members, finished, group)
            programs = _compile(recipe, part, arrays, strategy, driver, evaluation)
            needed, available = predicted_bytes(programs.all()), available_bytes()
            clock.stop("compile")
            if available is not None and needed > available and group > smallest:
                group = _halve(group, smallest)
                continue
            done.append(_run_group(recipe, programs, part, arrays, driver, evaluation, keep_variables, clock))
        except jax.errors.JaxRuntimeError as error:
            if not is_out_of_memory(error) or group <= smallest:
                raise
            group = _halve(group, smallest)
            continue
        finished = min(count, finished + group)
        if on_group is not None:
            on_group(finished)
    metrics = StepMetrics(*(np.concatenate(parts)[:count] for parts in zip(*(p.metrics for p in done), strict=True)))
    logits = np.concatenate([part.logits for part in done])[:count]
    diverged = ~np.asarray(np.isfinite(metrics.loss).all(1) & np.isfinite(logits).all((1, 2)))
    accuracy = (logits.argmax(2) == np.asarray(arrays.test_labels)).mean(1)
    variables = [network for part in done for network in part.variables][:count]
    return ManyRuns(recipe, strategy, group, metrics, logits, accuracy, diverged, variables, clock.seconds)


def seed_keys(seeds: Sequence[int]) -> Array:
    """The keys [K] of seeds: those from which `airjax.driver.train` trains the same networks."""
    return jax.vmap(jax.random.key)(np.asarray(seeds, np.uint32))


class _Finished(NamedTuple):
    metrics: StepMetrics  # each [G,T]
    logits: np.ndarray  # [G,M,10]
    variables: list[Variables]  # G networks, or none


def _place(recipe: Recipe, members: Members, data: Dataset) -> Arrays:
    # Without a selection only the recipe's examples go to the device.
    if members.selection is None:
        return place(recipe, data)
    largest = int(members.selection.indices.max())
    if largest >= len(data.train_images):
        raise ValueError(f"subsets name training example {largest}, but {data.name} has {len(data.train_images)}")
    return place(replace(recipe, train_examples=len(data.train_images)), data)


def _compile(
    recipe: Recipe, members: Members, arrays: Arrays, strategy: Strategy, driver: Driver, evaluation: EvalPlan
) -> Programs:
    kinds = kinds_of(calls(recipe, driver))
    arguments = (members, arrays.train_images, arrays.train_labels)
    leaves, tree = jax.tree.flatten(jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), arguments))
    return compile_members(recipe.without_hyperparameters(), strategy, driver, kinds, (tuple(leaves), tree), evaluation)


def _run_group(
    recipe: Recipe,
    programs: Programs,
    members: Members,
    arrays: Arrays,
    driver: Driver,
    evaluation: EvalPlan,
    keep_variables: bool,
    clock: Clock,
) -> _Finished:
    state, draws = jax.block_until_ready(programs.start(members, arrays.train_images))
    clock.stop("whiten")
    parts: list[StepMetrics] = []
    for segment, kind in calls(recipe, driver):
        count = np.int32(segment.num_steps)
        state, metrics = programs.advance[kind](state, draws, members, arrays.train_images, arrays.train_labels, count)
        parts.append(settle(metrics, segment.num_steps, driver, parts))
    variables = jax.block_until_ready(programs.finish(state))
    clock.stop("train")
    size = evaluation.passes * evaluation.batch
    logits = [np.asarray(programs.logits(variables, batch)) for batch in _batches(arrays.test_images, size)]
    clock.stop("evaluate")
    count = len(members.keys)
    columns = zip(*parts, strict=True)
    history = StepMetrics(*(np.concatenate([np.reshape(part, (count, -1)) for part in c], axis=1) for c in columns))
    networks = _unstack(jax.device_get(variables)) if keep_variables else []
    return _Finished(history, np.concatenate(logits, 1)[:, : recipe.test_examples], networks)


def _unstack(variables: Variables) -> list[Variables]:
    count = len(jax.tree.leaves(variables)[0])
    return [jax.tree.map(lambda array, k=k: array[k], variables) for k in range(count)]


def _batches(images: Array, size: int) -> Iterator[Array]:
    # All of one size: the last is filled up with zeros.
    for first in range(0, len(images), size):
        part = images[first : first + size]
        yield jnp.pad(part, ((0, size - len(part)), (0, 0), (0, 0), (0, 0)))


def _take(members: Members, first: int, group: int) -> Members:
    # The last group is filled up with its last member, so that nothing is compiled for its size.
    chosen = np.minimum(np.arange(first, first + group), len(members.keys) - 1)
    return jax.tree.map(lambda array: array[chosen], members)


def _halve(group: int, multiple: int) -> int:
    return max(multiple, _round_up(group // 2, multiple))


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
