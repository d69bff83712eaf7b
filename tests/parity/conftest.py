"""Images for the comparison with PyTorch, and one thread. Without torch there is nothing to compare with."""

import importlib.util
from typing import Any

import numpy as np
import pytest

Pixels = tuple[str, np.ndarray, np.ndarray]

collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["test_*.py"]


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    import torch

    # The arrays are small: a second thread costs more than it gives, and the order of sums stays the same.
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def pixels(request: pytest.FixtureRequest) -> Pixels:
    """Name, images and labels that the suite runs on: CIFAR-10's where it is at hand, else the synthetic dataset's."""
    from parity.numerical import IMAGES, load_images

    try:
        data = request.getfixturevalue("cifar10")
    except pytest.skip.Exception:
        return load_images("builtin", None)
    return data.name, data.train_images[:IMAGES], data.train_labels[:IMAGES]


@pytest.fixture(scope="session")
def builtin() -> Pixels:
    """The same of the synthetic dataset, for what does not depend on the images."""
    from parity.numerical import load_images

    return load_images("builtin", None)


@pytest.fixture
def plan() -> dict[str, Any]:
    """What is fixed at the beginning of a small made-up distribution study."""
    return {
        "recipe": "mini",
        "changed": {},
        "method": {"epochs": 3.0},
        "runs": 3,
        "margin": 0.5,
        "reference": "own",
        "data": "cifar10",
        "data_sha256": "00",
        "device": "cpu",
        "environment": {"device": "a processor", "versions": {"jax": "1"}, "commit": "0123"},
    }
