"""A group of networks as one: what differs between them is arrays, and every function of one is mapped over the group.

A member is one network of many. Members may differ in their key, in their hyperparameters, and in the training examples
that they see; all of these are arrays with the members as the leading axis, so nothing is compiled for their values.
"""

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import Mesh, PartitionSpec

from airjax.augment.batch import Selection
from airjax.kernels.layers import Convolution
from airjax.nn.airbench import Variables
from airjax.optim.nesterov import Hyperparameters, hyperparameters
from airjax.recipes.precision import precision_of
from airjax.recipes.published import get_recipe
from airjax.recipes.recipe import Recipe
from airjax.training.arguments import shown
from airjax.training.compile import compilations_at_once, compile_lowered
from airjax.training.evaluate import EvalPlan, tta_logits_in_passes
from airjax.training.loop import Driver, Kind, convolution_for, make_steps
from airjax.training.run import start_run
from airjax.training.step import finish
from airjax.utils.reprs import one_line

Strategy = Literal["sequential", "map", "vmap", "vmap-matmul", "sharded"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)

AXIS = "members"


class Members(NamedTuple):
    """What differs between networks; every array has the K members as its leading axis."""

    keys: Array  # [K] keys
    hyper: Hyperparameters  # each [K]
    selection: Selection | None  # [K,N]; None: all see the data set's first examples

    def __repr__(self) -> str:
        return one_line(self)


class Programs(NamedTuple):
    """The compiled pieces of a group of members."""

    start: Any  # (members, train_images) -> (state, draws)
    # (bias trains, steps of a call) -> (state, draws, members, images, labels, steps to take) -> (state, metrics)
    advance: dict[Kind, Any]
    finish: Any  # state -> variables
    logits: Any  # (variables, images [B,32,32,3] uint8) -> logits [G,B,10]

    def all(self) -> list[Any]:
        """Every program."""
        return [self.start, *self.advance.values(), self.finish, self.logits]


def make_members(
    recipe: Recipe | str,
    keys: Array,
    *,
    learning_rate: Sequence[float] | float | None = None,
    weight_decay: Sequence[float] | float | None = None,
    momentum: Sequence[float] | float | None = None,
    label_smoothing: Sequence[float] | float | None = None,
    subsets: np.ndarray | None = None,
    weights: np.ndarray | None = None,
) -> Members:
    """Members from their keys, [K], and from what else differs between them.

    Args:
        recipe: gives whatever is not given here. With subsets, its train_examples is their length.
        keys: one for each network; `airjax.training.many.seed_keys` makes those of seeds.
        learning_rate, weight_decay, momentum, label_smoothing: [K], or one number for all, in the recipe's units.
        subsets: [K,N] int: the training examples of each network, as indices into the data set's.
        weights: [K,N]: how much the loss of each example counts.

    Raises ValueError for a length that does not fit, or a number that a recipe could not have, and TypeError for keys
    or numbers of another type.
    """
    recipe = get_recipe(recipe)
    count = _count_keys(keys)
    if count < 1:
        raise ValueError("there are no members: pass at least one key")
    given = {
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "momentum": momentum,
        "label_smoothing": label_smoothing,
    }
    columns = {name: _column(name, values, count) for name, values in given.items() if values is not None}
    recipes = [replace(recipe, **{name: values[k] for name, values in columns.items()}) for k in range(count)]
    hyper = jax.tree.map(lambda *values: jnp.stack(values), *(hyperparameters(changed) for changed in recipes))
    for name, array in (("subsets", subsets), ("weights", weights)):
        if array is not None and np.shape(array) != (count, recipe.train_examples):
            raise ValueError(
                f"{name} has shape {np.shape(array)}, but {count} networks that train on {recipe.train_examples} "
                f"examples need {(count, recipe.train_examples)}"
            )
    if subsets is None and weights is None:
        return Members(keys, hyper, None)
    if subsets is None:
        subsets = np.tile(np.arange(recipe.train_examples, dtype=np.int32), (count, 1))
    if not np.issubdtype(np.asarray(subsets).dtype, np.integer) or np.min(subsets) < 0:
        raise ValueError("subsets must hold indices of training examples: whole numbers from 0")
    dtype = precision_of(recipe).statistics
    selection = Selection(jnp.asarray(subsets, jnp.int32), None if weights is None else jnp.asarray(weights, dtype))
    return Members(keys, hyper, selection)


def _count_keys(keys: Any) -> int:
    if not isinstance(keys, Array) or not jnp.issubdtype(keys.dtype, jax.dtypes.prng_key) or keys.ndim != 1:
        kind = f"{keys.dtype}{list(keys.shape)}" if isinstance(keys, Array | np.ndarray) else shown(keys)
        raise TypeError(f"keys are {kind}, but they must be keys [K]: seed_keys(range(4)) makes those of seeds 0 to 3")
    return len(keys)


