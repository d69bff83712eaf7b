"""Every way to name a data set."""

from pathlib import Path

import numpy as np
import pytest

import airjax
from airjax.data import load_data
from airjax.data.cache import cache_folder, find_cached, load_cached, save_cached
from airjax.data.registry import ALIASES, REGISTRY, find_entry


def test_names_and_aliases(small_builtin: airjax.Dataset) -> None:
    assert list(REGISTRY) == [
        *("cifar10", "cifar100", "cifar100-coarse", "svhn", "svhn-extra", "cinic10", "cinic10-valid", "synthetic")
    ]
    assert set(ALIASES.values()) <= set(REGISTRY)
    assert load_data("synthetic") is load_data("builtin") is small_builtin
    assert find_entry("mnist") is None
    for entry in REGISTRY.values():
        assert entry.what
        assert entry.origin


def test_a_name_that_is_none_is_refused_with_those_that_are() -> None:
    message = (
        r"data is 'cifar11', but there is no data set of that name \(cifar10, cifar100, .*, synthetic\), and no such"
    )
    with pytest.raises(airjax.DataError, match=message):
        load_data("cifar11")


def test_image_size_and_data_dir_where_they_mean_nothing(tmp_path: Path) -> None:
    with pytest.raises(airjax.DataError, match="image-size is 64, but the images of synthetic keep theirs"):
        load_data("synthetic", image_size=64)
    with pytest.raises(airjax.DataError, match="data-dir is /nowhere, but builtin is made on the spot; leave it out"):
        load_data("builtin", "/nowhere")
    for size in (0, 513):
        with pytest.raises(airjax.DataError, match=f"image-size is {size}, but it must be from 1 to 512 pixels"):
            load_data(tmp_path, image_size=size)
    with pytest.raises(airjax.DataError, match="names a place already; leave --data-dir out"):
        load_data(tmp_path, tmp_path)
    (tmp_path / "cifar-10-binary.tar").touch()
    with pytest.raises(airjax.DataError, match=r"image-size is 64, but the images of CIFAR-10, in .*, keep theirs"):
        load_data(tmp_path, image_size=64)


def test_a_folder_of_nothing_known_is_told_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    with pytest.raises(airjax.DataError, match="has no folders train and test, in which each class has a folder"):
        load_data(tmp_path)


def test_cifar10_is_read_where_its_place_is_the_name(cifar10: airjax.Dataset, cifar10_folder: Path) -> None:
    data = load_data(cifar10_folder)
    assert (data.name, data.fingerprint) == ("cifar10", cifar10.fingerprint)


def test_a_place_that_cannot_be_a_path_is_refused_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    long = "x" * 5000
    for load in (load_data, airjax.load_cifar10, lambda place: load_data("auto", place)):
        with pytest.raises(airjax.DataError, match=r"^x{200}\.\.\. \(5,000 characters\) cannot be read: File name"):
            load(long)
        with pytest.raises(airjax.DataError, match="is not a path: embedded null"):
            load("a\0b")
    monkeypatch.setenv("AIRJAX_DATA", long)
    with pytest.raises(airjax.DataError, match="File name too long"):
        airjax.load_cifar10()


def test_data_called_as_one_of_the_registry_is_not_that(tmp_path: Path) -> None:
    images, labels = np.zeros((4, 8, 8, 3), np.uint8), np.array([0, 1, 1, 0])
    np.savez(tmp_path / "cifar10.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    data = load_data(tmp_path / "cifar10.npz")
    assert (data.name, data.content, data.classes) == ("own-cifar10", "unknown", ("0", "1"))
    assert data.info.mean == (0.0, 0.0, 0.0)


def test_the_cache_calls_other_content_custom(
    toy: airjax.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRJAX_CACHE", str(tmp_path))
    other = toy.renamed("cifar10")
    save_cached(cache_folder() / "cifar10-other.safetensors", other)
    found = find_cached(other.fingerprint)
    assert found is not None
    assert (found.name, found.classes, found.fingerprint) == ("custom", toy.classes, toy.fingerprint)


def test_a_path_is_a_place_even_where_it_is_called_as_a_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("svhn", "synthetic", "auto"):
        with pytest.raises(airjax.DataError, match="and no such folder or file"):
            load_data(Path(name))


def test_a_file_that_is_too_large_to_be_cifar10_is_not_read(tmp_path: Path) -> None:
    large = tmp_path / "imagenet.tar"
    with large.open("wb") as file:
        file.truncate(5 << 30)  # of holes
    with pytest.raises(airjax.DataError, match=r"imagenet\.tar has 5\.0 GiB, which no archive of CIFAR-10 has"):
        load_data(str(large))


def test_a_cache_whose_head_is_damaged_is_replaced(tmp_path: Path, small_builtin: airjax.Dataset) -> None:
    file = tmp_path / "data.safetensors"
    save_cached(file, small_builtin)
    whole = file.read_bytes()
    assert load_cached(file) is not None
    for old, new in (
        (b'"name"', b'"Name"'),
        (small_builtin.classes[0].encode(), b"\x41" * len(small_builtin.classes[0])),
    ):
        assert whole.count(old) >= 1
        file.write_bytes(whole.replace(old, new, 1))
        with pytest.warns(UserWarning, match="the cached data set is damaged .*; reading it from its source again"):
            assert load_cached(file) is None
        assert not file.exists()
