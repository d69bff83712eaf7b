"""Settings of the comparison for tests: one torch thread, a few real images, one recipe."""

from pathlib import Path

import jax
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install airjax[parity]")

from parity.numerical import IMAGES, load_images  # noqa: E402

CIFAR10 = Path(__file__).parents[3] / "shared" / "cifar10" / "unpack.py"

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    # The arrays are small: a second thread costs more than it gives, and the order of sums stays the same.
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def pixels(request: pytest.FixtureRequest) -> tuple[str, np.ndarray, np.ndarray]:
    """Name, images and labels that the ladder is run on: CIFAR-10's where it is at hand, else the builtin set's."""
    if not CIFAR10.exists():
        return load_images("builtin", None)
    data = request.getfixturevalue("cifar10")
    return data.name, data.train_images[:IMAGES], data.train_labels[:IMAGES]


@pytest.fixture(scope="session")
def builtin() -> tuple[str, np.ndarray, np.ndarray]:
    """The same of the builtin set, for what does not depend on the images."""
    return load_images("builtin", None)