def _column(name: str, values: Any, count: int) -> list[float]:
    # [K] floats; one number stands for all of them.
    array = np.asarray(values)
    if not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array) or array.ndim > 1:
        raise TypeError(f"{name} is {shown(values)}, but it must be a number, or one for each of the {count} keys")
    if array.ndim == 1 and len(array) != count:
        raise ValueError(f"{name} has {len(array)} values, but there are {count} keys")
    return np.broadcast_to(array, count).astype(float).tolist()


@functools.lru_cache(maxsize=16)
def compile_members(
    recipe: Recipe,
    strategy: Strategy,
    driver: Driver,
    kinds: tuple[Kind, ...],
    shapes: tuple[Any, Any],
    evaluation: EvalPlan,
) -> Programs:
    """Compile the pieces of a group of members.

    recipe has no hyperparameters of its own, and shapes are the leaves and the structure of the members, the training
    images and their labels. Every network is evaluated as the evaluation says.
    """
    convolution = strategy_convolution(recipe, strategy)
    leaves, tree = shapes
    members, images, labels = jax.tree.unflatten(tree, leaves)

    def start(member: Members, train_images: Array) -> Any:
        return start_run(recipe, member.keys, train_images, member.hyper, member.selection)

    def logits(variables: Variables, test_images: Array) -> Array:
        passes = evaluation.passes
        return tta_logits_in_passes(recipe, variables, test_images, passes, evaluation, convolution=convolution)

    def make_member_steps(kind: Kind) -> Callable[..., Any]:
        take = make_steps(recipe, driver, kind, convolution)

        def steps(state: Any, draws: Any, member: Members, images: Array, labels: Array, count: Array) -> Any:
            return take(state, images, labels, draws, member.hyper, member.selection, count)

        return steps

    begin = over_members(strategy, start, (True, False))
    end = over_members(strategy, finish, (True,))
    state, draws = jax.eval_shape(begin, members, images)
    variables = jax.eval_shape(end, state)
    batch = jax.ShapeDtypeStruct((evaluation.passes * evaluation.batch, *images.shape[1:]), jnp.uint8)
    count = jax.ShapeDtypeStruct((), jnp.int32)
    with ThreadPoolExecutor(compilations_at_once()) as pool:  # as in airjax.training.loop.Program.compile
        started = pool.submit(compile_lowered, jax.jit(begin).lower(members, images))
        advanced = {}
        for kind in kinds:
            steps = over_members(strategy, make_member_steps(kind), (True, True, True, False, False, False))
            lowered = jax.jit(steps, donate_argnums=0).lower(state, draws, members, images, labels, count)
            advanced[kind] = pool.submit(compile_lowered, lowered)
        finished = pool.submit(compile_lowered, jax.jit(end).lower(state))
        evaluate = over_members(strategy, logits, (True, False))
        evaluated = pool.submit(compile_lowered, jax.jit(evaluate).lower(variables, batch))
    advance = {kind: future.result() for kind, future in advanced.items()}
    return Programs(started.result(), advance, finished.result(), evaluated.result())


def strategy_convolution(recipe: Recipe, strategy: Strategy) -> Convolution:
    """The form of convolution in which a strategy trains a recipe, with its precision resolved, here."""
    if strategy == "vmap-matmul":
        return "matmul"
    return convolution_for(recipe) if strategy in ("sequential", "map") else "native"


def over_members(strategy: Strategy, function: Callable[..., Any], by_member: tuple[bool, ...]) -> Callable[..., Any]:
    """A function of one member -> the same function of a group, whose arguments by_member have a leading axis.

    For "sequential" that axis has length one.
    """
    if strategy == "sharded":
        specs = tuple(PartitionSpec(AXIS) if own else PartitionSpec() for own in by_member)
        mesh = Mesh(np.array(jax.local_devices()), (AXIS,))
        inner = over_members("vmap", function, by_member)
        return jax.shard_map(inner, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(AXIS), check_vma=False)
    if strategy.startswith("vmap"):
        return jax.vmap(function, in_axes=tuple(0 if own else None for own in by_member))

    def one_after_the_other(*arguments: Any) -> Any:
        own = tuple(argument for argument, mine in zip(arguments, by_member, strict=True) if mine)

        def of_one(member: tuple[Any, ...]) -> Any:
            values = iter(member)
            return function(*(next(values) if mine else a for a, mine in zip(arguments, by_member, strict=True)))

        if strategy == "sequential":
            # Not a loop of length one: a CPU runs convolutions inside any loop slowly.
            one = of_one(jax.tree.map(lambda array: array[0], own))
            return jax.tree.map(lambda array: array[None], one)
        return lax.map(of_one, own)

    return one_after_the_other
