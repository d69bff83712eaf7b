"""Compiles and runs one function with airjax's own compiler options."""

import functools
from typing import Any

import jax

from airjax.training.compile import compile_function


def run(function: Any, *arguments: Any) -> Any:
    """Compile a function anew, so that no trace of an earlier one is used, and run it."""
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), arguments)
    # A new function object each time: JAX caches traces by it.
    return jax.block_until_ready(compile_function(functools.partial(function), *shapes)(*arguments))
