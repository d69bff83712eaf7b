"""From a recipe to its network: the one place that knows which module a network is."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import flax
import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key

from airjax.kernels.backend import Backend
from airjax.nn.airbench import Airbench
from airjax.nn.imagenet import ImageNetResNet
from airjax.nn.resnet import ResNet
from airjax.nn.whitening import whitening_filters
from airjax.recipes.network import AirbenchNet
from airjax.recipes.network_imagenet import ImageNetResNet18
from airjax.recipes.network_resnet import ResNet18
from airjax.recipes.recipe import Recipe
from airjax.utils.seeds import fixed_algorithm

Variables = dict[str, Any]  # "params", "frozen" (whitening filters) and "batch_stats" (running statistics)


def make_module(recipe: Recipe, backend: Backend) -> nn.Module:
    """Return the recipe's network: normalised images [n,h,w,c] in the compute dtype -> logits [n,l] of l classes."""
    network = recipe.network
    if isinstance(network, ResNet18):
        return ResNet(network, recipe.inputs, backend)
    if isinstance(network, ImageNetResNet18):
        return ImageNetResNet(network, recipe.inputs, backend)
    return Airbench(network, recipe.inputs, backend)


def init_variables(recipe: Recipe, backend: Backend, key: Key[Array, ""]) -> Variables:
    """Initialise the variables from a key. The whitening filters are zeros until they are set from data."""
    size = recipe.inputs.image_size
    images = jnp.zeros((2, size, size, recipe.inputs.channels), backend.precision.compute)
    with fixed_algorithm(), flax_defaults():
        return dict(make_module(recipe, backend).init(key, images, train=False))


def set_from_images(
    recipe: Recipe, backend: Backend, variables: Variables, images: Float[Array, "n h w c"]
) -> Variables:
    """Return initial variables with what is computed from normalised training images: the whitening filters. (§2)

    The images are the network's `examples_at_start`; a network that looks at none is returned as it is.
    """
    whitening = recipe.network.whitening if isinstance(recipe.network, AirbenchNet) else None
    if whitening is None:
        return variables
    filters = whitening_filters(images, whitening.whiten_epsilon, ascending=whitening.whiten_ascending)
    return {**variables, "frozen": {"whiten": {"kernel": filters.astype(backend.precision.params)}}}


def apply_train(
    recipe: Recipe, backend: Backend, variables: Variables, images: Float[Array, "n h w c"]
) -> tuple[Float[Array, "n l"], Variables]:
    """Return the logits of images with batch statistics, and the updated running statistics."""
    with flax_defaults():
        logits, updated = make_module(recipe, backend).apply(variables, images, train=True, mutable=["batch_stats"])
    assert isinstance(logits, Array)
    return logits, dict(updated["batch_stats"])


def apply_eval(
    recipe: Recipe, backend: Backend, variables: Variables, images: Float[Array, "n h w c"]
) -> Float[Array, "n l"]:
    """Return the logits of images with the running statistics."""
    logits = make_module(recipe, backend).apply(variables, images, train=False)
    assert isinstance(logits, Array)
    return logits


def apply_first(
    recipe: Recipe, backend: Backend, variables: Variables, images: Float[Array, "n h w c"]
) -> Float[Array, "n _ _ _"]:
    """Return what `apply_rest` takes: the first layer's output where each pixel of it sees one patch and no padding.

    So crops of it are that of crops of the images. Of other networks it is the images themselves.
    """
    if not isinstance(recipe.network, AirbenchNet):
        return images
    patches = make_module(recipe, backend).apply(variables, images, method="patches")
    assert isinstance(patches, Array)
    return patches


def apply_rest(
    recipe: Recipe, backend: Backend, variables: Variables, x: Float[Array, "n _ _ _"]
) -> Float[Array, "n l"]:
    """Return the logits, with the running statistics, of images of which x is what `apply_first` returns."""
    if not isinstance(recipe.network, AirbenchNet):
        return apply_eval(recipe, backend, variables, x)
    logits = make_module(recipe, backend).apply(variables, x, train=False, method="classify")
    assert isinstance(logits, Array)
    return logits


@contextmanager
def flax_defaults() -> Iterator[None]:
    """Make Flax derive parameters' keys from their names, and return dicts, as it does by default."""
    with flax.config.temp_flip_flag("fix_rng_separator", False), flax.config.temp_flip_flag("return_frozendict", False):
        yield
