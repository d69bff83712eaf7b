"""What is known of data sets besides their images, and arrays of every size and number of channels."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import airjax
from airjax.data.dataset import CIFAR10_CLASSES
from airjax.data.info import CIFAR10, DatasetInfo, Statistics, pixel_statistics
from airjax.recipes.inputs import Inputs


def arrays(size: int = 28, channels: int = 1, classes: int = 3) -> tuple[np.ndarray, ...]:
    """Images of random pixels and labels of both splits: 12 for training and 6 for test."""
    drawn = np.random.default_rng(0)
    images = [drawn.integers(0, 256, (count, size, size, channels), np.uint8) for count in (12, 6)]
    labels = [np.arange(count, dtype=np.int32) % classes for count in (12, 6)]
    return images[0], labels[0], images[1], labels[1]


@pytest.mark.parametrize(("size", "channels", "classes"), [(28, 1, 3), (32, 3, 10), (64, 3, 2), (8, 4, 6), (1, 2, 5)])
def test_arrays_of_any_square_size_channels_and_classes(size: int, channels: int, classes: int) -> None:
    data = airjax.Dataset("mine", *arrays(size, channels, classes))
    assert data.classes == tuple("0123456789"[:classes])
    info = data.info
    assert (info.name, info.image_size, info.channels, info.symmetric) == ("mine", size, channels, True)
    inputs = info.inputs()
    assert (inputs.image_size, inputs.channels, inputs.num_classes) == (size, channels, classes)
    assert (inputs.mean, inputs.std) == (info.mean, info.std)


def test_cifar10s_constants_are_those_of_the_method() -> None:
    assert CIFAR10 == ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))


def test_named_data_sets_have_the_published_statistics(toy: airjax.Dataset) -> None:
    expected = DatasetInfo("synthetic", toy.classes, 3, 32, *CIFAR10)
    assert toy.info == expected
    assert toy.info.inputs() == Inputs()
    custom = replace(toy, name="custom", classes=())
    assert (custom.info.mean, custom.classes) == (CIFAR10.mean, CIFAR10_CLASSES)
    assert replace(toy, name="mine").info.mean != CIFAR10.mean


def test_the_measured_statistics_of_cifar10_are_the_published_ones(cifar10: airjax.Dataset) -> None:
    assert pixel_statistics(cifar10.train_images) == CIFAR10


def test_statistics_are_of_the_training_images_to_four_digits() -> None:
    images = np.zeros((2, 2, 2, 3), np.uint8)
    images[0, ..., 0] = 255  # half of the pixels: mean 0.5, standard deviation 0.5
    images[:, 0, 0, 1] = 255  # a quarter: mean 0.25, standard deviation sqrt(3)/4
    images[..., 2] = 51  # no spread, whose standard deviation is taken as 1
    assert pixel_statistics(images) == ((0.5, 0.25, 0.2), (0.5, 0.4330, 1.0))
    assert pixel_statistics(images[:0]) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def test_parts_keep_the_statistics_of_the_whole() -> None:
    whole = airjax.Dataset("mine", *arrays())
    for part in (whole.subset(np.arange(3)), whole.head(0, 2), whole.with_validation(3)):
        assert part.info == whole.info
    assert airjax.Dataset("mine", *(array[:3] for array in arrays())).info.mean != whole.info.mean


def test_given_statistics_and_symmetry_count() -> None:
    data = airjax.Dataset("mine", *arrays(), statistics=Statistics((0.5,), (0.25,)), symmetric=False)
    assert data.info == DatasetInfo("mine", ("0", "1", "2"), 1, 28, (0.5,), (0.25,), symmetric=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"train_images": np.zeros((12, 28, 20, 1), np.uint8)},
            r"are uint8 \(12, 28, 20, 1\); need .*square",
        ),
        ({"train_images": np.zeros((12, 28, 28, 5), np.uint8)}, r"need uint8 \[N,H,W,C\].*with 1 to 4 channels"),
        ({"train_images": np.zeros((12, 600, 600, 1), np.uint8)}, "at most 512 pixels wide"),
        ({"train_images": np.zeros((12, 3, 28, 28), np.uint8)}, "channels first; need .*images.transpose"),
        ({"train_images": np.zeros((12, 28, 28), np.uint8)}, r"images\[\.\.\., None\] where they are grey"),
        (
            {"test_images": np.zeros((6, 20, 20, 1), np.uint8)},
            r"\(28, 28, 1\) and \(20, 20, 1\) each; need the same",
        ),
        ({"classes": ("only",)}, "there is one class only, 'only'; need at least 2"),
        ({"classes": ("a", "b")}, r"labels must lie in \[0, 2\)"),
    ],
)
def test_arrays_that_no_network_takes_are_refused(changes: dict[str, Any], message: str) -> None:
    names = ("train_images", "train_labels", "test_images", "test_labels")
    fields: dict[str, Any] = dict(zip(names, arrays(), strict=True))
    with pytest.raises(airjax.DataError, match=message):
        airjax.Dataset("mine", **(fields | changes))
