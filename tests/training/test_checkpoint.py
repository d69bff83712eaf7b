import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

import airjax
from airjax.recipes.recipe import Recipe
from airjax.training.checkpoint import named_tensors
from tests.networks import initial


@pytest.fixture(scope="module")
def trained(tiny: Recipe, toy: airjax.Dataset) -> airjax.Trained:
    return airjax.train_network(tiny, toy)


def test_save_load_predict_is_exact(trained: airjax.Trained, toy: airjax.Dataset, tmp_path: Path) -> None:
    airjax.save_model(tmp_path / "model.safetensors", trained.model)
    loaded = airjax.load(tmp_path / "model.safetensors")
    assert loaded.recipe == trained.model.recipe
    assert loaded.classes == toy.classes
    assert jax.tree.structure(loaded.variables) == jax.tree.structure(trained.model.variables)
    for ours, theirs in zip(jax.tree.leaves(loaded.variables), jax.tree.leaves(trained.model.variables), strict=True):
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)
    assert np.array_equal(airjax.infer(loaded, toy.test_images), trained.logits)
    assert airjax.evaluate(loaded, toy) == trained.accuracy


def test_half_precision_and_unwhitened_networks_survive(tiny: Recipe, tmp_path: Path) -> None:
    recipe = tiny.override(precision="float16", whiten=False)
    variables = initial(recipe) | {"frozen": {}}
    airjax.save_model(tmp_path / "m", airjax.Model(recipe, variables))
    loaded = airjax.load(tmp_path / "m")
    assert jax.tree.structure(loaded.variables) == jax.tree.structure(variables)
    assert loaded.variables["params"]["whiten"]["kernel"].dtype == np.float16


def test_missing_damaged_and_foreign_files_are_told_apart(trained: airjax.Trained, tmp_path: Path) -> None:
    with pytest.raises(airjax.ModelError, match="does not exist"):
        airjax.load(tmp_path / "none")
    file = tmp_path / "model.safetensors"
    airjax.save_model(file, trained.model)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(airjax.ModelError, match="not a safetensors file, or is damaged"):
        airjax.load(file)
    save_file({"a": np.zeros(1)}, tmp_path / "other")
    with pytest.raises(airjax.ModelError, match="not an airjax model"):
        airjax.load(tmp_path / "other")
    save_file({"a": np.zeros(1)}, tmp_path / "odd", {"format": "airjax-1", "recipe": '{"warmth": 1}', "classes": "[]"})
    with pytest.raises(airjax.ModelError, match="no readable recipe: unknown recipe field warmth"):
        airjax.load(tmp_path / "odd")


@pytest.fixture
def fresh(tiny: Recipe) -> airjax.Model:
    """A network that was never trained: cheap, and its tensors may be changed."""
    recipe = tiny.override(precision="float32")
    variables = jax.tree.map(np.array, initial(recipe))
    return airjax.Model(recipe, variables)


def write_tensors(file: Path, model: airjax.Model, changed: dict[str, np.ndarray | None]) -> None:
    """A model file with tensors replaced, added, or with None left out, past all checks."""
    tensors = {name: np.asarray(leaf) for name, leaf in named_tensors(model.variables).items()} | changed
    described = {"format": "airjax-2", "recipe": model.recipe.to_dict(), "classes": model.classes}
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(kept, file, {"airjax": json.dumps(described)})


MEAN, VAR, CONV = "batch_stats/block1/norm1/mean", "batch_stats/block1/norm1/var", "params/block1/conv1"


