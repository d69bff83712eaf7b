"""Images of one's own, from the files to a trained network and its answers about other files."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import airjax
from airjax.cli import predict
from airjax.cli.train import main

TINY = ["--recipe", "tiny", "--quiet", "--json"]


def stripes(label: int, size: int, seed: int) -> np.ndarray:
    """An image [size,size] uint8: stripes, columns or a slope in noise, by label."""
    rows, cols = np.mgrid[:size, :size]
    shown = (rows // 4 % 2, cols // 4 % 2, (rows + cols) / (2 * size))[label]
    noise = np.random.default_rng(seed).integers(0, 56, (size, size))
    return (200 * shown + noise).astype(np.uint8)


def write_npz(file: Path) -> Path:
    labels = np.arange(420) % 3
    images = np.stack([stripes(label, 28, seed) for seed, label in enumerate(labels.tolist())])
    np.savez(file, x_train=images[:300], y_train=labels[:300], x_test=images[300:], y_test=labels[300:])
    return file


def test_grey_images_of_28_pixels_and_three_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_npz(tmp_path / "stripes.npz")
    assert main([*TINY, "--data", str(file), "--flip", "none", "--out", str(tmp_path / "out")]) == 0
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    described = {name: record[name] for name in ("dataset", "split", "classes", "channels", "image_size", "resized")}
    assert described == {
        "dataset": "stripes",
        "split": "test",
        "classes": 3,
        "channels": 1,
        "image_size": 28,
        "resized": 0,
    }
    assert record["mean"] > 0.5  # of three classes
    assert record["target_met"] == "not evaluated"

    Image.fromarray(stripes(1, 28, 1000)).save(tmp_path / "columns.png")
    Image.fromarray(stripes(1, 56, 1000)).convert("RGB").save(tmp_path / "large.png")
    model = str(tmp_path / "out" / "model-0.safetensors")
    assert predict.main([model, str(tmp_path / "columns.png"), "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert (row["class"], list(row["probabilities"])) == ("1", ["0", "1", "2"])
    assert predict.main([model, str(tmp_path / "large.png")]) == 2
    assert "has colour mode RGB, not L; pass --fit to convert it" in capsys.readouterr().err
    assert predict.main([model, str(tmp_path / "large.png"), "--fit"]) == 0


def write_folder(place: Path) -> Path:
    for number in range(420):
        split, label = ("train" if number < 300 else "test"), number % 3
        folder = place / split / ("rows", "columns", "slope")[label]
        folder.mkdir(parents=True, exist_ok=True)
        colours = np.stack([stripes(label, 96, number)] * 3, axis=-1)
        colours[..., 2] //= 2
        Image.fromarray(colours[:80]).save(folder / f"{number}.png")
    return place


def test_a_folder_of_pictures_scaled_to_64_pixels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = write_folder(tmp_path / "photos")
    arguments = ["--data", str(place), "--image-size", "64", "--out", str(tmp_path / "out")]
    assert main([*TINY, *arguments]) == 0
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (record["dataset"], record["image_size"], record["channels"]) == ("photos", 64, 3)
    assert (record["classes"], record["resized"]) == (3, 420)
    assert record["mean"] > 0.5  # of three classes
    model = airjax.load(tmp_path / "out" / "model-0.safetensors")
    assert model.classes == ("columns", "rows", "slope")
    [(row, _)] = predict.classify(model, [place / "test" / "rows" / "300.png"], fit=True)
    assert row["class"] == "rows"


def test_a_network_in_python(tmp_path: Path) -> None:
    data = airjax.load_data(write_npz(tmp_path / "stripes.npz"))
    trained = airjax.train_network("tiny", data)
    assert trained.logits.shape == (100, 3)  # as many as the recipe tests on
    assert airjax.infer(trained.model, data.test_images[:5]).shape == (5, 3)
    with pytest.raises(ValueError, match=r"need uint8 \[N,28,28,1\]"):
        airjax.infer(trained.model, np.zeros((5, 32, 32, 3), np.uint8))


def test_a_sweep_over_data_of_ones_own_and_cifar10s_stand_in(tmp_path: Path) -> None:
    from airjax.cli.sweep import main as sweep

    file = write_npz(tmp_path / "stripes.npz")
    (tmp_path / "plan.toml").write_text(
        f'recipe = "tiny"\ndata = "{file}"\nvalidation = 60\nseeds = 2\n'
        "[set]\ntrain_examples = 240\ntest_examples = 60\nbatch_size = 64\n"
    )
    assert sweep([str(tmp_path / "plan.toml"), "--out", str(tmp_path / "out")]) == 0
    rows = airjax.results.load(tmp_path / "out").rows
    assert {(row["data"], row["split"], row["examples"]) for row in rows} == {(str(file), "validation", 60)}
