import re
from pathlib import Path

import numpy as np
import pytest

import airjax
from airjax.recipe import Recipe

GUIDE = Path(__file__).parent.parent / "docs" / "data_selection.md"


def test_public_names_are_there() -> None:
    for name in airjax.__all__:
        assert getattr(airjax, name) is not None


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
