"""Data sets: numpy arrays of labelled images."""

from airjax.data.builtin import load_builtin
from airjax.data.cifar10 import load_cifar10
from airjax.data.dataset import DataError, Dataset
from airjax.data.info import DatasetInfo
from airjax.data.load import load_data

__all__ = ["DataError", "Dataset", "DatasetInfo", "load_builtin", "load_cifar10", "load_data"]
