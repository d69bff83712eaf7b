"""Networks of tests, each function compiled as one program: called as they are, every operation is compiled alone."""

import functools
from typing import Any

import jax

from airjax.kernels.backend import Backend
from airjax.nn.build import apply_eval, apply_train, init_variables
from airjax.recipes.recipe import Recipe
from airjax.training.backend import backend_of


def initial(recipe: Recipe, seed: int = 0) -> Any:
    """The variables of a new network."""
    return _initial(recipe)(jax.random.key(seed))


@functools.cache
def _initial(recipe: Recipe) -> Any:
    return jax.jit(functools.partial(init_variables, recipe, backend_of(recipe)))


def classify(recipe: Recipe, variables: Any, images: jax.Array, backend: Backend | None = None) -> jax.Array:
    """The logits [n,c] of images [n,h,w,c]."""
    return jax.jit(lambda v, x: apply_eval(recipe, backend or backend_of(recipe), v, x))(variables, images)


def classify_in_training(
    recipe: Recipe, variables: Any, images: jax.Array, backend: Backend | None = None
) -> tuple[jax.Array, Any]:
    """The logits [n,c] of images [n,h,w,c] as a batch of a training, and the running statistics after it."""
    return jax.jit(lambda v, x: apply_train(recipe, backend or backend_of(recipe), v, x))(variables, images)
