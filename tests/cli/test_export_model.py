"""Networks that leave airjax: the folder that hubs hold, its card, and ONNX, which predicts the same."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import airjax
from airjax.cli.export import main
from airjax.cli.export_model import KNOWN_TO_CONVERT, ExportError, convert, in_float32, portable_backend
from airjax.nn.build import init_variables
from airjax.recipes.published import RECIPES
from airjax.training.backend import backend_of, resolve_precision
from airjax.training.evaluate import tta_logits


def network(name: str) -> airjax.Model:
    """A network that nobody trained, whose statistics and biases are not those of the beginning."""
    recipe = resolve_precision(RECIPES[name])
    variables = jax.device_get(jax.jit(lambda: init_variables(recipe, backend_of(recipe), airjax.make_key(0)))())
    generator = np.random.default_rng(0)
    moved = jax.tree.map(lambda leaf: leaf + generator.uniform(0.01, 0.1, leaf.shape).astype(leaf.dtype), variables)
    return airjax.Model(recipe, moved)


@pytest.fixture(scope="module")
def model() -> airjax.Model:
    return network("tiny")


@pytest.fixture
def out(tmp_path: Path, model: airjax.Model) -> Path:
    """The folder of a training of seeds 3 and 4."""
    folder = tmp_path / "out"
    folder.mkdir()
    for seed in (3, 4):
        airjax.save_model(folder / f"model-{seed}.safetensors", model)
    run = {"seed": 3, "accuracy": 0.8765, "train_loss": 1.25, "train_accuracy": 0.5, "steps": 16, "environment": "e"}
    (folder / "runs.jsonl").write_text(json.dumps(run | {"seconds": {"train": 2.0}}) + "\n")
    (folder / "environments.jsonl").write_text(json.dumps({"environment": "e", "device": "a device"}) + "\n")
    described = {"name": "tiny", "dataset": "cifar10", "dataset_sha256": "f00d", "split": "test"}
    (folder / "recipe.json").write_text(json.dumps(described))
    return folder


def same_networks(one: airjax.Model, other: airjax.Model) -> bool:
    equal: Any = jax.tree.map(np.array_equal, one.variables, other.variables)
    return one.recipe == other.recipe and one.classes == other.classes and all(jax.tree.leaves(equal))


def test_a_record_of_another_kind_leaves_the_card_without_an_origin(out: Path, tmp_path: Path) -> None:
    (out / "recipe.json").write_text("[]")
    assert main([str(out / "model-3.safetensors"), str(tmp_path / "hub"), "--hub"]) == 0
    assert "# a recipe of airjax on an unnamed data set" in (tmp_path / "hub" / "README.md").read_text()


def test_a_hub_folder_is_loaded_also_without_the_metadata_of_its_file(
    out: Path, tmp_path: Path, model: airjax.Model
) -> None:
    from safetensors.numpy import load_file, save_file

    hub = tmp_path / "hub"
    assert main([str(out / "model-3.safetensors"), str(hub), "--hub"]) == 0
    assert {entry.name for entry in hub.iterdir()} == {"model.safetensors", "config.json", "README.md"}
    assert same_networks(airjax.load(hub), model)
    save_file(load_file(hub / "model.safetensors"), hub / "model.safetensors")
    with pytest.raises(airjax.ModelError, match="is not an airjax model"):
        airjax.load(hub / "model.safetensors")
    assert same_networks(airjax.load(hub), model)
    (hub / "config.json").write_text("[]")
    with pytest.raises(airjax.ModelError, match=r"config\.json is not a JSON object"):
        airjax.load(hub)


def test_a_card_has_the_results_the_recipe_the_data_and_the_licence(out: Path, tmp_path: Path) -> None:
    assert main([str(out / "model-3.safetensors"), str(tmp_path / "hub"), "--hub", "--licence", "cc0-1.0"]) == 0
    card = (tmp_path / "hub" / "README.md").read_text()
    assert card.startswith("---\nlicense: cc0-1.0\n")
    for line in (
        "# tiny on cifar10",
        "| test accuracy, with test-time augmentation 2 | 87.65% |",
        "| seed | 3 |",
        "| device | a device |",
        f"| learning_rate | {RECIPES['tiny'].optimizer.learning_rate} |",
    ):
        assert line in card.splitlines()
    assert "`f00d`" in card
    assert main([str(out / "model-4.safetensors"), str(tmp_path / "hub"), "--hub"]) == 0
    card = (tmp_path / "hub" / "README.md").read_text()
    assert "Not recorded: the training's records were not beside the network." in card
    assert "87.65%" not in card


def test_a_folder_with_several_networks_is_no_choice(out: Path) -> None:
    with pytest.raises(airjax.ModelError, match=r"2 networks \(model-3.safetensors, model-4.safetensors\); name one"):
        airjax.load(out)
    (out / "model-4.safetensors").unlink()
    assert airjax.load(out).recipe.epochs == RECIPES["tiny"].epochs


@pytest.mark.parametrize("name", ["tiny", "96"])
def test_what_is_exported_computes_the_logits_of_the_evaluation(name: str, random_images: np.ndarray) -> None:
    if name == "96":  # residual blocks of three convolutions, at a size that is quick
        recipe = resolve_precision(RECIPES["96"]).override(widths=(8, 8, 8))
        key = airjax.make_key(1)
        chosen = airjax.Model(recipe, jax.jit(lambda: init_variables(recipe, backend_of(recipe), key))())
    else:
        chosen = network(name)
    chosen = in_float32(chosen)
    images = jax.numpy.asarray(random_images)
    ours = jax.jit(lambda: tta_logits(chosen.recipe, chosen.variables, images))()
    portable = jax.jit(lambda: tta_logits(chosen.recipe, chosen.variables, images, backend=portable_backend()))()
    # Rounding of sums in another order, and of erf.
    np.testing.assert_allclose(portable, ours, rtol=0, atol=1e-5 * float(np.abs(ours).max()))


def test_a_converter_that_does_not_fit_jax_is_named_with_the_version_that_it_fits(model: airjax.Model) -> None:
    class Converter:
        @staticmethod
        def to_onnx(*_: Any, **__: Any) -> None:
            raise AttributeError("module 'jax._src.core' has no attribute 'ClosedJaxpr'")

    with pytest.raises(ExportError, match=r"does not convert with jax .*ClosedJaxpr.*pip install .*'jax==0\.10\.1'"):
        convert(in_float32(model), Converter())
    constraints = Path(__file__).parents[2] / "constraints.txt"
    assert f"\njax=={KNOWN_TO_CONVERT}\n" in constraints.read_text()


def test_a_file_has_all_views_of_every_image(model: airjax.Model, toy: airjax.Dataset) -> None:
    # Which images are the least certain follows from the whole test set; a converted function sees a batch of it.
    selecting = model._replace(recipe=model.recipe.override(tta_fraction=0.3))
    images = toy.test_images[:40]
    whole = airjax.infer(in_float32(selecting), images)
    np.testing.assert_array_equal(whole, airjax.infer(in_float32(model), images))
    assert not np.array_equal(whole, airjax.infer(selecting, images))


@pytest.mark.slow
def test_onnxruntime_predicts_what_airjax_predicts(out: Path, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (pip install '.[onnx]')")
    if importlib.util.find_spec("jax2onnx") is None:
        pytest.skip("jax2onnx is not installed (pip install '.[onnx]')")
    file = tmp_path / "model.onnx"
    # In a process of its own: the converter does not run under the strict promotion of these tests.
    command = [sys.executable, "-m", "airjax.export", out / "model-3.safetensors", file, "--onnx", "--data", "builtin"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "onnxruntime predicts the same classes of 10,000 test images of synthetic" in done.stdout
    images = airjax.load_builtin(100, 7).test_images  # a batch of another size than that of the command
    ours = airjax.infer(airjax.load(out / "model-3.safetensors"), images)
    (theirs,) = runtime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"images": images})
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-5 * float(np.abs(ours).max()))
