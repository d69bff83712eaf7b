"""Settings of the comparison for tests: one torch thread, a few real images, one recipe."""

import jax
import numpy as np
import pytest

from airjax.recipe import RECIPES
from parity.setting import BOTH, Setting

torch = pytest.importorskip("torch", reason="torch is not installed: pip install airjax[parity]")

from parity.peer import OWN  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    # The arrays are small: a second thread costs more than it gives, and the order of sums stays the same.
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def pixels() -> tuple[str, np.ndarray, np.ndarray]:
    """Name, images and labels that the ladder is run on: the builtin set, so that no files are needed."""
    from parity.numerical import load_images

    return load_images("builtin", None)


@pytest.fixture(scope="session")
def setting(pixels: tuple[str, np.ndarray, np.ndarray]) -> Setting:
    """The 94 recipe against our reference."""
    return Setting("94", RECIPES["94"], pixels[1], pixels[2], OWN, BOTH)
