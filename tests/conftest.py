"""Strict JAX for every test, small data for the machinery, and the real CIFAR-10 where it is at hand."""

import importlib.util
import os
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest
from jaxtyping import install_import_hook

# Before airjax is imported: from then on its functions check the shapes and dtypes of their arrays.
if importlib.util.find_spec("beartype"):
    install_import_hook("airjax", "array_types.check_arrays")

import airjax
from airjax.data import registry
from airjax.data.builtin import load_builtin
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Recipe

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_legacy_prng_key", "error")

SHARED = Path(__file__).parents[2] / "shared"
UNPACK, RESTORE = SHARED / "cifar10" / "unpack.py", SHARED / "cifar10-official" / "restore.py"
NAMED = os.environ.get("AIRJAX_DATA")  # before the tests' own environment hides it


def pytest_report_header() -> str | None:
    """Say why tests/parity is not collected where it is not."""
    if importlib.util.find_spec("torch") is None:
        return "tests/parity: skipped, torch is not installed (pip install -c constraints.txt '.[parity]')"
    return None


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRJAX_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv("AIRJAX_DATA", raising=False)
    monkeypatch.delenv("AIRJAX_MIRROR", raising=False)


@pytest.fixture(scope="session")
def toy() -> airjax.Dataset:
    """300 training and 100 test images of the synthetic dataset."""
    return load_builtin(300, 100)


@pytest.fixture(scope="session")
def tiny() -> Recipe:
    """The recipe that nearly every test of machinery shares, so that it compiles once."""
    return RECIPES["tiny"]


@pytest.fixture
def small_builtin(toy: airjax.Dataset, monkeypatch: pytest.MonkeyPatch) -> airjax.Dataset:
    """Makes `--data builtin` the toy data set."""
    entry = registry.REGISTRY["synthetic"]
    monkeypatch.setitem(registry.REGISTRY, "synthetic", entry._replace(load=lambda place, download=True: toy))
    return toy


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sends every request, also those of child processes, to a proxy that does not exist."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def cifar10_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real CIFAR-10 in its official order: AIRJAX_DATA, or made from the files beside the project."""
    if NAMED:
        return Path(NAMED)
    if not (UNPACK.exists() and RESTORE.exists()):
        pytest.skip("CIFAR-10 is not here; name its place with AIRJAX_DATA")
    folder = tmp_path_factory.mktemp("cifar10")
    for command in ([UNPACK, folder / "images"], [RESTORE, folder / "images", folder / "official"]):
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
    return folder / "official"


@pytest.fixture(scope="session")
def cifar10(cifar10_folder: Path) -> airjax.Dataset:
    """The real CIFAR-10."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about another content, which is the reason below
        try:
            data = airjax.load_cifar10(cifar10_folder)
        except airjax.DataError as error:
            pytest.skip(f"CIFAR-10 cannot be read: {error}")
    if data.content != "official":
        pytest.skip(f"{cifar10_folder} is not CIFAR-10 in its official order, but {data.name}, {data.content} content")
    return data


@pytest.fixture
def random_images() -> np.ndarray:
    """uint8 [16,32,32,3]."""
    return np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), np.uint8)
