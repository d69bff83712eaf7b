"""Starting weights for the checks, as state_dicts."""

import numpy as np
import torch

from airjax.recipes.recipe import Recipe
from parity.convert import constants, entries
from parity.torch_implementation import State


def arbitrary_state(recipe: Recipe, seed: int | tuple[int, ...]) -> State:
    """Return a state_dict in float64 in which every tensor is random, as if after some training."""
    generator = np.random.default_rng(seed)
    state: dict[str, np.ndarray] = {}
    for entry in entries(recipe):
        normal = generator.standard_normal(entry.shape)
        if entry.torch_key.endswith("running_var"):
            state[entry.torch_key] = 0.5 + generator.random(entry.shape)
        elif entry.torch_key.endswith((".bias", "running_mean")):
            state[entry.torch_key] = 0.1 * normal
        elif entry.path[-1] == "scale":
            state[entry.torch_key] = 0.5 + generator.random(entry.shape)
        else:
            state[entry.torch_key] = normal / np.prod(entry.shape[1:]) ** 0.5
    # Rounded to float32, so that every precision starts from the very same numbers.
    rounded = {key: torch.from_numpy(value.astype(np.float32).astype(np.float64)) for key, value in state.items()}
    for name, shape in constants(recipe).items():
        counter = name.endswith("num_batches_tracked")
        rounded[name] = torch.tensor(0) if counter else torch.ones(shape, dtype=torch.float64)
    return rounded


def cast(state: State, precision: str) -> State:
    """Return the floating tensors of a state_dict in another precision."""
    dtype = getattr(torch, precision)
    return {key: value.to(dtype) if value.is_floating_point() else value for key, value in state.items()}
