"""The data of a sweep that is over is found by what its folder says, without the network."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import airjax
from airjax.data import DataError
from airjax.data.cache import cache_folder, save_cached
from airjax.sweep.find_data import find_data
from airjax.sweep.folder import check_data
from airjax.sweep.plan import make_plan
from airjax.sweep.worker import Source


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRJAX_MIRROR", "http://127.0.0.1:9/never")
    monkeypatch.setenv("AIRJAX_CACHE", str(tmp_path / "cache"))


def source_of(dataset: airjax.Dataset, place: Path | None) -> dict[str, Any]:
    return {"fingerprint": dataset.fingerprint, "content": "unknown", "place": None if place is None else str(place)}


def test_a_cached_data_set_is_found_by_its_fingerprint(toy: airjax.Dataset) -> None:
    save_cached(cache_folder() / "cifar10-another.safetensors", toy.head(10, 10))
    save_cached(cache_folder() / "cifar10-it.safetensors", toy)
    (cache_folder() / "cifar10-damaged.safetensors").write_bytes(b"nothing")
    assert find_data("cifar10", source_of(toy, None)).fingerprint == toy.fingerprint


def test_it_is_found_where_it_lay(cifar10: airjax.Dataset, cifar10_folder: Path) -> None:
    assert find_data("cifar10", source_of(cifar10, cifar10_folder)).fingerprint == cifar10.fingerprint


def test_what_is_nowhere_is_named_with_the_places_and_the_remedy(
    toy: airjax.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRJAX_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(DataError) as caught:
        find_data("cifar10", source_of(toy, tmp_path / "gone"))
    assert str(caught.value) == (
        f"the cifar10 that the networks were trained on (unknown content, {toy.fingerprint[:12]}) is unavailable: not "
        f"in {tmp_path / 'gone'}, nor in {tmp_path / 'elsewhere'}, nor in the cache, {tmp_path / 'cache'}; name its "
        "place with --data-dir"
    )
    monkeypatch.delenv("AIRJAX_DATA")
    with pytest.raises(DataError, match="cifar10 is unavailable: not in the cache"):
        find_data("cifar10", None)


def test_a_named_place_with_other_data_is_refused(
    toy: airjax.Dataset, cifar10_folder: Path, cifar10: airjax.Dataset
) -> None:
    assert cifar10.fingerprint != toy.fingerprint
    with pytest.raises(DataError, match="does not hold the cifar10 that the networks were trained on"):
        find_data("cifar10", source_of(toy, None), cifar10_folder)


@pytest.mark.usefixtures("small_builtin")
def test_builtin_of_another_version_is_not_used(toy: airjax.Dataset) -> None:
    assert find_data("builtin", source_of(toy, None)) is toy
    with pytest.raises(DataError, match="builtin, as this version makes it, is not what"):
        find_data("builtin", source_of(toy.head(10, 10), None))


@pytest.mark.usefixtures("small_builtin")
def test_a_validation_split_is_drawn_again(toy: airjax.Dataset) -> None:
    drawn = toy.with_validation(30)
    source = source_of(drawn, None) | {"validation": 30, "whole": toy.fingerprint}
    assert find_data("synthetic", source).fingerprint == drawn.fingerprint
    save_cached(cache_folder() / "cifar10-it.safetensors", toy)
    assert find_data("cifar10", source).fingerprint == drawn.fingerprint


def test_a_training_s_validation_split_is_drawn_again_of_the_official_data_in_the_cache(
    cifar10: airjax.Dataset,
) -> None:
    # Its folder names the parts alone, and no place.
    drawn = cifar10.with_validation(5000)
    source = source_of(drawn, None) | {"validation": 5000}
    with pytest.raises(DataError, match="is unavailable"):
        find_data("cifar10", source)
    save_cached(cache_folder() / "cifar10-official.safetensors", cifar10)
    assert find_data("cifar10", source).fingerprint == drawn.fingerprint
    with pytest.raises(DataError, match="is unavailable"):  # of another number
        find_data("cifar10", source_of(cifar10.with_validation(4000), None) | {"validation": 5000})


def test_data_of_ones_own_is_found_where_it_lay_and_in_the_cache(tmp_path: Path) -> None:
    images, labels = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), np.uint8), np.arange(20) % 2
    file = tmp_path / "mine.npz"
    np.savez(file, x_train=images, y_train=labels, x_test=images[:4], y_test=labels[:4])
    whole = airjax.load_data(file, image_size=4)
    drawn = whole.with_validation(6)
    details = {"validation": 6, "whole": whole.fingerprint, "image_size": 4}
    source = source_of(drawn, file) | details
    assert find_data("mine.npz", source).fingerprint == drawn.fingerprint
    file.unlink()
    assert find_data("mine.npz", source).fingerprint == drawn.fingerprint
    for cached in cache_folder().iterdir():
        cached.unlink()
    with pytest.raises(DataError, match=r"the mine\.npz that the networks were trained on .* put it there again"):
        find_data("mine.npz", source)


@pytest.mark.usefixtures("small_builtin")
def test_a_plan_says_what_its_networks_are_tested_on(toy: airjax.Dataset) -> None:
    plan = make_plan(
        {"recipe": "tiny", "data": "synthetic", "validation": 44, "seeds": 1, "set": {"test_examples": 44}}
    )
    drawn = toy.with_validation(44)
    expected = Source(drawn.fingerprint, "unknown", None, "validation", 44, toy.fingerprint, None, classes=10)
    assert check_data(plan, None) == {"synthetic": expected}
    assert find_data("synthetic", expected._asdict()).split == "validation"
