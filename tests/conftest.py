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

# Before airjax is imported: from then on its functions check the shapes and dtypes of their arrays. Of the modules that
# have such annotations alone, because every function of a module under the hook takes several times as long to call.
if importlib.util.find_spec("beartype"):
    root = Path(__file__).parents[1]
    annotated = [file for file in (root / "airjax").rglob("*.py") if "jaxtyping" in file.read_text()]
    install_import_hook(
        [".".join(file.relative_to(root).with_suffix("").parts) for file in annotated], "array_types.check_arrays"
    )

from data_files import write_torch

import airjax
from airjax.data import registry
from airjax.data.builtin import load_builtin
from airjax.recipes.published import RECIPES
from airjax.recipes.recipe import Recipe
from airjax.training.environment import cpu_kind

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_legacy_prng_key", "error")

SHARED = Path(__file__).parents[2] / "shared"
UNPACK, RESTORE = SHARED / "cifar10" / "unpack.py", SHARED / "cifar10-official" / "restore.py"
CIFAR100 = SHARED / "cifar100" / "unpack.py"
HUMAN = SHARED / "cifar10-human"
IMAGENET = SHARED / "imagenet-jpeg" / "unpack.py"
# Before the tests' own environment hides them.
NAMED, NAMED_CIFAR100, NAMED_LABELS, NAMED_IMAGENET = (
    os.environ.get(f"AIRJAX_{name}") for name in ("DATA", "CIFAR100", "LABELS", "IMAGENET_JPEG")
)

# Names of tests: what passes is added to this file, and what stands there is not run again. So a second call, with more
# packages installed, runs what the first one skipped.
PASSED = os.environ.get("AIRJAX_TESTS_PASSED")


def _read_passed() -> set[str]:
    return set(Path(PASSED).read_text().splitlines()) if PASSED and Path(PASSED).exists() else set()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what an earlier call has passed."""
    passed = _read_passed()
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in passed])
    items[:] = [item for item in items if item.nodeid not in passed]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Keep the names of what has passed."""
    if PASSED:
        names = _read_passed() | {report.nodeid for report in terminalreporter.getreports("passed")}
        Path(PASSED).write_text("".join(f"{name}\n" for name in sorted(names)))


def pytest_report_header() -> str | None:
    """Say why tests/parity is not collected where it is not."""
    if importlib.util.find_spec("torch") is None:
        return "tests/parity: skipped, torch is not installed (pip install -c constraints.txt '.[parity]')"
    return None


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of all tests, in which what one process of them compiles is found by all others, as users' are.

    A new one for each call of pytest, or AIRJAX_TEST_CACHE.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    folder = Path(os.environ.get("AIRJAX_TEST_CACHE", folder / "cache")).absolute()
    jax.config.update("jax_compilation_cache_dir", str(folder / "compiled" / cpu_kind()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    return folder


@pytest.fixture(autouse=True)
def _own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRJAX_CACHE", str(cache))
    for name in ("DATA", "CIFAR100", "SVHN", "CINIC10", "LABELS", "IMAGENET", "IMAGENET_JPEG", "MIRROR"):
        monkeypatch.delenv(f"AIRJAX_{name}", raising=False)


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


@pytest.fixture(scope="session")
def cifar100_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real CIFAR-100: AIRJAX_CIFAR100, or made from the files beside the project, whose order is another one."""
    if NAMED_CIFAR100:
        return Path(NAMED_CIFAR100)
    if not CIFAR100.exists():
        pytest.skip("CIFAR-100 is not here; name its place with AIRJAX_CIFAR100")
    folder = tmp_path_factory.mktemp("cifar100")
    subprocess.run([sys.executable, CIFAR100, folder], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def human_labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the real CIFAR-10N and CIFAR-10H in their official formats: AIRJAX_LABELS, or made from arrays."""
    if NAMED_LABELS:
        return Path(NAMED_LABELS)
    if not (HUMAN / "cifar10n.npz").exists():
        pytest.skip("CIFAR-10N and CIFAR-10H are not here; name their folder with AIRJAX_LABELS")
    folder = tmp_path_factory.mktemp("labels")
    with np.load(HUMAN / "cifar10n.npz") as noisy, np.load(HUMAN / "cifar10h.npz") as people:
        table = {name: array.astype(np.int64) for name, array in noisy.items()}
        write_torch(folder / "CIFAR-10_human.pt", table)
        np.save(folder / "CIFAR-10_human.npy", table, allow_pickle=True)  # pyright: ignore[reportArgumentType]
        counts = people["counts"].astype(np.int64)
    np.save(folder / "cifar10h-counts.npy", counts)
    np.save(folder / "cifar10h-probs.npy", counts / counts.sum(1, keepdims=True))
    return folder


@pytest.fixture(scope="session")
def imagenet_jpeg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real JPEGs of ImageNet, two trees: AIRJAX_IMAGENET_JPEG, or made from the files beside the project."""
    if NAMED_IMAGENET:
        return Path(NAMED_IMAGENET)
    if not IMAGENET.exists():
        pytest.skip("the JPEGs of ImageNet are not here; name their folder with AIRJAX_IMAGENET_JPEG")
    folder = tmp_path_factory.mktemp("imagenet")
    subprocess.run([sys.executable, IMAGENET, folder], check=True, capture_output=True)
    return folder


@pytest.fixture
def random_images() -> np.ndarray:
    """uint8 [16,32,32,3]."""
    return np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), np.uint8)
