"""Every data set that has a name is trained on by the recipes as they are, and results say which one it was."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_files import write_torch

import airjax
from airjax.cli.train import main
from airjax.data import cifar100, svhn
from airjax.data.cache import cache_folder, save_cached
from airjax.data.content import digest
from airjax.data.dataset import CIFAR10_CLASSES
from airjax.data.labels import LABEL_SETS
from airjax.training.loop import train

NAMES = ("cifar100", "cifar100-coarse", "svhn", "svhn-extra", "cinic10", "cinic10-valid")
CLASSES = {
    "cifar10": CIFAR10_CLASSES,
    "cifar100": cifar100.FINE_CLASSES,
    "cifar100-coarse": cifar100.COARSE_CLASSES,
    "svhn": svhn.CLASSES,
    "svhn-extra": svhn.CLASSES,
    "cinic10": CIFAR10_CLASSES,
    "cinic10-valid": CIFAR10_CLASSES,
}


def put(name: str, toy: airjax.Dataset) -> airjax.Dataset:
    """Put a data set of that name into the cache as if it had been downloaded, with the images of a small one."""
    classes = CLASSES[name]
    labels = [np.arange(len(part), dtype=np.int32) % len(classes) for part in (toy.train_labels, toy.test_labels)]
    data = airjax.Dataset(
        name,
        toy.train_images,
        labels[0],
        toy.test_images,
        labels[1],
        classes,
        symmetric=not name.startswith("svhn"),
        split="validation" if name == "cinic10-valid" else "test",
    ).known_by_files()
    save_cached(cache_folder() / f"{name}-official.safetensors", data)
    return data


def trained(capsys: pytest.CaptureFixture[str], *arguments: str, recipe: str = "tiny") -> tuple[dict, str, int]:
    """The result, what was printed before it, and the exit code."""
    code = main(["--recipe", recipe, "--quiet", "--json", *arguments])
    lines = capsys.readouterr().out.splitlines()
    return json.loads(lines[-1]), "\n".join(lines[:-1]), code


@pytest.fixture(autouse=True)
def _own_cache_of_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRJAX_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_trains_on_it_as_it_is(name: str, toy: airjax.Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    put(name, toy)
    result, text, code = trained(capsys, "--data", name, "--target", "94", "--require-target")
    split = "validation" if name == "cinic10-valid" else "test"
    assert (result["dataset"], result["labels"], result["content"]) == (name, None, "official")
    assert (result["classes"], result["split"]) == (len(CLASSES[name]), split)
    assert (result["target_met"], result["expected"], code) == ("not evaluated", None, 3)
    mirrored = {"flip": "none", "tta_mirror": False} if name.startswith("svhn") else {}
    adapted = ("precision", "train_examples", "test_examples")  # to this machine, and to so few images
    assert {field: value for field, value in result["changed"].items() if field not in adapted} == mirrored
    # The head has a column for each class.
    tiny = airjax.RECIPES["tiny"]
    assert result["params"] == tiny.num_params + tiny.network.widths[-1] * (len(CLASSES[name]) - 10)
    assert f"tiny on {name}" in text
    assert text.endswith(f"A target is an accuracy on CIFAR-10: none applies to {name}")


def test_the_published_recipes_fit_100_classes_with_nothing_else_changed(toy: airjax.Dataset) -> None:
    inputs = put("cifar100", toy).info.inputs()
    heads = {"94": 256, "95": 384, "96": 512, "96-paper": 512}
    for name, width in heads.items():
        recipe = airjax.RECIPES[name]
        fitted = recipe.fit_to(50_000, 10_000, inputs)
        assert fitted.flat() == recipe.flat()
        assert fitted.num_params == recipe.num_params + width * 90
        assert fitted.inputs.num_classes == 100


@pytest.mark.slow
@pytest.mark.parametrize("name", ["94", pytest.param("96", marks=pytest.mark.nightly)])
def test_the_published_recipes_take_a_step_on_100_classes(name: str) -> None:
    drawn = np.random.default_rng(0)
    images = drawn.integers(0, 256, (1024, 32, 32, 3), np.uint8)
    labels = np.arange(1024, dtype=np.int32) % 100
    data = airjax.Dataset("cifar100", images, labels, images[:100], labels[:100], cifar100.FINE_CLASSES)
    run = train(airjax.fit_recipe(airjax.get_recipe(name).override(epochs=1.0), data), data, 0)
    assert run.logits.shape == (100, 100)
    assert np.isfinite(run.logits).all()


@pytest.fixture
def relabelled(toy: airjax.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """CIFAR-10 in the cache and a file of other labels beside it: the training labels that are expected."""
    data = put("cifar10", toy)
    clean = data.train_labels.astype(np.int64)
    worse = (clean + 1) % 10
    write_torch(tmp_path / "CIFAR-10_human.pt", {"clean_label": clean, "worse_label": worse})
    made = LABEL_SETS["cifar10n-worst"]._replace(sha256=digest([worse.astype(np.int32)]))
    monkeypatch.setitem(LABEL_SETS, "cifar10n-worst", made)
    return worse


def test_other_labels_are_in_the_result_and_no_target_is_judged(
    relabelled: np.ndarray, toy: airjax.Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--data", "cifar10", "--labels", "cifar10n-worst", "--labels-dir", str(tmp_path))
    out = tmp_path / "out"
    result, text, code = trained(capsys, *arguments, "--out", str(out), "--target", "94", "--require-target")
    assert (result["dataset"], result["labels"]) == ("cifar10+cifar10n-worst", "cifar10n-worst")
    assert (result["content"], result["target_met"], result["expected"], code) == ("official", "not evaluated", None, 3)
    assert text.endswith("Its labels are cifar10n-worst, not CIFAR-10's own: no target applies to them")
    assert json.loads((out / "recipe.json").read_text())["labels"] == "cifar10n-worst"
    own, _, _ = trained(capsys, "--data", "cifar10")
    assert (own["dataset"], own["labels"]) == ("cifar10", None)
    assert own["dataset_sha256"] != result["dataset_sha256"]
    expected = replace(airjax.load_data("cifar10"), train_labels=relabelled.astype(np.int32))
    assert result["dataset_sha256"] == expected.fingerprint
    assert main(["--recipe", "tiny", "--data", "cifar10", "--out", str(out), "--quiet"]) == 2
    assert "holds networks of another data set" in capsys.readouterr().err


def test_labels_that_cannot_be_are_refused_with_the_remedy(
    relabelled: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, said in (
        (["--data", "synthetic", "--labels", "cifar10n-worst"], "are labels of CIFAR-10, not of synthetic; name it"),
        (["--data", "cifar10", "--labels", "cifar10n-worst"], "are not here; fetch CIFAR-10_human.pt"),
        (["--data", "cifar10", "--labels", "cifar10n-bad"], "cifar10n-aggregate"),
        (["--data", "cifar10", "--labels-dir", "x"], "but no labels are asked for; name them with --labels"),
    ):
        assert main(["--recipe", "tiny", "--quiet", *arguments]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert said in error