@pytest.mark.parametrize(
    ("name", "change", "fault"),
    [
        (MEAN, lambda old: np.full_like(old, np.nan), f"{MEAN} holds values that are not finite"),
        (CONV, lambda old: np.full_like(old, -np.inf), f"{CONV} holds values that are not finite"),
        (VAR, lambda old: np.full_like(old, -0.5), rf"{VAR} holds a negative variance \(-0.5\)"),
        (CONV, lambda old: old.astype(np.complex64), f"{CONV} has type C64, but its recipe needs float32"),
        (CONV, lambda old: old.astype(np.float16), f"{CONV} has type float16, but its recipe needs float32"),
        (CONV, lambda old: old.astype(jax.numpy.bfloat16), f"{CONV} has type bfloat16, but its recipe needs float32"),
        (CONV, lambda old: old.astype(np.int64), f"{CONV} has type I64, but its recipe needs float32"),
        (CONV, lambda old: old[..., 1:], rf"{CONV} has shape .*, but its recipe needs"),
        (CONV, lambda old: None, f"{CONV} is missing"),
        ("params/block9/conv1", lambda old: np.zeros(1), "params/block9/conv1 does not belong to its recipe"),
        ("params/head/kernel", lambda old: np.zeros(1), "params/head/kernel does not belong to its recipe"),
    ],
)
def test_a_tensor_that_its_recipe_does_not_have_is_named(
    name: str, change: Callable[[Any], Any], fault: str, fresh: airjax.Model, tmp_path: Path
) -> None:
    file = tmp_path / "model.safetensors"
    write_tensors(file, fresh, {name: change(named_tensors(fresh.variables).get(name))})
    with pytest.raises(airjax.ModelError, match=fault):
        airjax.load(file)


def test_a_network_that_is_not_its_recipes_is_not_written(fresh: airjax.Model, tmp_path: Path) -> None:
    wider = fresh.recipe.override(widths=(16, 16, 32))
    with pytest.raises(airjax.ModelError, match=r"mean has shape \(8,\), but its recipe needs \(16,\)"):
        airjax.save_model(tmp_path / "m", fresh._replace(recipe=wider))
    with pytest.raises(airjax.ModelError, match=r"classes is .* but it must be 10 names"):
        airjax.save_model(tmp_path / "m", fresh._replace(classes=("cat", "dog")))
    assert list(tmp_path.iterdir()) == []
    airjax.save_model(tmp_path / "m", fresh)
    assert list(tmp_path.iterdir()) == [tmp_path / "m"]


def test_a_diverged_network_can_be_kept_but_not_used(fresh: airjax.Model, tmp_path: Path) -> None:
    fresh.variables["params"]["head"][0, 0] = np.nan
    airjax.save_model(tmp_path / "m", fresh)
    with pytest.raises(airjax.ModelError, match=r"params/head holds values that are not finite .* diverged"):
        airjax.load(tmp_path / "m")


def test_arguments_of_the_wrong_kind_are_named(fresh: airjax.Model, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"save_model\(file, model\) takes a path first, not a Model"):
        airjax.save_model(fresh, tmp_path / "m")  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=r"takes an airjax.Model second, not a dict"):
        airjax.save_model(tmp_path / "m", fresh.variables)  # pyright: ignore[reportArgumentType]
    trained = airjax.Trained(fresh, 0.5, np.zeros((1, 10)), np.zeros(1), {})
    with pytest.raises(TypeError, match=r"not a Trained; pass its .model"):
        airjax.save_model(tmp_path / "m", trained)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=r"load\(file\) takes a path, not a Model"):
        airjax.load(fresh)  # pyright: ignore[reportArgumentType]


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(airjax.ModelError, match=r"is a folder without a \.safetensors file"):
        airjax.load(tmp_path)


def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    script = """
import sys, jax, numpy, airjax
from airjax.training.checkpoint import needed_tensors, nest
recipe = airjax.RECIPES["tiny"]
tensors = {name: numpy.zeros(leaf.shape, leaf.dtype) for name, leaf in needed_tensors(recipe).items()}
airjax.save_model(sys.argv[1], airjax.Model(recipe, nest(tensors)))
"""
    files = [tmp_path / "first", tmp_path / "second"]
    for file in files:
        subprocess.run([sys.executable, "-c", script, file], check=True)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_files_of_the_first_format_still_load(fresh: airjax.Model, tmp_path: Path) -> None:
    tensors = {name: np.asarray(leaf) for name, leaf in named_tensors(fresh.variables).items()}
    metadata = {"format": "airjax-1", "recipe": json.dumps(fresh.recipe.to_dict())}
    save_file(tensors, tmp_path / "old", metadata | {"classes": json.dumps(fresh.classes)})
    loaded = airjax.load(tmp_path / "old")
    assert (loaded.recipe, loaded.classes) == (fresh.recipe, fresh.classes)
    assert np.array_equal(loaded.variables["params"]["head"], fresh.variables["params"]["head"])
