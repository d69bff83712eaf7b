"""Data sets: numpy arrays of labelled images."""

from airjax.data.builtin import load_builtin
from airjax.data.cifar10 import load_cifar10
from airjax.data.cifar100 import load_cifar100
from airjax.data.cinic10 import load_cinic10
from airjax.data.dataset import DataError, Dataset
from airjax.data.info import DatasetInfo
from airjax.data.labels import with_labels
from airjax.data.load import load_data
from airjax.data.svhn import load_svhn

__all__ = [
    "DataError",
    "Dataset",
    "DatasetInfo",
    "load_builtin",
    "load_cifar10",
    "load_cifar100",
    "load_cinic10",
    "load_data",
    "load_svhn",
    "with_labels",
]
