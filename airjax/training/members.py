"""A group of networks as one: what differs between them is arrays, and every function of one is mapped over the group.

A member is one network of many. Members may differ in their key, in their hyperparameters, and in the training examples
that they see; all of these are arrays with the members as the leading axis, so nothing is compiled for their values.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Float, Int, Key

from airjax.augment.batch import Selection
from airjax.kernels.backend import Backend, Driver, statistics_dtype
from airjax.kernels.convolution import Convolution, vmapped_convolution
from airjax.optim.hyperparameters import Hyperparameters, stack_hyperparameters
from airjax.recipes.published import get_recipe
from airjax.recipes.recipe import Recipe
from airjax.training.arguments import check_choice, shown
from airjax.training.backend import backend_of
from airjax.utils.platform import default_platform
from airjax.utils.reprs import one_line

Strategy = Literal["sequential", "map", "interleaved", "vmap", "vmap-matmul", "sharded"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)

AXIS = "members"


class Members(NamedTuple):
    """What differs between networks; every array has the k members as its leading axis."""

    keys: Key[Array, " k"]
    hyper: Hyperparameters  # each [k]
    selection: Selection | None  # each [k,n]; None: all see the data set's first examples

    def __repr__(self) -> str:
        return one_line(self)


def make_members(
    recipe: Recipe | str,
    keys: Key[Array, " k"],
    *,
    learning_rate: Sequence[float] | float | None = None,
    weight_decay: Sequence[float] | float | None = None,
    momentum: Sequence[float] | float | None = None,
    label_smoothing: Sequence[float] | float | None = None,
    subsets: Int[np.ndarray, "k n"] | None = None,
    weights: Float[np.ndarray, "k n"] | None = None,
) -> Members:
    """Make members from their keys, and from what else differs between them.

    Args:
        recipe: gives whatever is not given here. With subsets, its train_examples is their length.
        keys: one for each network; `airjax.training.many.seed_keys` makes those of seeds.
        learning_rate: one for each of the k networks, or one number for all, in the recipe's units.
        weight_decay: the same.
        momentum: the same.
        label_smoothing: the same.
        subsets: the training examples of each network, as indices into the data set's.
        weights: how much the loss of each example counts.

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
    dtype = statistics_dtype(recipe.precision)
    recipes = [recipe.override(**{name: values[k] for name, values in columns.items()}) for k in range(count)]
    hyper = stack_hyperparameters(recipes)
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
    selection = Selection(jnp.asarray(subsets, jnp.int32), None if weights is None else jnp.asarray(weights, dtype))
    return Members(keys, hyper, selection)


def _count_keys(keys: Any) -> int:
    if not isinstance(keys, Array) or not jnp.issubdtype(keys.dtype, jax.dtypes.prng_key) or keys.ndim != 1:
        kind = f"{keys.dtype}{list(keys.shape)}" if isinstance(keys, Array | np.ndarray) else shown(keys)
        raise TypeError(f"keys are {kind}, but they must be keys [K]: seed_keys(range(4)) makes those of seeds 0 to 3")
    return len(keys)


def _column(name: str, values: Any, count: int) -> list[float]:
    # One float for each of the keys; one number stands for all of them.
    array = np.asarray(values)
    if not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array) or array.ndim > 1:
        raise TypeError(f"{name} is {shown(values)}, but it must be a number, or one for each of the {count} keys")
    if array.ndim == 1 and len(array) != count:
        raise ValueError(f"{name} has {len(array)} values, but there are {count} keys")
    return np.broadcast_to(array, count).astype(float).tolist()


def strategy_backend(
    recipe: Recipe, strategy: Strategy, driver: Driver | None = None, mesh: Mesh | None = None
) -> Backend:
    """Return what a strategy trains a recipe with here; a driver of None is the fastest one.

    A mesh is of devices that share every batch. Raises ValueError for a driver that there is not, and for batches that
    these devices cannot share.
    """
    if driver is not None:
        check_choice("driver", driver, get_args(Driver))
    convolution = strategy_convolution(strategy, default_platform())
    return backend_of(recipe, convolution=convolution, driver=driver, mesh=mesh)


def strategy_convolution(strategy: Strategy, platform: str) -> Convolution | None:
    """Return the form of convolutions that a strategy needs on a platform; None: the fastest for one network."""
    if strategy == "vmap-matmul":
        return "matmul"
    return vmapped_convolution(platform) if strategy in ("vmap", "sharded") else None


def over_members(strategy: Strategy, function: Callable[..., Any], by_member: tuple[Any, ...]) -> Callable[..., Any]:
    """Map a function of one network over a group.

    by_member says which arrays of its arguments have a leading axis over the members: for each argument True or False,
    or a tree of these down to where they differ. For "sequential" that axis has length one; "interleaved" writes the
    function down once for each member, all in one program and none dependent on another.
    """
    if strategy == "sharded":
        specs = jax.tree.map(lambda own: PartitionSpec(AXIS) if own else PartitionSpec(), by_member)
        mesh = Mesh(np.array(jax.local_devices()), (AXIS,))
        inner = over_members("vmap", function, by_member)
        return jax.shard_map(inner, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(AXIS), check_vma=False)
    if strategy.startswith("vmap"):
        return jax.vmap(function, in_axes=jax.tree.map(lambda own: 0 if own else None, by_member))

    if strategy == "map":
        return lambda *arguments: _loop(function, arguments, by_member)
    # Not a loop, even of one member: a CPU runs convolutions inside any loop slowly.
    return lambda *arguments: join_members([function(*own) for own in split_members(arguments, by_member)])


def split_members(arguments: tuple[Any, ...], by_member: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """Return the arguments of each member, without the axis over the members; by_member as for `over_members`."""
    own, rebuilt = _take_apart(arguments, by_member)
    return [rebuilt([leaf[k] for leaf in own]) for k in range(len(own[0]))]


def join_members(results: Sequence[Any]) -> Any:
    """Return the results of k members, which are trees of the same kind, as one with a leading axis [k]."""
    return jax.tree.map(lambda *arrays: jnp.stack(arrays), *results)


def _loop(function: Callable[..., Any], arguments: tuple[Any, ...], by_member: tuple[Any, ...]) -> Any:
    own, rebuilt = _take_apart(arguments, by_member)
    return lax.map(lambda member: function(*rebuilt(member)), own)


def _take_apart(
    arguments: tuple[Any, ...], by_member: tuple[Any, ...]
) -> tuple[list[Array], Callable[[Sequence[Array]], tuple[Any, ...]]]:
    # The arrays with an axis over the members, and how arguments become of those of one member.
    leaves, tree = jax.tree.flatten(arguments)
    owned = jax.tree.leaves(jax.tree.broadcast(by_member, arguments))

    def rebuilt(member: Sequence[Array]) -> tuple[Any, ...]:
        values = iter(member)
        return jax.tree.unflatten(tree, [next(values) if own else a for a, own in zip(leaves, owned, strict=True)])

    return [leaf for leaf, own in zip(leaves, owned, strict=True) if own], rebuilt
