import pkgutil
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

import airjax
from airjax.recipes.recipe import Recipe

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "data_selection.md"


def test_public_names_are_there() -> None:
    for name in airjax.__all__:
        assert getattr(airjax, name) is not None


def test_what_the_docs_name_is_there() -> None:
    text = "".join(file.read_text() for file in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")))
    names = set(re.findall(r"(?<!-m )(?<!\w)airjax\.([a-z_]\w*(?:\.\w+)*)\b(?!\.py)", text))
    assert {"run_many", "stats.variance.run_variance"} <= names
    for name in names:
        pkgutil.resolve_name(f"airjax.{name}")


def test_names_of_earlier_versions_are_there_after_import_airjax() -> None:
    names = (
        *("agreement.compare_examples", "attribution.fit_datamodels", "doctor.run_checks", "driver.train"),
        *("equivalence.compare_means", "export.main", "predict.main", "recipe.RECIPES", "report.__main__.main"),
        *("results.load", "speedup.effective_speedup", "sweep.__main__.main", "variance.run_variance"),
    )
    script = """
import importlib, operator, sys
import airjax
for name in sys.argv[1:]:
    if "__main__" in name:
        importlib.import_module("airjax." + name.rpartition(".")[0])
    operator.attrgetter(name)(airjax)
from airjax.driver import train
from airjax.recipe import RECIPES, Recipe
from airjax.results import load
"""
    done = subprocess.run([sys.executable, "-c", script, *names], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_version_is_that_of_the_package() -> None:
    assert airjax.__version__ == metadata.version("airjax")
    assert {"__version__", "variance", "train94"} <= set(dir(airjax))
    with pytest.raises(AttributeError, match="module 'airjax' has no attribute 'nothing'"):
        _ = airjax.nothing


def test_training_takes_names_epochs_and_small_data(toy: airjax.Dataset) -> None:
    done = airjax.train_network("tiny", toy.subset(np.arange(64)), seed=3, epochs=0.5)
    assert done.model.recipe.train_examples == 64
    assert done.losses.shape == (1,)
    assert done.accuracy == airjax.evaluate(done.model, airjax.Dataset("t", *_test_only(toy)))


def test_infer_pads_the_last_batch(tiny: Recipe, toy: airjax.Dataset) -> None:
    model = airjax.train_network(tiny, toy).model
    images = np.concatenate([toy.test_images, toy.train_images])[:130]
    whole = airjax.infer(model, images)
    assert whole.shape == (130, 10)
    assert np.allclose(whole[:3], airjax.infer(model, images[:3]), atol=1e-5)


def test_images_of_another_kind_are_refused(tiny: Recipe, toy: airjax.Dataset) -> None:
    model = airjax.train_network(tiny, toy).model
    with pytest.raises(ValueError, match=r"images are float64 \(1, 32, 32, 3\); need uint8"):
        airjax.infer(model, np.zeros((1, 32, 32, 3)))
    with pytest.raises(ValueError, match="channels last"):
        airjax.infer(model, np.zeros((1, 3, 32, 32), np.uint8))


@pytest.mark.slow
@pytest.mark.nightly
def test_the_data_selection_guide_runs_on_mini(cifar10: airjax.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.search(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)[1]
    assert len(code.splitlines()) < 25
    monkeypatch.setattr(airjax, "load_cifar10", lambda: cifar10.subset(np.arange(3000)))
    names: dict = {}
    exec(code.replace('RECIPE = "94"', 'RECIPE = "mini"'), names)
    assert set(names["accuracy"]) == {"hard", "random"}
    assert all(0.15 < value < 0.6 for value in names["accuracy"].values())


def _test_only(toy: airjax.Dataset) -> tuple[np.ndarray, ...]:
    return toy.train_images, toy.train_labels, toy.test_images, toy.test_labels
