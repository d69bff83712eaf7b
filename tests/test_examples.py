"""The method in one file: the library's numbers without the library."""

import ast
import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import jax
import numpy as np
import pytest

import airjax

ROOT = Path(__file__).parent.parent
FILE = ROOT / "examples" / "airbench94_single_file.py"
sys.path.insert(0, str(FILE.parent))

import airbench94_single_file as single  # noqa: E402


@pytest.fixture
def _defaults_of_jax() -> Iterator[None]:
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def test_the_settings_are_those_of_the_recipe() -> None:
    recipe = airjax.get_recipe("94").flat()
    assert {field.name: field.default for field in fields(single.Config) if field.name != "compute"} == {
        field.name: recipe[field.name] for field in fields(single.Config) if field.name != "compute"
    }


@pytest.mark.usefixtures("_defaults_of_jax")
def test_a_seed_trains_the_network_that_the_library_trains(
    toy: airjax.Dataset, tiny: airjax.Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRJAX_CONVOLUTION", "native")
    # 21 steps: the bias freezes after 8, the last epoch is incomplete, and the last step comes after the last average.
    recipe = tiny.override(epochs=2.6, precision="float32")
    library = airjax.train_network(recipe, toy, seed=5, progress=False)
    names = [field.name for field in fields(single.Config) if field.name != "compute"]
    config = single.Config(**{name: recipe.value_of(name) for name in names})
    data = single.Data(toy.train_images, toy.train_labels, toy.test_images, toy.test_labels)
    network, losses, logits = single.train(config, data, seed=5)
    assert len(losses) == len(library.losses) == 21
    np.testing.assert_allclose(losses, library.losses, rtol=1e-5)
    np.testing.assert_allclose(logits, library.logits, atol=2e-4 * np.abs(library.logits).max())
    # The bias is so small that the logits would not show whether it was frozen.
    params = dict(network["params"])
    params["whiten"] = {"bias": params.pop("whiten_bias")}
    jax.tree.map(
        lambda ours, theirs: np.testing.assert_allclose(ours, theirs, atol=1e-3 * np.abs(theirs).max()),
        {"params": params, "batch_stats": network["batch_stats"]},
        {name: library.model.variables[name] for name in ("params", "batch_stats")},
    )


def test_it_imports_four_packages_and_none_of_ours() -> None:
    imported = set()
    for node in ast.walk(ast.parse(FILE.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])
    assert imported - sys.stdlib_module_names == {"jax", "flax", "optax", "numpy"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, toy: airjax.Dataset) -> dict[str, Path]:
    """The official layouts, with 20 images in a file."""
    root, names = tmp_path_factory.mktemp("official"), [f"data_batch_{number}" for number in range(1, 6)]
    (root / "bin").mkdir()
    (root / "py").mkdir()
    for number, name in enumerate([*names, "test_batch"]):
        images = toy.train_images[20 * number : 20 * number + 20].transpose(0, 3, 1, 2).reshape(20, 3072)
        labels = toy.train_labels[20 * number : 20 * number + 20]
        records = np.concatenate([labels.astype(np.uint8)[:, None], images], axis=1)
        (root / "bin" / f"{name}.bin").write_bytes(records.tobytes())
        content = {b"data": images, b"labels": labels.tolist()}
        (root / "py" / name).write_bytes(pickle.dumps(content, protocol=2))
    return {"binary": root / "bin", "python": root / "py"}


@pytest.mark.parametrize("layout", ["binary", "python"])
def test_both_official_layouts_are_read(layout: str, folders: dict[str, Path], toy: airjax.Dataset) -> None:
    data = single.load_cifar10(folders[layout])
    assert np.array_equal(data.train_images, toy.train_images[:100])
    assert np.array_equal(data.train_labels, toy.train_labels[:100])
    assert np.array_equal(data.test_images, toy.train_images[100:120])
    assert np.array_equal(data.test_labels, toy.train_labels[100:120])


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, FILE, *arguments], capture_output=True, text=True, check=False)


def test_the_command_line_trains_and_prints_the_accuracy(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What it prints is tested here, the numbers above: the child compiles without optimising.
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=0")
    small = ["--train-examples", "100", "--batch-size", "50", "--epochs", "3", "--widths", "4,4,4"]
    done = run(folders["python"], *small, "--whiten-bias-epochs", "9", "--compute", "bfloat16")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "step 2 of 6",
        "step 4 of 6",
        "step 6 of 6",
        "accuracy on 20 test images",
    ]
    assert lines[-1].endswith("%")


def test_too_few_images_and_another_folder_are_one_line(folders: dict[str, Path], tmp_path: Path) -> None:
    done = run(folders["binary"])
    assert done.returncode == 2
    assert f"--train-examples must be from --batch-size to 100, which {folders['binary']} has" in done.stderr
    done = run(tmp_path)
    assert done.returncode == 1
    assert (
        done.stderr
        == f"{tmp_path} holds neither data_batch_1.bin nor data_batch_1, so it is not a folder of CIFAR-10\n"
    )
