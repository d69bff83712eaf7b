from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

import airjax
from airjax.recipe import Recipe


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
    from airjax.model import init_variables

    recipe = replace(tiny, precision="float16", whiten=False)
    variables = init_variables(recipe, jax.random.key(0)) | {"frozen": {}}
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
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(1)}, tmp_path / "other")
    with pytest.raises(airjax.ModelError, match="not an airjax model"):
        airjax.load(tmp_path / "other")
    save_file({"a": np.zeros(1)}, tmp_path / "odd", {"format": "airjax-1", "recipe": '{"warmth": 1}', "classes": "[]"})
    with pytest.raises(airjax.ModelError, match="no readable recipe: unknown recipe field warmth"):
        airjax.load(tmp_path / "odd")
