"""Groups of parameters: which there are, and how a group is frozen. (§2, §4.3)"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.typing import DTypeLike

from airjax.kernels.backend import Precision
from airjax.recipes.recipe import Recipe


def label_params(params: Any) -> Any:
    """Name the group of every parameter: "norm_bias", "norm_scale", "whiten_bias" or "other"."""

    def label(path: tuple[Any, ...], _: Array) -> str:
        names = [entry.key for entry in path]
        if names[-2:] == ["whiten", "bias"]:
            return "whiten_bias"
        return f"norm_{names[-1]}" if len(names) > 1 and names[-2].startswith("norm") else "other"

    return jax.tree.map_with_path(label, params)


def label_convolutions(params: Any) -> Any:
    """Name the group of every parameter as `label_params` does, but that of a convolution's kernel "conv"."""
    return jax.tree.map(lambda label, one: "conv" if one.ndim == 4 else label, label_params(params), params)


def label_decaying(params: Any) -> Any:
    """Name the group of every parameter by whether it decays: "norm_fixed" for those of BatchNorms, which do not.

    Those in shortcuts do, as "norm_decaying", and so does all else, as "decaying", or "whiten_bias", which may be
    frozen. (§9)
    """

    def label(path: tuple[Any, ...], group: str) -> str:
        if not group.startswith("norm_"):
            return group if group == "whiten_bias" else "decaying"
        return "norm_decaying" if path[-2].key == "norm_shortcut" else "norm_fixed"

    return jax.tree.map_with_path(label, label_params(params))


def group_dtype(recipe: Recipe, group: str, precision: Precision) -> DTypeLike:
    """Return the dtype of a group's parameters and momentum: BatchNorm's is that of statistics, unless it is halved."""
    wide = group.startswith("norm_") and not recipe.value_of("batchnorm_half")
    return precision.statistics if wide else precision.params


def freeze(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """Return a transformation whose updates are zero and that leaves inner's state as it is.

    A zero gradient would not do: momentum and weight decay would still move the parameter.
    """

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        return jax.tree.map(jnp.zeros_like, updates), state

    return optax.GradientTransformation(inner.init, update)
