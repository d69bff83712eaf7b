"""The batches of a training on a tree of images: which examples, for which networks, and how they reach the device.

Several networks may share their batches: each sees the same images and boxes, mirrored by bits of its own. (§9)
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh
from jaxtyping import Bool, Int, UInt8

from airjax.augment.example_draws import Flip, sample_mirrors
from airjax.recipes.imagenet_resnet18 import TRAIN, VAL
from airjax.recipes.published import get_recipe
from airjax.recipes.recipe import Recipe
from airjax.stream.batches import WHOLE, Batch, Share
from airjax.stream.tree import Tree
from airjax.stream.views import TrainView
from airjax.training.data_parallel import batch_sharding
from airjax.utils.reprs import one_line

AHEAD = 2  # batches on the device before they are needed


class StreamBatch(NamedTuple):
    """What one step is handed; every array has the examples as its leading axis, which devices may share."""

    images: UInt8[Array, "b h w 3"]  # cropped and resized
    labels: Int[Array, " b"]
    mirrors: Bool[Array, "b k"]  # which each of the k networks sees mirrored

    def __repr__(self) -> str:
        return one_line(self)


class Member(NamedTuple):
    """One of several networks that share their batches."""

    seed: int  # of its weights, and of its random mirror bits
    flip: Flip


def fit_tree(recipe: Recipe | str, tree: Tree) -> Recipe:
    """Return the recipe for a tree: its classes, and all of its images.

    Raises ValueError for a recipe that does not crop, or that asks for some of the images only, and for fewer than a
    batch.
    """
    recipe = get_recipe(recipe)
    recipe.require_crops()
    assert recipe.cropping is not None
    counts = {"train_examples": len(tree.train_labels), "test_examples": len(tree.val_labels)}
    whole = {"train_examples": TRAIN, "test_examples": VAL}  # what recipes say unless a part is asked for
    for name, count in counts.items():
        if getattr(recipe, name) not in (whole[name], count):
            raise ValueError(
                f"{name.replace('_', '-')} is {getattr(recipe, name):,}, but all {count:,} images of {tree.name} are "
                "used; leave it out, or make a smaller tree"
            )
    inputs = tree.info(recipe.cropping.test_sizes[0]).inputs()
    return replace(recipe, **counts, inputs=inputs)


def members_of(recipe: Recipe, seeds: Sequence[int]) -> list[Member]:
    """Return networks that flip as the recipe says."""
    flip = recipe.augmentation.flip
    assert flip != "alternating"  # `Recipe.require_crops` says why
    return [Member(seed, flip) for seed in seeds]


def train_view(recipe: Recipe, member: Member) -> TrainView:
    """Return which examples the batches of a training show, in the order and in the boxes of this network's seed."""
    assert recipe.cropping is not None
    sizes = recipe.cropping.epoch_sizes(recipe.epochs)
    return TrainView(recipe.batch_size, sizes, member.seed, recipe.cropping.crop, member.flip)


def share_of(mesh: Mesh | None) -> Share:
    """Return which part of every batch this process makes: that of its devices, whose mesh has as many of each."""
    return WHOLE if mesh is None else Share(jax.process_index(), jax.process_count())


def with_mirrors(batch: Batch, epoch: int, members: Sequence[Member], view: TrainView) -> StreamBatch:
    """Return what the step is handed of a batch of that view on the host, with the mirror bits of every network."""
    came_with_it = Member(view.seed, view.flip)
    drawn = [
        batch.mirrors if one == came_with_it else sample_mirrors(one.seed, epoch, batch.examples, one.flip)
        for one in members
    ]
    # Numpy's arrays, until the batch is on the device.
    host: Any = batch.images, batch.labels.astype(np.int32), np.stack(drawn, axis=1)
    return StreamBatch(*host)


def prefetch(batches: Iterable[Any], put: Callable[[Any], Any], ahead: int = AHEAD) -> Iterator[Any]:
    """Yield batches from the device, onto which the next ones are moved before one is asked for."""
    waiting: deque[Any] = deque()
    for batch in batches:
        waiting.append(put(batch))
        if len(waiting) > ahead:
            yield waiting.popleft()
    yield from waiting


def batch_shape(mesh: Mesh | None, *shape: int) -> jax.ShapeDtypeStruct:
    """Return what a program is compiled for: uint8 images [b,...] as `data_parallel.shard_batch` places them."""
    place = jax.device_put(np.uint8(0)).sharding if mesh is None else batch_sharding(mesh)
    return jax.ShapeDtypeStruct(shape, np.uint8, sharding=place)


def shape_of(array: Array | jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    """Return what a program is compiled for: an array's shape and type, and the devices that it is on."""
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=array.sharding)
