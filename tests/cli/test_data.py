import json
from pathlib import Path

import numpy as np
import pytest

import airjax
from airjax.cli.data import known_sets, main
from airjax.data.registry import REGISTRY


@pytest.mark.usefixtures("small_builtin")
def test_the_synthetic_dataset_is_described(capsys: pytest.CaptureFixture[str], toy: airjax.Dataset) -> None:
    assert main(["--data", "synthetic", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["chosen"] == {
        "name": "synthetic",
        "content": "unknown",  # only a part of it
        "train_images": 300,
        "test_images": 100,
        "image_shape": [32, 32, 3],
        "classes": list(toy.classes),
        "labels": None,
        "fingerprint": toy.fingerprint,
    }
    assert result["source"] == "made on the spot"
    assert [row["name"] for row in result["known"]] == list(REGISTRY)
    assert main(["--data", "builtin"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith(
        "--data builtin: synthetic, unknown content, 300 training and 100 test images of 32x32x3, 10"
    )
    assert line.endswith(f"fingerprint {toy.fingerprint[:12]}; made on the spot")


def test_data_of_ones_own_is_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "digits.npz"
    images = np.arange(6 * 28 * 28, dtype=np.uint8).reshape(6, 28, 28)
    labels = np.array([0, 1, 2, 0, 1, 2])
    np.savez(file, x_train=images, y_train=labels, x_test=images[:3], y_test=labels[:3])
    assert main(["--data", str(file), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["source"] == f"from {file}"
    chosen = result["chosen"]
    assert (chosen["name"], chosen["train_images"], chosen["test_images"]) == ("digits", 6, 3)
    assert (chosen["image_shape"], chosen["content"], len(chosen["classes"])) == ([28, 28, 1], "unknown", 3)
    assert main(["--data", str(file), "--image-size", "14", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["chosen"]["image_shape"] == [14, 14, 1]


@pytest.mark.usefixtures("no_network")
def test_where_nothing_is_there_the_command_says_so_and_downloads_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("AIRJAX_CACHE", str(cache))
    monkeypatch.setenv("AIRJAX_MIRROR", "http://127.0.0.1:1/none.tar.gz")
    assert main([]) == 0
    captured = capsys.readouterr()
    assert "--data auto: nothing is found here; a training would download it, or use synthetic: " in captured.out
    assert f"the cache ({cache}), then the network (http://127.0.0.1:1/none.tar.gz; 170.1 MB)" in captured.out
    assert "SVHN is not in the cache" not in captured.out
    assert main(["--data", "svhn"]) == 0
    assert "--data svhn: nothing is found here; a training would download it: SVHN is not" in capsys.readouterr().out
    assert captured.err == ""
    assert not cache.exists()
    # A download would have been tried at that address, and failed with its name.
    with pytest.raises(airjax.DataError, match=r"cannot be downloaded \(127\.0\.0\.1:1: no connection"):
        airjax.load_cifar10()


def test_a_named_place_without_data_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["--data-dir", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path} holds no CIFAR-10")
    assert main(["--data", "cifra10"]) == 2
    assert "there is no data set of that name (cifar10, cifar100, " in capsys.readouterr().err
    monkeypatch.setenv("AIRJAX_DATA", str(tmp_path / "none"))
    assert main(["--json"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'none'} does not exist")


def test_the_places_are_those_that_are_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRJAX_DATA", "/data")
    places = known_sets(tmp_path)[0]["places"]
    assert places[:2] == [f"--data-dir ({tmp_path})", "AIRJAX_DATA (/data)"]


def test_the_real_cifar10_is_official(
    cifar10_folder: Path, cifar10: airjax.Dataset, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRJAX_DATA", str(cifar10_folder))
    assert main(["--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["chosen"]["name"], result["chosen"]["content"]) == ("cifar10", "official")
    assert result["chosen"]["fingerprint"] == cifar10.fingerprint
    assert result["source"] == f"from {cifar10_folder}"
