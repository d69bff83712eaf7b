"""Many networks at once: one interface, several strategies, the same networks whichever is chosen."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple, get_args

import jax
import numpy as np
from jax import Array

from airjax.data.dataset import Dataset
from airjax.nn.airbench import Variables
from airjax.recipes.precision import resolve_precision
from airjax.recipes.published import get_recipe
from airjax.recipes.recipe import Recipe
from airjax.training.arguments import check_choice, check_count, check_data
from airjax.training.evaluate import EvalPlan, eval_plan
from airjax.training.loop import (
    Callbacks,
    Clock,
    Driver,
    EpochReport,
    Kind,
    Phase,
    TrainedRun,
    calls,
    compile_part,
    default_driver,
    kinds_of,
    parts_of,
    settle,
    to_device,
)
from airjax.training.members import (
    STRATEGIES,
    Members,
    Programs,
    Strategy,
    compile_members,
    make_members,
    strategy_convolution,
)
from airjax.training.memory import available_bytes, is_out_of_memory, predicted_bytes
from airjax.training.run import Arrays, Segment
from airjax.training.step import StepMetrics
from airjax.training.strategy import choose_strategy
from airjax.utils.reprs import one_line
from airjax.utils.seeds import check_seed, make_keys


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

    def __repr__(self) -> str:
        return one_line(self)

    def runs(self, seeds: Sequence[int]) -> list[TrainedRun]:
        """The trainings one by one, each with an equal share of the time.

        Raises ValueError without the variables, or for another number of seeds.
        """
        if not len(self.variables) == len(self.accuracy) == len(seeds):
            raise ValueError(
                f"{len(seeds)} seeds, {len(self.accuracy)} trainings and {len(self.variables)} networks do not fit "
                "together; run_many keeps the networks with keep_variables=True"
            )
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
    recipe: Recipe | str,
    members: Members | Array,
    data: Dataset,
    *,
    strategy: Strategy | Literal["auto"] = "auto",
    group: int | None = None,
    driver: Driver | None = None,
    eval_size: int | None = None,
    keep_variables: bool = False,
    progress: bool | None = None,
    on_phase: Callable[[Phase], None] | None = None,
    on_step: Callable[[int, StepMetrics], None] | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
    on_group: Callable[[int], None] | None = None,
) -> ManyRuns:
    """Train many networks.

    Args:
        recipe: the method of all of them, or its name.
        members: what differs, or simply their keys [K]; `seed_keys` gives those of seeds.
        data: the data set. With subsets its training split may be larger than the recipe's train_examples.
        strategy: "sequential", one after the other; "map", one after the other inside one program; "vmap", each step of
            all members at once; "vmap-matmul", the same with convolutions as batched matrix products; "sharded", spread
            over all local devices, vmap on each; "auto", whichever was measured to be the fastest.
        group: members in memory at once; None is what was measured to be the fastest with "auto", else all of them.
            Halved as often as needed when memory does not suffice, by prediction or by trial.
        driver: as for `airjax.training.loop.train`.
        eval_size: test images that go through all networks of a group at once; fewer need less memory.
        keep_variables: return the networks as well.
        progress: show a line with what is being done; None does so on a terminal and in notebooks.
        on_phase: called with what begins, before it does, in every group.
        on_step: called after every call with the number of steps that the group has done and the metrics of the latest
            ones at hand, each [G] or [G,S]. A group that runs out of memory begins again.
        on_epoch: called after every epoch of a group, with the means over its members.
        on_group: called with the number of members finished so far.

    Raises ValueError for members or a group that do not fit, or fewer examples than the recipe uses, and TypeError for
    arguments of another type.
    """
    from airjax.training.progress import progress_line

    recipe, data = resolve_precision(get_recipe(recipe)), check_data(data)
    if not isinstance(members, Members):
        members = make_members(recipe, members)
    count = len(members.keys)
    group = None if group is None else check_count("group", group)
    check_choice("strategy", strategy, ("auto", *STRATEGIES))
    if strategy == "auto":
        strategy, measured = choose_strategy(recipe, count)
        group = group or measured
    convolution = strategy_convolution(recipe, strategy)
    driver = driver or default_driver(convolution)
    check_choice("driver", driver, get_args(Driver))
    if eval_size is None:
        evaluation = eval_plan(recipe, convolution)
    else:
        evaluation = EvalPlan(check_count("eval_size", eval_size), passes=1)
    smallest = jax.local_device_count() if strategy == "sharded" else 1
    group = 1 if strategy == "sequential" else _round_up(min(group or count, count), smallest)
    arrays, plan = _place(recipe, members, data), calls(recipe, driver, by_epoch=on_epoch is not None)
    given = Callbacks(on_phase, on_step, on_epoch, on_group)
    with progress_line(recipe, count, progress, given) as called:
        work = _Work(recipe, strategy, plan, arrays, driver, evaluation, keep_variables, called)
        clock = Clock(called.on_phase)
        done, group = _run_groups(work, members, group, smallest, clock)
    metrics = StepMetrics(*(np.concatenate(parts)[:count] for parts in zip(*(p.metrics for p in done), strict=True)))
    logits = np.concatenate([part.logits for part in done])[:count]
    diverged = ~np.asarray(np.isfinite(metrics.loss).all(1) & np.isfinite(logits).all((1, 2)))
    accuracy = (logits.argmax(2) == np.asarray(arrays.test_labels)).mean(1)
    variables = [network for part in done for network in part.variables][:count]
    return ManyRuns(recipe, strategy, group, metrics, logits, accuracy, diverged, variables, clock.seconds)


def seed_keys(seeds: Sequence[int] | np.ndarray) -> Array:
    """The keys [K] of seeds: those from which `airjax.training.loop.train` trains the same networks.

    Raises ValueError for a seed that is not a whole number from 0 to 2**32 - 1.
    """
    if not hasattr(seeds, "__iter__"):
        raise TypeError(f"seeds is {seeds!r}, but it must be a sequence of seeds, such as range(4) or [0, 7]")
    for seed in seeds[:1], seeds[-1:]:  # before the list of a long range is built
        make_keys([check_seed(one) for one in seed])
    return make_keys([check_seed(seed) for seed in seeds])


class _Work(NamedTuple):
    recipe: Recipe
    strategy: Strategy
    plan: list[tuple[Segment, Kind]]
    arrays: Arrays
    driver: Driver
    evaluation: EvalPlan
    keep_variables: bool
    called: Callbacks


class _Finished(NamedTuple):
    metrics: StepMetrics  # each [G,T]
    logits: np.ndarray  # [G,M,10]
    variables: list[Variables]  # G networks, or none


def _place(recipe: Recipe, members: Members, data: Dataset) -> Arrays:
    # Without a selection only the recipe's examples go to the device.
    if members.selection is None:
        return to_device(data, recipe)
    largest = int(members.selection.indices.max())
    if largest >= len(data.train_images):
        raise ValueError(f"subsets name training example {largest}, but {data.name} has {len(data.train_images)}")
    return to_device(data, replace(recipe, train_examples=len(data.train_images)))


def _run_groups(work: _Work, members: Members, group: int, smallest: int, clock: Clock) -> tuple[list[_Finished], int]:
    # All members, so many at a time; and how many at a time fitted into memory.
    count, finished = len(members.keys), 0
    done: list[_Finished] = []
    while finished < count:
        try:
            clock.begin("compile")
            part = _take(members, finished, group)
            programs = _compile(work, part)
            needed, available = predicted_bytes(programs.all()), available_bytes()
            clock.pause()
            if available is not None and needed > available and group > smallest:
                group = _halve(group, smallest)
                continue
            done.append(_run_group(work, programs, part, clock))
        except jax.errors.JaxRuntimeError as error:
            if not is_out_of_memory(error) or group <= smallest:
                raise
            group = _halve(group, smallest)
            continue
        finished = min(count, finished + group)
        if work.called.on_group is not None:
            work.called.on_group(finished)
    return done, group


def _compile(work: _Work, members: Members) -> Programs:
    arguments = (members, work.arrays.train_images, work.arrays.train_labels)
    leaves, tree = jax.tree.flatten(jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), arguments))
    recipe, kinds = work.recipe.without_hyperparameters(), kinds_of(work.plan)
    images = work.arrays.test_images
    compile_part(images.shape, images.dtype, work.evaluation.passes * work.evaluation.batch)
    return compile_members(recipe, work.strategy, work.driver, kinds, (tuple(leaves), tree), work.evaluation)


def _run_group(work: _Work, programs: Programs, members: Members, clock: Clock) -> _Finished:
    images, labels, count = work.arrays.train_images, work.arrays.train_labels, len(members.keys)
    clock.begin("whiten")
    state, draws = jax.block_until_ready(programs.start(members, images))
    parts: list[StepMetrics] = []
    steps_done, first, last_epoch = 0, 0, work.plan[-1][0].epoch
    for epoch, group in itertools.groupby(work.plan, key=lambda call: call[0].epoch):
        clock.begin("train")
        first = len(parts)
        for segment, kind in group:
            taken = np.int32(segment.num_steps)
            state, metrics = programs.advance[kind](state, draws, members, images, labels, taken)
            parts.append(settle(metrics, segment.num_steps, work.driver, parts))
            steps_done += segment.num_steps
            if work.called.on_step is not None:
                work.called.on_step(steps_done, parts[-1 if work.driver == "chunks" else max(0, len(parts) - 2)])
        if work.called.on_epoch is not None and epoch < last_epoch:
            recent = _join(parts[first:], count)
            clock.pause()
            work.called.on_epoch(_report(epoch, recent, None, clock))
    variables = jax.block_until_ready(programs.finish(state))
    clock.begin("evaluate")
    size = work.evaluation.passes * work.evaluation.batch
    batches = [np.asarray(programs.logits(variables, part)) for part, _ in parts_of(work.arrays.test_images, size)]
    clock.pause()
    logits = np.concatenate(batches, 1)[:, : work.recipe.test_examples]
    if work.called.on_epoch is not None:
        accuracy = float((logits.argmax(2) == np.asarray(work.arrays.test_labels)).mean())
        work.called.on_epoch(_report(last_epoch, _join(parts[first:], count), accuracy, clock))
    networks = _unstack(jax.device_get(variables)) if work.keep_variables else []
    return _Finished(_join(parts, count), logits, networks)


def _join(parts: list[StepMetrics], count: int) -> StepMetrics:
    # Metrics of calls, [G] or [G,S] -> [G,T].
    columns = zip(*parts, strict=True)
    return StepMetrics(*(np.concatenate([np.reshape(part, (count, -1)) for part in c], axis=1) for c in columns))


def _report(epoch: int, metrics: StepMetrics, accuracy: float | None, clock: Clock) -> EpochReport:
    means = float(metrics.loss.mean()), float(metrics.accuracy.mean())
    return EpochReport(epoch, *means, None, accuracy, clock.seconds["train"])


def _unstack(variables: Variables) -> list[Variables]:
    count = len(jax.tree.leaves(variables)[0])
    return [jax.tree.map(lambda array, k=k: array[k], variables) for k in range(count)]


def _take(members: Members, first: int, group: int) -> Members:
    # The last group is filled up with its last member, so that nothing is compiled for its size.
    chosen = np.minimum(np.arange(first, first + group), len(members.keys) - 1)
    return jax.tree.map(lambda array: array[chosen], members)


def _halve(group: int, multiple: int) -> int:
    return max(multiple, _round_up(group // 2, multiple))


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
