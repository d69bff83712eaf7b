"""Many networks at once: one interface, several strategies, the same networks whichever is chosen."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import jax
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int, Key

from airjax.data.dataset import Dataset
from airjax.kernels.backend import Driver
from airjax.nn.build import Variables
from airjax.recipes.published import get_recipe
from airjax.recipes.recipe import Recipe
from airjax.training.arguments import check_choice, check_count, check_data
from airjax.training.arrays import fit_recipe, to_device
from airjax.training.backend import resolve_precision
from airjax.training.checkpoint import Model
from airjax.training.eval_plans import EvalPlan, eval_plan
from airjax.training.events import Callbacks, Clock, EpochReport, Stage
from airjax.training.group_results import GroupResult, read_result, write_result
from airjax.training.loop import Finished, TrainedRun, Work, compile_group, snapshots_for, train_group
from airjax.training.members import STRATEGIES, Members, Strategy, make_members, strategy_backend
from airjax.training.memory import available_bytes, is_out_of_memory, predicted_bytes
from airjax.training.programs import plan_calls
from airjax.training.run import Arrays
from airjax.training.snapshots import NOTHING_KEPT, Keeping
from airjax.training.step import StepMetrics
from airjax.training.strategy import choose_strategy
from airjax.utils.reprs import one_line
from airjax.utils.seeds import check_seed, make_keys


class ManyRuns(NamedTuple):
    """k finished trainings."""

    recipe: Recipe  # with its precision resolved
    strategy: Strategy
    group: int  # members that were trained at once
    metrics: StepMetrics  # each [k,t]
    logits: Float[np.ndarray, "k m l"]  # of the test images, with test-time augmentation
    accuracy: Float[np.ndarray, " k"]  # fraction of the test images classified right; a diverged network has one, too
    diverged: Bool[np.ndarray, " k"]  # a loss or a logit is not finite
    variables: list[Variables]  # k networks; empty unless asked for
    seconds: dict[str, float]  # compile, whiten, train, evaluate: of all members together
    plain_accuracy: Float[np.ndarray, " k"] | None = None  # without test-time augmentation, where that was asked for
    classes: tuple[str, ...] = ()  # of the data

    def __repr__(self) -> str:
        return one_line(self)

    def models(self) -> list[Model]:
        """Return the k networks, as `airjax.infer` and `airjax.save_model` take them, each with the common recipe.

        Raises ValueError where they were not kept.
        """
        if len(self.variables) != len(self.accuracy):
            raise ValueError("the networks were not kept; run_many keeps them with keep_variables=True")
        return [Model(self.recipe, variables, self.classes) for variables in self.variables]

    def runs(self, seeds: Sequence[int], recipes: Sequence[Recipe] | None = None) -> list[TrainedRun]:
        """Return the trainings one by one, each with an equal fraction of the time.

        recipes are those of the networks, where `make_members` was given hyperparameters of their own; None: all have
        the one that they trained with. Raises ValueError without the variables, or for another number of seeds or
        recipes.
        """
        recipes = [self.recipe] * len(seeds) if recipes is None else recipes
        if not len(self.variables) == len(self.accuracy) == len(seeds) == len(recipes):
            raise ValueError(
                f"{len(seeds)} seeds, {len(recipes)} recipes, {len(self.accuracy)} trainings and "
                f"{len(self.variables)} networks do not fit together; run_many keeps these with keep_variables=True"
            )
        seconds = {part: total / len(seeds) for part, total in self.seconds.items()}
        return [
            TrainedRun(
                recipes[k],
                seed,
                self.variables[k],
                StepMetrics(self.metrics.loss[k], self.metrics.accuracy[k]),
                self.logits[k],
                float(self.accuracy[k]),
                seconds,
                plain_accuracy=None if self.plain_accuracy is None else float(self.plain_accuracy[k]),
            )
            for k, seed in enumerate(seeds)
        ]


def run_many(
    recipe: Recipe | str,
    members: Members | Key[Array, " k"],
    data: Dataset,
    *,
    strategy: Strategy | Literal["auto"] = "auto",
    group: int | None = None,
    driver: Driver | None = None,
    eval_size: int | None = None,
    validate: bool = False,
    keep_variables: bool = False,
    progress: bool | None = None,
    on_phase: Callable[[Stage], None] | None = None,
    on_step: Callable[[int, StepMetrics], None] | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
    on_group: Callable[[int], None] | None = None,
    keeping: Keeping = NOTHING_KEPT,
) -> ManyRuns:
    """Train many networks.

    Args:
        recipe: the method of all of them, or its name. With keys it uses no more examples than the data has.
        members: what differs, as `make_members` of the same recipe returns it, or simply their keys; `seed_keys` gives
            those of seeds.
        data: the data set. With subsets its training split may be larger than the recipe's train_examples.
        strategy: "sequential", one after the other; "map", one after the other inside one program; "interleaved", in
            one program that takes a step of each in turn, none dependent on another's; "vmap", each step of all members
            at once; "vmap-matmul", the same with convolutions as batched matrix products; "sharded", spread over all
            local devices, vmap on each; "auto", whichever was measured to be the fastest.
        group: members in memory at once; None is what was measured to be the fastest with "auto", else all of them.
            "sequential" has one at a time, whatever it says. Halved as often as needed when memory does not suffice, by
            prediction or by trial.
        driver: as for `airjax.training.loop.train`.
        eval_size: test images that go through all networks of a group at once; fewer need less memory.
        validate: also evaluate without test-time augmentation at the end, and after every epoch if there is an
            on_epoch.
        keep_variables: return the networks as well.
        progress: show a line with what is being done; None does so on a terminal and in notebooks.
        on_phase: called with what begins, before it does, in every group.
        on_step: called for every call of a training program with the number of steps that the group has done and the
            metrics of the latest of them, each [g] or [g,s]. A group that runs out of memory begins again.
        on_epoch: called after every epoch of a group, with the means over its members.
        on_group: called with the number of members finished so far.
        keeping: where and how often snapshots of each group are taken. Rerunning the same call resumes from the last:
            finished groups stay as files beside the snapshots until all are finished; one of another size begins anew.

    Raises ValueError for members or a group that do not fit, or fewer examples than the recipe uses, and TypeError for
    arguments of another type.
    """
    from airjax.training.progress import progress_line

    data = check_data(data)
    if not isinstance(members, Members):  # which were made for a recipe's number of examples
        recipe = fit_recipe(recipe, data)
        members = make_members(recipe, members)
    recipe = resolve_precision(get_recipe(recipe))
    count = len(members.keys)
    group = None if group is None else check_count("group", group)
    check_choice("strategy", strategy, ("auto", *STRATEGIES))
    if strategy == "auto":
        strategy, measured = choose_strategy(recipe, count)
        group = group or measured
    backend = strategy_backend(recipe, strategy, driver)
    if eval_size is None:
        evaluation = eval_plan(recipe, backend)
    else:
        evaluation = EvalPlan(check_count("eval_size", eval_size), passes=1)
    smallest = jax.local_device_count() if strategy == "sharded" else 1
    group = 1 if strategy == "sequential" else _round_up(min(group or count, count), smallest)
    by_epoch = on_epoch is not None or keeping.folder is not None
    arrays, plan = _to_device(recipe, members, data), plan_calls(recipe, backend, by_epoch=by_epoch)
    given = Callbacks(on_phase, on_step, on_epoch, on_group)
    with progress_line(recipe, count, progress, given) as called:
        clears: list[Callable[[], None]] = []
        whole = keeping if keeping.folder is None else keeping._replace(on_finished=clears.append)
        work = Work(recipe, backend, strategy, plan, arrays, evaluation, called, validate, keeping=whole)
        clock = Clock(called.on_phase)
        done, group = _run_groups(work, members, data, group, smallest, clock, keep_variables=keep_variables)
        for clear in clears:
            keeping.on_finished(clear)
    metrics = StepMetrics(*(np.concatenate(parts)[:count] for parts in zip(*(p.metrics for p in done), strict=True)))
    logits = np.concatenate([part.logits for part in done])[:count]
    diverged = ~np.asarray(np.isfinite(metrics.loss).all(1) & np.isfinite(logits).all((1, 2)))
    accuracy = (logits.argmax(2) == np.asarray(arrays.test_labels)).mean(1)
    variables = [network for part in done for network in part.networks][:count]
    plain = [part.plain_accuracy for part in done if part.plain_accuracy is not None]
    return ManyRuns(
        recipe,
        strategy,
        group,
        metrics,
        logits,
        accuracy,
        diverged,
        variables,
        clock.seconds,
        np.concatenate(plain)[:count] if plain else None,
        data.classes,
    )


def seed_keys(seeds: Sequence[int] | Int[np.ndarray, " k"]) -> Key[Array, " k"]:
    """Return the keys of k seeds: those from which `airjax.training.loop.train` trains the same networks.

    Raises ValueError for a seed that is not a whole number from 0 to 2**32 - 1.
    """
    if not isinstance(seeds, Sequence | np.ndarray | Array):
        raise TypeError(f"seeds is {seeds!r}, but it must be a sequence of seeds, such as range(4) or [0, 7]")
    for seed in seeds[:1], seeds[-1:]:  # before the list of a long range is built
        make_keys([check_seed(one) for one in seed])
    return make_keys([check_seed(seed) for seed in seeds])


def _to_device(recipe: Recipe, members: Members, data: Dataset) -> Arrays:
    # Without a selection only the recipe's examples go to the device.
    if members.selection is None:
        return to_device(data, recipe)
    examples = members.selection.indices.shape[1]
    if examples != recipe.train_examples:
        raise ValueError(
            f"the members train on {examples} examples each, but the recipe on {recipe.train_examples}: hand the same "
            "recipe to make_members and run_many"
        )
    largest = int(members.selection.indices.max())
    if largest >= len(data.train_images):
        raise ValueError(f"subsets name training example {largest}, but {data.name} has {len(data.train_images)}")
    return to_device(data, replace(recipe, train_examples=len(data.train_images)))


def _run_groups(
    work: Work, members: Members, data: Dataset, group: int, smallest: int, clock: Clock, *, keep_variables: bool
) -> tuple[list[GroupResult], int]:
    # Trains all members, a group at a time; also returns the size of a group that fitted into memory.
    count, finished = len(members.keys), 0
    done: list[GroupResult] = []
    while finished < count:
        try:
            part = _take(members, finished, group)
            if work.strategy != "sequential":
                clock.begin("compile")
                needed, available = predicted_bytes(compile_group(work, part)), available_bytes()
                clock.pause()
                if available is not None and needed > available and group > smallest:
                    group = _halve(group, smallest)
                    continue
            others = group < count  # train before or after it
            done.append(_train_part(work, part, data, clock, keep_variables=keep_variables, keep_result=others))
        except jax.errors.JaxRuntimeError as error:
            if not is_out_of_memory(error) or group <= smallest:
                raise
            group = _halve(group, smallest)
            continue
        finished = min(count, finished + group)
        if work.called.on_group is not None:
            work.called.on_group(finished)
    return done, group


def _train_part(
    work: Work, part: Members, data: Dataset, clock: Clock, *, keep_variables: bool, keep_result: bool
) -> GroupResult:
    # Trains a group, or takes its result from an earlier call that was stopped.
    snapshots = snapshots_for(work, part, data)
    if snapshots is not None:
        found = read_result(snapshots.result, plain=work.validate, networks=keep_variables)
        if found is not None:
            clock.add(found.seconds)
            work.keeping.on_finished(snapshots.clear)
            return found
    before = dict(clock.seconds)
    trained = train_group(work, part, snapshots, clock)
    networks = _networks(work.strategy, trained) if keep_variables else []
    result = GroupResult(trained.metrics, trained.logits, trained.plain_accuracy, networks, clock.since(before))
    if snapshots is not None and keep_result:
        try:
            write_result(snapshots.result, result)
        except OSError as error:  # the networks are at hand: only a later call would miss the file
            warnings.warn(f"the result of a finished group is not kept: {error}", stacklevel=2)
    return result


def _networks(strategy: Strategy, done: Finished) -> list[Variables]:
    variables = jax.device_get(done.variables)
    if strategy == "sequential":
        return [variables]
    return [jax.tree.map(lambda array, k=k: array[k], variables) for k in range(len(done.logits))]


def _take(members: Members, first: int, group: int) -> Members:
    # The last group is padded with its last member, so that nothing is compiled for its size.
    chosen = np.minimum(np.arange(first, first + group), len(members.keys) - 1)
    return jax.tree.map(lambda array: array[chosen], members)


def _halve(group: int, multiple: int) -> int:
    return max(multiple, _round_up(group // 2, multiple))


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
