"""Checks of the library functions' arguments, before anything is computed: what was expected, and what was given."""

import operator
import reprlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from airjax.data.dataset import Dataset, image_misfit
from airjax.recipes.inputs import Inputs


def shown(value: Any) -> str:
    """Return a value and its type, shortened, for messages."""
    return f"{reprlib.repr(value)} ({type(value).__name__})"


def check_data(data: Any) -> Dataset:
    """Return the data set. Raises TypeError for anything else."""
    if not isinstance(data, Dataset):
        raise TypeError(f"data is {shown(data)}, but it must be a Dataset, as load_data() or load_cifar10() returns it")
    return data


def check_images(name: str, images: np.ndarray, inputs: Inputs) -> None:
    """Raise ValueError unless the images are a numpy array [n,h,w,c] uint8 of these inputs."""
    if misfit := image_misfit(images, inputs):
        raise ValueError(f"{name} are {misfit}")


def check_choice(name: str, value: Any, allowed: Sequence[str]) -> None:
    """Raise ValueError unless the value is one of those allowed."""
    if value not in allowed:
        raise ValueError(f"{name} is {shown(value)}, but it must be one of {', '.join(allowed)}")


def check_count(name: str, value: Any) -> int:
    """Return the value as an int. Raises ValueError unless it is a whole number from 1."""
    try:
        number = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(f"{name} is {shown(value)}, but it must be a whole number from 1")
    return number
