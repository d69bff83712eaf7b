"""Data sets: numpy arrays of labelled 32x32 colour images."""

import os
import warnings
from pathlib import Path
from typing import Literal

from airjax.data.builtin import load_builtin
from airjax.data.cifar10 import load_cifar10
from airjax.data.dataset import DataError, Dataset

DataName = Literal["auto", "cifar10", "builtin"]

__all__ = ["DataError", "DataName", "Dataset", "load_builtin", "load_cifar10", "load_data"]


def load_data(name: DataName = "auto", data_dir: str | Path | None = None) -> Dataset:
    """The data set of that name; `auto` is CIFAR-10 where it is available, else the builtin set with a warning.

    Raises DataError where CIFAR-10 was asked for, or a place was named, and it cannot be read.
    """
    if name == "builtin":
        return load_builtin()
    if name == "cifar10":
        return load_cifar10(data_dir)
    try:
        return load_cifar10(data_dir)
    except DataError as error:
        if data_dir is not None or os.environ.get("AIRJAX_DATA"):
            raise
        warnings.warn(
            f"{error}. Using the builtin procedural images instead, whose accuracies say nothing about CIFAR-10",
            stacklevel=2,
        )
        return load_builtin()
